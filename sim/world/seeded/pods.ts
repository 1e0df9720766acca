import type { KubeObject } from '../../kube/model/objects.ts';
import type { Networking } from './acts.ts';

export const NAMESPACE = 'default';

/** Few names, so that a new pod often has the name of one whose release has not ended. */
export const PODS: readonly { name: string; networking: Networking }[] = [
  ...Array.from({ length: 7 }, (_, at) => ({ name: `web-${at}`, networking: 'elastic' as const })),
  ...Array.from({ length: 3 }, (_, at) => ({ name: `db-${at}`, networking: 'fixed' as const })),
  ...Array.from({ length: 2 }, (_, at) => ({ name: `keep-${at}`, networking: 'never' as const })),
];

/** The label of pods that no PodNetworking picks, so that they share the ENIs of their node. */
const SHARED = 'none';

/** Fewer than the smallest node has room for. Their numbers follow those of the others. */
export const SHARED_PODS: readonly { name: string; networking: typeof SHARED }[] = Array.from(
  { length: 16 },
  (_, at) => ({ name: `app-${at}`, networking: SHARED }),
);

const ALL = [...PODS, ...SHARED_PODS];

/** The pod of a number in a plan. */
export function podOfNumber(pod: number): { name: string; networking: Networking | typeof SHARED } | undefined {
  return ALL[pod];
}

/** The number of each pod that shares ENIs. */
export const SHARED_NUMBERS: readonly number[] = SHARED_PODS.map((_, at) => PODS.length + at);

export function keyOfPod(pod: number): string {
  return `${NAMESPACE}/${ALL[pod]?.name ?? ''}`;
}

/** Whether a pod shares the ENIs of its node. */
export function isShared({ metadata }: KubeObject): boolean {
  return metadata.labels?.['networking'] === SHARED;
}
