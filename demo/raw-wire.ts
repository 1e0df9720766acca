import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { WiredNode } from '../test/harness/node-lab.ts';
import { ensureSwitchProgram } from '../tools/programs/vpc-switch.ts';
import { DemoError } from './errors.ts';

/** Ends of a cable into the node: what is sent on the one arrives at the trunk as if it came from the VPC. */
const OUTER = 'demo-wire1';
const INNER = 'demo-wire0';

/** Puts frames, as they are, on the wire of a device of a node. @throws DemoError when the kernel does not take one */
export async function sendFrame(node: WiredNode, device: string, frame: Buffer, signal: AbortSignal): Promise<void> {
  const program = await ensureSwitchProgram({ signal });
  const child = spawn(program, ['frames', '--netns', node.real.netnsPath, '--device', device], {
    stdio: ['pipe', 'pipe', 'pipe'],
    // Ctrl-C in a terminal must reach only this process.
    detached: true,
  });
  const closed = once(child, 'close');
  const kill = () => child.kill('SIGKILL');
  signal.addEventListener('abort', kill, { once: true });
  try {
    let problem = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      problem += text;
    });
    // Its first line says that it is ready; at the end of its input it ends.
    createInterface({ input: child.stdout }).once('line', () => child.stdin.end(`${frame.toString('hex')}\n`));
    const [code] = await closed;
    signal.throwIfAborted();
    if (code !== 0) throw new DemoError(`no frame can be sent on ${device} of ${node.name}: ${problem.trim()}`);
  } finally {
    signal.removeEventListener('abort', kill);
  }
}

/** A way to have frames arrive at a device of a node without the switch, which would refuse them. */
export class WireTap implements AsyncDisposable {
  readonly #node: WiredNode;

  private constructor(node: WiredNode) {
    this.#node = node;
  }

  /** @returns undefined where the kernel cannot redirect packets (act_mirred, cls_u32). */
  static async open(node: WiredNode, device: string): Promise<WireTap | undefined> {
    const tap = new WireTap(node);
    const steps = [
      `ip link add name ${INNER} type veth peer name ${OUTER}`,
      `ip link set ${INNER} up`,
      `ip link set ${OUTER} up`,
      `tc qdisc add dev ${INNER} clsact`,
      `tc filter add dev ${INNER} ingress protocol all u32 match u32 0 0 action mirred ingress redirect dev ${device}`,
    ];
    const { code } = await node.real.exec('sh', ['-c', steps.join(' && ')]);
    if (code === 0) return tap;
    await tap[Symbol.asyncDispose]();
    return undefined;
  }

  send(frame: Buffer, signal: AbortSignal): Promise<void> {
    return sendFrame(this.#node, OUTER, frame, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A node that has ended has taken it along.
    await this.#node.real.exec('ip', ['link', 'del', INNER]).catch(() => undefined);
  }
}
