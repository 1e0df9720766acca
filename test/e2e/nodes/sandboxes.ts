import type { NodeLab, WiredNode } from '../../harness/node-lab.ts';
import { podTemplate } from './support.ts';

const CONFIGURATION = JSON.stringify({ cniVersion: '1.1.0', name: 'terway', type: 'terway' });

/**
 * Sandboxes on a real node without containers in them, so that there can be many: pods of the API server, a namespace each,
 * and the plugin that the agent installed, run as a runtime does. The kubelet stands still meanwhile, as it would start the
 * pods itself.
 */
export class Sandboxes implements AsyncDisposable {
  readonly #lab: NodeLab;
  readonly #node: WiredNode;
  readonly #namespace: string;
  readonly #pods: string[] = [];

  private constructor(lab: NodeLab, node: WiredNode, namespace: string) {
    this.#lab = lab;
    this.#node = node;
    this.#namespace = namespace;
  }

  static async open(lab: NodeLab, node: WiredNode, namespace: string): Promise<Sandboxes> {
    const sandboxes = new Sandboxes(lab, node, namespace);
    await sandboxes.#run('kill -STOP $(cat /run/units/kubelet.pid)');
    return sandboxes;
  }

  /** Creates pods of this PodNetworking on the node, and their namespaces. */
  async create(names: readonly string[], networking: string): Promise<void> {
    this.#pods.push(...names);
    const { metadata, spec } = podTemplate({ networking });
    const path = `/api/v1/namespaces/${this.#namespace}/pods`;
    const pods = names.map((name) => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...metadata, name },
      spec: { ...spec, nodeName: this.#node.name },
    }));
    await Promise.all(pods.map((pod) => this.#lab.api.create(path, pod)));
    await this.#run(names.map((name) => `ip netns add ${name}`).join(' && '));
  }

  /** Runs the plugin for one sandbox. @returns its exit code and what it printed */
  async call(command: 'ADD' | 'DEL', name: string): Promise<{ code: number; stdout: string }> {
    return this.#node.real.exec('sh', ['-c', this.#plugin(command, name)], { input: CONFIGURATION });
  }

  /** Runs the plugin for all of them side by side. @throws Error with the answers of those that failed */
  async callAll(command: 'ADD' | 'DEL', names: readonly string[]): Promise<void> {
    const calls = names.map(
      (name) => `(out=$(echo '${CONFIGURATION}' | ${this.#plugin(command, name)}) || echo "${name}: $out") &`,
    );
    const failed = await this.#run(`${calls.join('\n')}\nwait`);
    if (failed !== '') throw new Error(`${command}: ${failed}`);
  }

  /** Asks for a page from inside all of them at once. @returns the answer by name; empty where none came */
  async askAll(names: readonly string[], url: string): Promise<Map<string, string>> {
    const asks = names.map(
      (name) =>
        `(echo "${name} $(ip netns exec ${name} busybox timeout 10 busybox wget -q -O - ${url} 2>/dev/null)") &`,
    );
    const lines = (await this.#run(`${asks.join('\n')}\nwait`)).trim().split('\n');
    return new Map(lines.map((line) => [line.split(' ')[0] ?? '', line.split(' ')[1] ?? '']));
  }

  /** Deletes pods and namespaces, and lets the kubelet go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#pods.map((name) =>
        this.#lab.api
          .delete(`/api/v1/namespaces/${this.#namespace}/pods/${name}`, { query: { gracePeriodSeconds: 0 } })
          .catch(() => undefined),
      ),
    );
    await this.#run(
      `${this.#pods.map((name) => `ip netns del ${name};`).join(' ')} kill -CONT $(cat /run/units/kubelet.pid)`,
    );
  }

  #plugin(command: string, name: string): string {
    const environment = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: name,
      CNI_NETNS: `/run/netns/${name}`,
      CNI_IFNAME: 'eth0',
      CNI_ARGS: `K8S_POD_NAMESPACE=${this.#namespace};K8S_POD_NAME=${name}`,
    };
    const words = Object.entries(environment).map(([variable, value]) => `${variable}='${value}'`);
    return `env ${words.join(' ')} /opt/cni/bin/terway`;
  }

  async #run(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.#node.real.exec('sh', ['-c', script]);
    if (code !== 0) throw new Error(stderr || stdout);
    return stdout;
  }
}
