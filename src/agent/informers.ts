import { LABEL_NODE } from '../crds/names.ts';
import { type TerwayNode, terwayNodeResource } from '../crds/node.ts';
import { type PodEni, podEniResource } from '../crds/pod-eni.ts';
import type { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import type { HasMetadata, Resource } from '../kube/types.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { type CoreNode, coreNodeResource, type Pod, podResource } from './resources.ts';

/** What the agent sees of the cluster: the objects of its own node, nothing else. */
export interface NodeView {
  pods: Informer<Pod>;
  podEnis: Informer<PodEni>;
  node: Informer<TerwayNode>;
  coreNode: Informer<CoreNode>;
}

/**
 * Builds the informers; nothing runs yet.
 *
 * @param options.onPodsListed is called when all pods were listed: the first time, and when the watch could not go on
 */
export function createNodeView(options: {
  client: KubeClient;
  nodeName: string;
  clock: Clock;
  random: Random;
  onError: (plural: string, error: unknown) => void;
  onPodsListed: () => void;
}): NodeView {
  const { client, nodeName, clock, random } = options;
  const base = <T extends HasMetadata>(resource: Resource<T>) => ({
    client,
    clock,
    random,
    resource,
    onError: (error: unknown) => options.onError(resource.plural, error),
  });
  const byName = { fieldSelector: `metadata.name=${nodeName}` };
  return {
    pods: new Informer({
      ...base(podResource),
      fieldSelector: `spec.nodeName=${nodeName}`,
      onSynced: options.onPodsListed,
    }),
    podEnis: new Informer({ ...base(podEniResource), labelSelector: `${LABEL_NODE}=${nodeName}` }),
    node: new Informer({ ...base(terwayNodeResource), ...byName }),
    coreNode: new Informer({ ...base(coreNodeResource), ...byName }),
  };
}

/** Runs all of them until the signal aborts. */
export async function runNodeView(view: NodeView, signal: AbortSignal): Promise<void> {
  await Promise.all([view.pods, view.podEnis, view.node, view.coreNode].map((informer) => informer.run(signal)));
}

/**
 * Lists everything again, as a watch has missed something: it goes on after a restored backup as if nothing had happened, when the server has
 * passed its version since and versions were not bumped.
 */
export function relistNodeView({ pods, podEnis, node }: NodeView): void {
  for (const informer of [pods, podEnis, node]) informer.requestList();
}

/** Resolves when every store was filled once. */
export async function nodeViewSynced(view: NodeView, signal: AbortSignal): Promise<void> {
  await Promise.all([view.pods, view.podEnis, view.node, view.coreNode].map((informer) => informer.synced(signal)));
}

/** What a Node CR says about the devices of its node. */
function devicesOf({ spec, status }: TerwayNode): string {
  const enis = Object.values(status?.networkInterfaces ?? {}).map(({ ipv4: _ipv4, ipv6: _ipv6, ...eni }) => eni);
  return JSON.stringify([spec.nodeMetadata, enis]);
}

/** Calls back when what its Node CR says about the devices of the node has changed. */
export function onNewDevices(node: Informer<TerwayNode>, call: () => void): void {
  node.addHandler({
    onAdd: call,
    // Who has which address changes with every pod, and concerns only that pod.
    onUpdate: (before, record) => {
      if (devicesOf(before) !== devicesOf(record)) call();
    },
  });
}

/** Calls back when the node gets a Node CR, or another one. */
export function onNewRecord(node: Informer<TerwayNode>, call: () => void): void {
  node.addHandler({
    onAdd: call,
    onUpdate: (before, record) => {
      if (before.metadata.uid !== record.metadata.uid) call();
    },
  });
}
