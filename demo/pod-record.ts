import * as z from 'zod';
import { podEniSchema } from '../src/crds/pod-eni.ts';

/** The annotation of a PodENI that names the pod it was made or rebound for. */
const POD_UID_ANNOTATION = 'k8s.aliyun.com/pod-uid';

/** As much of a Pod as the demo shows. */
export const podSchema = z.object({
  metadata: z.object({
    name: z.string(),
    uid: z.string(),
    labels: z.record(z.string(), z.string()).default({}),
    deletionTimestamp: z.string().optional(),
  }),
  spec: z.object({ nodeName: z.string().optional() }),
  status: z.object({ phase: z.string().optional(), podIP: z.string().optional() }).default({}),
});
export type Pod = z.infer<typeof podSchema>;

export { podEniSchema };
export type PodEni = z.infer<typeof podEniSchema>;

/** A pod of some name and its PodENI, as the API server showed them last. */
export interface PodRecord {
  name: string;
  /** Label `app`, which is the name of its Deployment or StatefulSet. */
  app: string;
  pod: Pod | undefined;
  podEni: PodEni | undefined;
  /** The PodENI as it was last, also when it is gone. */
  lastPodEni: PodEni | undefined;
  /** When the watch showed the pod of this uid first. */
  createdMs: number;
  /** When the watch showed the PodENI in Bind for the pod of this uid. */
  boundMs: number | undefined;
  /** When the watch showed, after that, that the pod runs. */
  runningMs: number | undefined;
}

/** How far a pod is followed: until its PodENI is in Bind for it, or until it runs, too. */
export type Goal = 'Bind' | 'Running';

/** Everything that a line about a pod says. */
export interface PodRow {
  name: string;
  app: string;
  /**
   * Of the PodENI; `Pending` before there is one, `Deleting` once its deletion is asked for, `gone` after it; `Running`
   * when that is the goal and reached.
   */
  phase: string;
  /** Where it is, or from where to where it goes. */
  node: string;
  address: string;
  eniId: string;
  trunkId: string;
  vlan: string;
  vSwitch: string;
  /** From the pod's creation to the goal, or until now. */
  tookMs: number;
  /** Whether the goal is reached. */
  served: boolean;
}

/** What a record comes to at the time `nowMs`. */
export function podRow(record: PodRecord, nowMs: number, goal: Goal = 'Bind'): PodRow {
  const { pod, lastPodEni: podEni } = record;
  const allocation = podEni?.spec.allocations?.[0];
  const eniId = allocation?.eni.id ?? '';
  const vid = podEni?.status?.eniInfos?.[eniId]?.vid;
  const from = podEni?.spec.target?.nodeName ?? '';
  const to = pod?.spec.nodeName ?? from;
  const reachedMs = goal === 'Bind' ? record.boundMs : record.runningMs;
  const phase = phaseOf(record);
  return {
    name: record.name,
    app: record.app,
    phase: phase === 'Bind' && reachedMs !== undefined ? goal : phase,
    node: from === '' || from === to ? to : `${from} → ${to}`,
    address: allocation?.ipv4 ?? '',
    eniId,
    trunkId: podEni?.status?.trunkENIID ?? podEni?.spec.target?.trunkENIID ?? '',
    // 0 stands for none.
    vlan: vid === undefined || vid === 0 ? '' : String(vid),
    vSwitch: allocation?.eni.vSwitchID ?? '',
    tookMs: (reachedMs ?? nowMs) - record.createdMs,
    served: reachedMs !== undefined,
  };
}

/** Whether the PodENI is in Bind for the very pod that the record has, on its node. */
export function isBound({ pod, podEni }: PodRecord): boolean {
  return (
    pod !== undefined &&
    podEni?.status?.phase === 'Bind' &&
    podEni.metadata.deletionTimestamp === undefined &&
    podEni.metadata.annotations?.[POD_UID_ANNOTATION] === pod.metadata.uid &&
    podEni.spec.target?.nodeName === pod.spec.nodeName
  );
}

/** Whether, besides, the pod runs. */
export function isRunning(record: PodRecord): boolean {
  return isBound(record) && record.pod?.status.phase === 'Running';
}

function phaseOf({ pod, podEni }: PodRecord): string {
  if (podEni === undefined) return pod === undefined ? 'gone' : 'Pending';
  if (podEni.metadata.deletionTimestamp !== undefined) return 'Deleting';
  const phase = podEni.status?.phase ?? '';
  return phase === '' ? 'Initial' : phase;
}
