import assert from 'node:assert/strict';
import * as z from 'zod';
import type { PoolRig } from '../../sim/world/pool/acceptance.ts';
import { quantile } from '../../sim/world/seeded/tally.ts';
import { nodeSchema, type TerwayNode } from '../../src/crds/node.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { BUSYBOX_IMAGE } from '../../tools/product/image/busybox.ts';
import { watch } from '../cluster/watch.ts';
import { ZONES } from '../harness/lab.ts';
import type { NodeLab, WiredNode } from '../harness/node-lab.ts';
import { Conversation } from './conversation.ts';

/** All periods of a scenario are shorter by this. */
export const FACTOR = 20;
/** Times of the cloud, shorter by as much. */
export const LATENCIES = {
  createMs: 300 / FACTOR,
  attachMs: 1500 / FACTOR,
  detachMs: 1500 / FACTOR,
  deleteMs: 1500 / FACTOR,
};

const SECOND_MS = 1000 / FACTOR;
const PODS = '/api/v1/namespaces/default/pods';
const TERWAY_NODES = '/apis/network.alibabacloud.com/v1beta1/nodes';
/** TCP repeats what was lost within a second; the rest is for a busy machine. */
const LONGEST_SILENCE_S = 5;
/** Kubelet and runtime start pods at their own pace, however short the periods are. */
const START_TIMEOUT_MS = 180_000;

const podSchema = z.object({
  metadata: z.object({ name: z.string() }),
  spec: z.object({ nodeName: z.string().optional() }),
  status: z.object({
    podIP: z.string().default(''),
    conditions: z.array(z.object({ type: z.string(), status: z.string(), lastTransitionTime: z.string() })).default([]),
  }),
});

/** From the kubelet's point of view: undefined until the pod is Ready. Whole seconds, as the API has no others. */
function secondsToReady({ status: { conditions } }: z.infer<typeof podSchema>): number | undefined {
  const [scheduled, ready] = ['PodScheduled', 'Ready'].map((wanted) =>
    conditions.find(({ type, status }) => type === wanted && status === 'True'),
  );
  if (scheduled === undefined || ready === undefined) return undefined;
  return (Date.parse(ready.lastTransitionTime) - Date.parse(scheduled.lastTransitionTime)) / 1000;
}

/** A text for `eni_conf`, for so many seconds of a scenario. */
export function duration(seconds: number): string {
  return `${seconds * SECOND_MS}ms`;
}

/** The rig of a scenario on a node with a kubelet. */
export class NodeRig implements PoolRig {
  readonly #lab: NodeLab;
  readonly #node: WiredNode;
  readonly #log: (line: string) => void;
  /** All keys that were set. */
  #keys: object;
  readonly duration = duration;
  readonly limits = {
    // In seconds of the scenario; upstream has no figures for this, and prints what it finds.
    startSeconds: { idle: START_TIMEOUT_MS / SECOND_MS, asked: START_TIMEOUT_MS / SECOND_MS },
    // The kubelet asks for its pods a few at a time, and each part gathers for itself.
    assignments: 6,
    // Half a second here.
    lateSeconds: 10,
  };

  private constructor(lab: NodeLab, node: WiredNode, keys: object, log: (line: string) => void) {
    this.#lab = lab;
    this.#node = node;
    this.#keys = keys;
    this.#log = log;
  }

  /** Sets `eni_conf`, boots a node and waits for its trunk. */
  static async start(lab: NodeLab, keys: object, log: (line: string) => void): Promise<NodeRig> {
    await lab.lab.applyEniConfig({ ipam_type: 'crd', ...keys });
    const node = await lab.addNode({ zone: ZONES[0] });
    const rig = new NodeRig(lab, node, keys, log);
    await lab.nodesReady();
    await pollUntil(async () => (await rig.#hasTrunk()) || undefined, {
      what: `the trunk of ${node.name}`,
      timeoutMs: 60_000,
    });
    return rig;
  }

  /** Removes the node with its pods. */
  async end(): Promise<void> {
    await this.#lab.removeNode(this.#node);
  }

  async configure(keys: object): Promise<void> {
    this.#keys = { ...this.#keys, ...keys };
    await this.#lab.lab.applyEniConfig({ ipam_type: 'crd', ...this.#keys });
  }

