import { ANNOTATION_POD_UID } from '../crds/names.ts';
import type { TerwayNode } from '../crds/node.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import type { Store } from '../kube/store.ts';
import { keyOf } from '../kube/types.ts';
import type { KeyedQueue } from '../util/keyed-queue.ts';
import type { RecordStore } from './records.ts';
import { hasFinished, type Pod } from './resources.ts';
import type { ReportedPod, RuntimeReporter } from './runtime-reporter.ts';

/**
 * Tells the control plane for each PodENI that leaves, now or later, that no sandbox has its addresses. An existing sandbox is
 * reported at its DEL; this covers pods that never had one here, those that go after their last one, and reports that a crash has
 * lost. No ADD can follow the report: in the pod's queue it sees that the PodENI leaves, or that the pod is gone.
 *
 * @returns looks again at the PodENI of this key, because a sandbox of its pod is gone
 */
export function answerReleases(options: {
  podEnis: Store<PodEni>;
  pods: Store<Pod>;
  records: RecordStore;
  queue: KeyedQueue;
  reporter: Pick<RuntimeReporter, 'released' | 'gone'>;
}): (key: string) => void {
  const { podEnis, pods, records, queue, reporter } = options;
  const answer = async (key: string) => {
    const podEni = podEnis.get(key);
    if (podEni === undefined || !leaves(podEni)) return;
    const { namespace = '', name, annotations } = podEni.metadata;
    const uid = annotations?.[ANNOTATION_POD_UID] ?? '';
    if (!records.hasSandboxOf(uid)) reporter.released({ namespace, name, uid });
  };
  const look = (key: string) => void queue.run(key, () => answer(key));
  const lookAt = (podEni: PodEni) => {
    if (leaves(podEni)) look(keyOf(podEni.metadata));
  };
  const part = ({ metadata }: Pod) => {
    const { namespace = '', name, uid = '' } = metadata;
    void queue.run(keyOf(metadata), async () => reporter.gone({ namespace, name, uid }));
  };
  pods.addHandler({
    onUpdate: (before, pod) => {
      if (before.metadata.uid !== pod.metadata.uid) part(before);
    },
    onDelete: part,
  });
  podEnis.addHandler({ onAdd: lookAt, onUpdate: (_, podEni) => lookAt(podEni) });
  return look;
}

/**
 * The same for addresses that the Node CR gives to pods: of one that is gone or has finished it tells the control plane that no sandbox
 * has its address. The pod may never have had a sandbox here, its report may have been lost, or its DEL may have come before the watch
 * showed that it had finished. It tells so of a pod that has lost an address before it had a sandbox, too: it gets others then, and no
 * sandbox gets what is left, as ADD waits for what is lost.
 *
 * @param options.isGone whether the API server has no pod with this uid any more; the store may not know a pod yet
 */
export function answerAddresses(options: {
  nodes: Store<TerwayNode>;
  pods: Store<Pod>;
  records: RecordStore;
  queue: KeyedQueue;
  reporter: Pick<RuntimeReporter, 'released' | 'isReleased'>;
  isGone: (pod: ReportedPod) => Promise<boolean>;
  onError: (error: unknown) => void;
}): void {
  const { nodes, pods, records, queue, reporter, isGone, onError } = options;
  const hasEnded = ({ namespace, name, uid }: ReportedPod) => {
    const pod = pods.get(`${namespace}/${name}`);
    return pod?.metadata.uid === uid && hasFinished(pod);
  };
  const hasLost = ({ uid }: ReportedPod) =>
    [...nodes.values()].some((node) => addressesOf(node).some((one) => one.podUID === uid && !one.isUsable));
  const answer = async (pod: ReportedPod) => {
    if (reporter.isReleased(pod.uid) || records.hasSandboxOf(pod.uid)) return;
    if (!hasEnded(pod) && !hasLost(pod) && !(await isGone(pod))) return;
    if (!records.hasSandboxOf(pod.uid)) reporter.released(pod);
  };
  const lookAt = (node: TerwayNode) => {
    for (const pod of holders(node)) {
      const key = `${pod.namespace}/${pod.name}`;
      const isHere = pods.get(key)?.metadata.uid === pod.uid;
      if (!isHere || hasEnded(pod) || hasLost(pod)) void queue.run(key, () => answer(pod)).catch(onError);
    }
  };
  const lookAtAll = () => {
    for (const node of nodes.values()) lookAt(node);
  };
  nodes.addHandler({ onAdd: lookAt, onUpdate: (_, node) => lookAt(node) });
  pods.addHandler({
    onUpdate: (before, pod) => {
      if (hasFinished(pod) && !hasFinished(before)) lookAtAll();
    },
    onDelete: lookAtAll,
  });
}

/** Pods that have an address of the node, by uid. */
export function holders(node: TerwayNode): ReportedPod[] {
  const found = addressesOf(node).flatMap(({ podID, podUID }): [string, ReportedPod][] => {
    const [namespace = '', name = ''] = podID.split('/');
    return podUID === '' ? [] : [[podUID, { namespace, name, uid: podUID }]];
  });
  return [...new Map(found).values()];
}

/** Addresses of the node, with their pods, and whether a sandbox can get them. */
function addressesOf({ status }: TerwayNode): { podID: string; podUID: string; isUsable: boolean }[] {
  return Object.values(status?.networkInterfaces ?? {}).flatMap((eni) =>
    [...Object.values(eni.ipv4 ?? {}), ...Object.values(eni.ipv6 ?? {})].map(({ podID = '', podUID = '', status }) => ({
      podID,
      podUID,
      isUsable: status === 'Valid' && eni.status !== 'Deleting',
    })),
  );
}

/** Sandboxes get nothing from such a PodENI any more. One that was never bound needs no report. */
function leaves({ metadata, status }: PodEni): boolean {
  if (status?.phase === 'Detaching') return true;
  return status?.phase === 'Bind' && metadata.deletionTimestamp !== undefined;
}
