import { ANNOTATION_POD_UID } from '../crds/names.ts';
import type { PodEni } from '../crds/pod-eni.ts';
import type { Store } from '../kube/store.ts';
import { keyOf } from '../kube/types.ts';
import type { KeyedQueue } from '../util/keyed-queue.ts';
import type { RecordStore } from './records.ts';
import type { Pod } from './resources.ts';
import type { RuntimeReporter } from './runtime-reporter.ts';

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

/** Sandboxes get nothing from such a PodENI any more. One that was never bound needs no report. */
function leaves({ metadata, status }: PodEni): boolean {
  if (status?.phase === 'Detaching') return true;
  return status?.phase === 'Bind' && metadata.deletionTimestamp !== undefined;
}