  wait(seconds: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, seconds * SECOND_MS));
  }

  nowSeconds(): number {
    return performance.now() / SECOND_MS;
  }

  async record() {
    const found = await this.#lab.api.find(`${TERWAY_NODES}/${this.#node.name}`);
    return found === undefined ? undefined : nodeSchema.parse(found);
  }

  async follow(see: (record: TerwayNode) => void): Promise<() => Promise<void>> {
    const stop = new AbortController();
    const client = await this.#lab.cluster.client({ maxConnections: 1 });
    const query = { fieldSelector: `metadata.name=${this.#node.name}` };
    const options = { schema: nodeSchema, query, signal: stop.signal };
    const following = (async () => {
      for await (const event of watch(client, TERWAY_NODES, options)) {
        if (event.type === 'LISTED') for (const record of event.objects) see(record);
        else if (event.type !== 'DELETED') see(event.object);
      }
    })();
    return async () => {
      stop.abort();
      await following;
      client.close();
    };
  }

  async #hasTrunk(): Promise<boolean> {
    const enis = Object.values((await this.record())?.status?.networkInterfaces ?? {});
    return enis.some((eni) => eni.networkInterfaceType === 'Trunk' && eni.status === 'InUse');
  }

  async #shared() {
    const { enis } = await this.#lab.lab.cloud.state();
    return enis.filter(
      ({ type, attachment }) =>
        (type === 'Trunk' || type === 'Secondary') && attachment?.instanceId === this.#node.instanceId,
    );
  }

  async secondary(): Promise<string[]> {
    return (await this.#shared()).flatMap(({ ipv4 }) => ipv4.slice(1));
  }

  async usedEnis(): Promise<number> {
    return (await this.#shared()).filter(({ ipv4 }) => ipv4.length > 1).length;
  }

  async start(count: number): Promise<void> {
    await Promise.all(this.#names(count).map((name) => this.#create(name)));
    const ready = async () => {
      const { objects } = await this.#lab.api.list(PODS);
      const pods = objects
        .map((object) => podSchema.parse(object))
        .filter(({ spec }) => spec.nodeName === this.#node.name);
      return pods.map(secondsToReady).filter((seconds) => seconds !== undefined);
    };
    const seconds = await pollUntil(
      async () => {
        const found = await ready();
        return found.length === count ? found : undefined;
      },
      { what: `${count} pods on ${this.#node.name} to be Ready`, timeoutMs: START_TIMEOUT_MS },
    );
    this.#log(
      `         ${count} pods, scheduled → Ready: p50 ${quantile(seconds, 0.5)} s, p99 ${quantile(seconds, 0.99)} s`,
    );
  }

  async stop(count: number): Promise<void> {
    await Promise.all(this.#names(count).map((name) => this.#lab.api.delete(`${PODS}/${name}`)));
  }

  async calls(action: string): Promise<() => Promise<number>> {
    const asked = async () => {
      const { calls } = await this.#lab.lab.cloud.counters();
      return Object.values(calls[action] ?? {}).reduce((sum, count) => sum + count, 0);
    };
    const before = await asked();
    return async () => (await asked()) - before;
  }

  /** Pods on this node, and pods on this and another one, go on talking meanwhile. */
  async upgrade(): Promise<void> {
    const [server, client] = this.#names(2).map((name) => ({ name }));
    assert.ok(server !== undefined && client !== undefined);
    const elsewhere = `${this.#node.name}-elsewhere`;
    const [other] = this.#lab.nodes;
    assert.ok(other !== undefined && other !== this.#node);
    await this.#create(elsewhere, other.name);
    await this.#lab.podReady('default', elsewhere);
    const { status } = podSchema.parse(await this.#lab.api.find(`${PODS}/${server.name}`));
    const begin = (name: string) => Conversation.begin(this.#lab, name, { ...server, ip: status.podIP });
    const conversations = [await begin(client.name), await begin(elsewhere)];
    await this.#replaceProcesses();
    for (const conversation of conversations) {
      const silenceS = await conversation.end();
      assert.ok(silenceS < LONGEST_SILENCE_S, `a connection was silent for ${silenceS.toFixed(1)} s`);
    }
    await this.#lab.api.delete(`${PODS}/${elsewhere}`);
  }

  async #replaceProcesses(): Promise<void> {
    const agent = await this.#lab.agentPod(this.#node);
    await this.#lab.api.delete(`/api/v1/namespaces/kube-system/pods/${agent}`);
    const restart = ['rollout', 'restart', '-n', 'kube-system', 'deployment/terway-controlplane'];
    const { code, stderr } = await this.#lab.cluster.kubectl(restart);
    if (code !== 0) throw new Error(`the control plane could not be restarted: ${stderr}`);
    await this.#lab.product.rolledOut('deployment/terway-controlplane');
    await this.#lab.product.rolledOut('daemonset/terway-agent');
  }

  /** Numbers of links are not given again, so a link that was made anew shows. */
  async network(): Promise<string[]> {
    const parts = [['-oneline', 'link'], ['route', 'show', 'table', 'all'], ['rule'], ['-6', 'rule']];
    const found = await Promise.all(parts.map((args) => this.#node.real.exec('ip', args)));
    return found.flatMap(({ stdout }) => stdout.split('\n').filter((line) => /\bcali[0-9a-f]{11}\b/.test(line)));
  }

  #names(count: number): string[] {
    return Array.from({ length: count }, (_, at) => `${this.#node.name}-p${at}`);
  }

  async #create(name: string, nodeName = this.#node.name): Promise<void> {
    await this.#lab.api.create(PODS, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        terminationGracePeriodSeconds: 0,
        nodeSelector: { 'kubernetes.io/hostname': nodeName },
        containers: [
          { name: 'main', image: BUSYBOX_IMAGE, imagePullPolicy: 'Never', command: ['busybox', 'sleep', '86400'] },
        ],
      },
    });
  }
}
