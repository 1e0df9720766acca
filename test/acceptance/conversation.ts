import { pollUntil } from '../../tools/machine/poll.ts';
import type { NodeLab } from '../harness/node-lab.ts';

const PORT = 7777;
const ANSWERS_BEFORE = 5;

/** A TCP connection between two pods on which something is said ten times a second. It is never made anew. */
export class Conversation {
  readonly #lab: NodeLab;
  readonly #client: string;

  private constructor(lab: NodeLab, client: string) {
    this.#lab = lab;
    this.#client = client;
  }

  /**
   * Begins it, and waits for some answers.
   *
   * @param client, server pods of namespace `default`
   */
  static async begin(lab: NodeLab, client: string, server: { name: string; ip: string }): Promise<Conversation> {
    const conversation = new Conversation(lab, client);
    await conversation.#run(server.name, `nc -ll -p ${PORT} -e cat < /dev/null > /dev/null 2>&1 &`);
    const say = `while [ ! -e /tmp/stop ]; do echo .; usleep 100000; done`;
    const note = `while read -r _; do cut -d ' ' -f 1 /proc/uptime; done`;
    await conversation.#run(client, `(${say} | nc ${server.ip} ${PORT} | ${note}) < /dev/null > /tmp/heard 2>&1 &`);
    await pollUntil(async () => (await conversation.#heard()).times.length >= ANSWERS_BEFORE || undefined, {
      what: `${client} to hear from ${server.name}`,
      timeoutMs: 30_000,
    });
    return conversation;
  }

  /** Ends it. @returns for how many seconds nothing was heard, at most */
  async end(): Promise<number> {
    const { nowSeconds, times } = await this.#heard();
    await this.#run(this.#client, 'touch /tmp/stop');
    const moments = [...times, nowSeconds];
    return Math.max(...moments.slice(1).map((moment, at) => moment - (moments[at] ?? 0)));
  }

  /** Seconds since the boot of the machine: now, and when the answers came. */
  async #heard(): Promise<{ nowSeconds: number; times: number[] }> {
    const lines = (await this.#run(this.#client, "cut -d ' ' -f 1 /proc/uptime; cat /tmp/heard")).trim().split('\n');
    const [nowSeconds = 0, ...times] = lines.map(Number);
    return { nowSeconds, times };
  }

  async #run(pod: string, script: string): Promise<string> {
    const { code, stdout, stderr } = await this.#lab.inPod('default', pod, 'sh', '-c', script);
    if (code !== 0) throw new Error(`in pod ${pod}: ${stderr}`);
    return stdout;
  }
}
