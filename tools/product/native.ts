/**
 * Compiles the C code (the kernel helper, the eBPF programs and the CNI shim) into `dist/` or the folder of `--outdir`. Skips
 * outputs that are newer than their sources.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..', '..');
const native = join(root, 'native');

interface Target {
  /** In the output folder. */
  name: string;
  /** Folder below `native`; every `.c` file in it is compiled. */
  folder: string;
  compiler: 'gcc' | 'clang';
  flags: readonly string[];
}

const STATIC = ['-O2', '-Wall', '-Wextra', '-Werror', '-static'];

const TARGETS: readonly Target[] = [
  { name: 'terway-kernel', folder: 'kernel', compiler: 'gcc', flags: STATIC },
  { name: 'terway-cni', folder: 'cni', compiler: 'gcc', flags: STATIC },
  {
    name: 'terway.bpf.o',
    folder: 'bpf',
    compiler: 'clang',
    flags: ['-O2', '-g', '-Wall', '-Wextra', '-Werror', '-target', 'bpf', '-c'],
  },
];

/** The tool that tests use to capture frames. */
const TEST_TARGETS: readonly Target[] = [{ name: 'frames', folder: 'test', compiler: 'gcc', flags: STATIC }];

/**
 * Compiles the outputs that are out of date.
 *
 * @returns the names of the built files
 * @throws Error with the compiler's message, or the name of a missing compiler
 */
export async function buildNative(outdir: string, options: { tests?: boolean } = {}): Promise<string[]> {
  await mkdir(outdir, { recursive: true });
  const targets = options.tests === true ? [...TARGETS, ...TEST_TARGETS] : TARGETS;
  const built: string[] = [];
  for (const target of targets) {
    if (existsSync(join(native, target.folder)) && (await build(target, outdir))) built.push(target.name);
  }
  return built;
}

async function build(target: Target, outdir: string): Promise<boolean> {
  const folder = join(native, target.folder);
  const names = (await readdir(folder)).filter((name) => /\.[ch]$/.test(name));
  const sources = names.filter((name) => name.endsWith('.c')).map((name) => join(folder, name));
  const output = join(outdir, target.name);
  if (
    sources.length === 0 ||
    (await isNewer(output, [...names.map((name) => join(folder, name)), import.meta.filename]))
  ) {
    return false;
  }
  // Renamed into place, because another process may be starting the old file or building too.
  const temporary = `${output}.${process.pid}`;
  try {
    compile(target, [...target.flags, ...systemIncludes(target), '-o', temporary, ...sources]);
    await rename(temporary, output);
  } finally {
    await rm(temporary, { force: true });
  }
  return true;
}

/** With the bpf target, clang does not search Debian's multiarch include folder. */
function systemIncludes({ compiler }: Target): string[] {
  const multiarch = `/usr/include/${{ x64: 'x86_64', arm64: 'aarch64' }[process.arch as string] ?? process.arch}-linux-gnu`;
  return compiler === 'clang' && existsSync(multiarch) ? [`-I${multiarch}`] : [];
}

function compile({ compiler, name }: Target, args: readonly string[]): void {
  const { error, status, stderr } = spawnSync(compiler, args, { encoding: 'utf8' });
  if (error !== undefined) {
    throw new Error(
      `${compiler} is needed to build ${name} and cannot be run (${error.message}); install it: make setup`,
    );
  }
  if (status !== 0) throw new Error(`${name}: ${compiler} failed\n${stderr}`);
}

async function isNewer(output: string, inputs: readonly string[]): Promise<boolean> {
  const made = await stat(output).catch(() => undefined);
  if (made === undefined) return false;
  const changed = await Promise.all(inputs.map(async (input) => (await stat(input)).mtimeMs));
  return changed.every((mtimeMs) => mtimeMs < made.mtimeMs);
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { outdir: { type: 'string', default: join(root, 'dist') } } });
  try {
    for (const name of await buildNative(values.outdir)) process.stdout.write(`built ${name}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
