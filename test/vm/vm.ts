import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { MissingToolError, ToolError } from '../../tools/errors.ts';
import { ensureVmKernel, type VmKernel } from '../../tools/programs/vm-kernel.ts';

/** A program to run in a VM. */
export interface VmJob {
  /** Program and arguments. It sees the file system of this machine. What it writes is gone after the VM. */
  command: readonly [string, ...string[]];
  /** Default: the working directory of this process. */
  cwd?: string;
  /** In addition to HOME and PATH, which are those of this process. */
  env?: Readonly<Record<string, string>>;
  /** For everything, including the start of the VM. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
  /** Called with each line of progress before the VM starts. Default: standard error. */
  log?: ((line: string) => void) | undefined;
  /** Called with each line of standard output when it arrives. */
  onLine?: (line: string) => void;
}

/** The result of a program in a VM. */
export interface VmResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** The VM ended, or had to be ended, before the job had a result. The message ends with the last lines of the console. */
export class VmError extends ToolError {
  override readonly name = 'VmError';
}

const QEMU = 'qemu-system-x86_64';
const CONSOLE_LINES = 30;

/**
 * Runs a program in a VM with Debian's kernel and an emulated processor: about 5 s to start, several times slower than this
 * machine, and without network. The VM ends with the program and with this process, however this process ends.
 *
 * @returns exit code (128 + number for signals) and output of the program
 * @throws VmError when the VM ends or the timeout passes first; MissingToolError; BuildFailedError; the signal's reason
 */
export async function runInVm(job: VmJob): Promise<VmResult> {
  const kernel = await ensureVmKernel({ signal: job.signal, log: job.log });
  job.signal?.throwIfAborted();
  // The program must not print the end mark by accident.
  const mark = `end-of-output-${randomBytes(12).toString('hex')}`;
  const vm = start(kernel, jobScript(job, mark));
  try {
    return await resultOf(vm, job, mark);
  } finally {
    vm.child.kill('SIGKILL');
    await vm.ended;
  }
}

interface RunningVm {
  child: ChildProcess;
  stdout: Readable;
  stderr: Readable;
  /** The last lines of the console. */
  console: () => string;
  /** Never rejects. */
  ended: Promise<string>;
}

/** After the end mark the job waits: only this process knows when all output has arrived, and then ends the VM. */
function jobScript({ command, cwd = process.cwd(), env = {} }: VmJob, mark: string): string {
  // Includes the folders of root's commands, which the PATH of a user may lack.
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const variables = { PATH: path, HOME: process.env['HOME'] ?? '/root', ...env };
  const words = ['env', ...Object.entries(variables).map(([name, value]) => `${name}=${value}`), ...command];
  return [
    // Writing to a path that does not exist yet would create a file.
    'until set -- /dev/vport*p1 /dev/vport*p2; [ -c "$1" ] && [ -c "$2" ]; do sleep 0.1; done',
    'exec 3>"$1" 4>"$2"',
    'ip link set lo up',
    `(cd ${quoted(cwd)} && exec ${words.map(quoted).join(' ')}) </dev/null >&3 2>&4 3>&- 4>&-`,
    'code=$?',
    `echo "${mark} $code" >&3`,
    `echo "${mark} $code" >&4`,
    'exec sleep infinity',
    '',
  ].join('\n');
}

const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

function start({ kernel, initramfs }: VmKernel, script: string): RunningVm {
  const port = (number: number, id: string, fd: number) => [
    ...['-chardev', `socket,id=${id},fd=${fd}`],
    ...['-device', `virtserialport,nr=${number},chardev=${id}`],
  ];
  const args = [
    // V8 protects its code with protection keys if the processor has them. Under emulation that has failed now and then.
    ...['-accel', 'tcg,thread=single', '-cpu', 'max,-pku', '-smp', '1', '-m', '1024'],
    ...['-nodefaults', '-display', 'none', '-nic', 'none', '-no-reboot', '-serial', 'stdio'],
    ...['-kernel', kernel, '-initrd', initramfs],
    // edd=off: do not query the firmware for disks. nokaslr: addresses in kernel messages can be looked up. no_timer_check: the kernel
    // counts ticks while it boots, and gives up when a busy machine lets too little of the emulation run.
    ...['-append', 'console=ttyS0 panic=-1 quiet edd=off nokaslr no_timer_check'],
    ...['-fsdev', 'local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap'],
    ...['-device', 'virtio-9p-pci,fsdev=machine,mount_tag=machine'],
    // In the value of a QEMU option, a comma is written twice.
    ...['-fw_cfg', `name=opt/terway/job,string=${script.replaceAll(',', ',,')}`],
    ...['-device', 'virtio-serial', ...port(1, 'out', 3), ...port(2, 'err', 4)],
  ];
  // The kernel kills it when this thread ends, even by SIGKILL.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', QEMU, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  const [, console_, qemuErrors, stdout, stderr] = child.stdio as Readable[];
  if (!console_ || !qemuErrors || !stdout || !stderr) throw new VmError('no pipes to the VM');
  let tail = '';
  for (const stream of [console_, qemuErrors]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      tail = (tail + text).slice(-16_384);
    });
  }
  const { promise: ended, resolve } = Promise.withResolvers<string>();
  child.once('error', (error) => resolve(error.message));
  child.once('close', (code, signal) => resolve(`code ${code ?? signal}`));
  return { child, stdout, stderr, ended, console: () => lastLines(tail) };
}

/** Strips the escape sequences that the firmware sends to a terminal. */
function lastLines(text: string): string {
  return stripVTControlCharacters(text)
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .slice(-CONSOLE_LINES)
    .join('\n');
}

async function resultOf(vm: RunningVm, job: VmJob, mark: string): Promise<VmResult> {
  const { promise, resolve, reject } = Promise.withResolvers<VmResult>();
  const end = (why: string) => reject(new VmError(`${why}; the end of its console:\n${vm.console()}`));
  const timer = setTimeout(() => end(`the VM was ended after ${job.timeoutMs} ms without a result`), job.timeoutMs);
  const abort = () => reject(job.signal?.reason);
  job.signal?.addEventListener('abort', abort, { once: true });
  // When the program fails to start, there is no console to show.
  vm.child.once('error', (error) => {
    reject(new MissingToolError('setpriv is needed for tests in VMs: make setup', { cause: error }));
  });
  void vm.ended.then((how) => end(`the VM ended by itself with ${how}`));
  Promise.all([collect(vm.stdout, mark, job.onLine), collect(vm.stderr, mark)]).then(
    ([stdout, stderr]) => resolve({ code: stdout.code, stdout: stdout.text, stderr: stderr.text }),
    reject,
  );
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    job.signal?.removeEventListener('abort', abort);
  }
}

/** Reads up to the end mark. Stays pending if the stream ends without it: the error of the VM says more. */
async function collect(
  stream: Readable,
  mark: string,
  onLine?: (line: string) => void,
): Promise<{ text: string; code: number }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ text: string; code: number }>();
  const end = new RegExp(`${mark} (\\d+)\\n`);
  let text = '';
  let reported = 0;
  stream.once('error', reject);
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    // A chunk may end within the mark.
    const from = Math.max(0, text.length - mark.length - 8);
    text += chunk;
    const found = end.exec(text.slice(from));
    if (found !== null) text = text.slice(0, from + found.index);
    for (let at = text.indexOf('\n', reported); at >= 0; at = text.indexOf('\n', reported)) {
      onLine?.(text.slice(reported, at));
      reported = at + 1;
    }
    if (found !== null) resolve({ text, code: Number(found[1]) });
  });
  return promise;
}
