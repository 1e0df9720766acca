import { ANNOTATION_POD_UID, FINALIZER_POD_ENI, LABEL_NODE } from '../../crds/names.ts';
import type { Allocation, AttachTarget, CreateIntent, PodEni, PodEniStatus } from '../../crds/pod-eni.ts';
import { type PodNetworking, podNetworkingSchema } from '../../crds/pod-networking.ts';
import type { Eni, EniObservation, EniStatus } from '../../ecs/eni.ts';
import { rfc3339 } from '../../util/clock.ts';
import { clientTokenOf, ownershipTags } from '../identity.ts';
import { type Goal, type InterfaceStep, type InterfaceView, nextInterfaceStep } from '../interface-step.ts';
import type { Operation, OperationFailure, OperationKind } from '../operation.ts';

/** The moment at which these tests make decisions. */
export const NOW_MS = Date.parse('2026-01-01T12:00:00Z');
export const CLUSTER = 'c1';
export const TARGET: AttachTarget = { nodeName: 'node-1', instanceID: 'i-1', trunkENIID: 'eni-trunk-1' };
export const ALLOCATION_TYPE = {
  fixedForever: { type: 'Fixed', releaseStrategy: 'Never' },
  fixedTtl: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '10m' },
} as const;

export const FAILURE_KINDS: readonly OperationFailure['kind'][] = [
  'throttled',
  'unavailable',
  'exhausted',
  'limit',
  'state',
  'notFound',
  'token',
  'forbidden',
  'invalid',
];

export function intent(changes: Partial<CreateIntent> = {}): CreateIntent {
  return { attempt: 1, clientToken: TOKEN, createdAt: rfc3339(NOW_MS - 3600_000), networking: 'pn', ...changes };
}
const TOKEN = clientTokenOf({
  clusterId: CLUSTER,
  owner: 'default/web-0',
  ownerUid: 'uid-1',
  interfaceName: 'eth0',
  attempt: 1,
  plannedAt: 'then',
  vSwitchId: 'vsw-1',
  securityGroupIds: ['sg-1', 'sg-2'],
});

export function allocation(changes: Partial<Allocation> = {}): Allocation {
  return {
    interface: 'eth0',
    ipv4: '10.0.0.5',
    eni: { id: 'eni-1', vSwitchID: 'vsw-1', securityGroupIDs: ['sg-1', 'sg-2'] },
    intent: intent(),
    ...changes,
  };
}

/** An allocation whose create has no response yet. */
export function unborn(changes: Partial<CreateIntent> = {}): Allocation {
  const { ipv4: _ipv4, ...rest } = allocation({ intent: intent(changes) });
  return { ...rest, eni: { ...rest.eni, id: '' } };
}

export function podEni(
  changes: {
    allocations?: Allocation[];
    status?: PodEniStatus;
    target?: AttachTarget | undefined;
    uid?: string;
    deleted?: boolean;
    zone?: string;
  } = {},
): PodEni {
  const target = 'target' in changes ? changes.target : TARGET;
  return {
    metadata: {
      name: 'web-0',
      namespace: 'default',
      uid: 'podeni-uid',
      finalizers: [FINALIZER_POD_ENI],
      labels: { [LABEL_NODE]: 'node-1' },
      annotations: { [ANNOTATION_POD_UID]: changes.uid ?? 'uid-1' },
      ...(changes.deleted === true ? { deletionTimestamp: rfc3339(NOW_MS - 60_000) } : {}),
    },
    spec: {
      zone: changes.zone ?? 'z-a',
      allocations: changes.allocations ?? [allocation()],
      ...(target === undefined ? {} : { target }),
    },
    ...(changes.status === undefined ? {} : { status: changes.status }),
  };
}

/** An ENI of ours in the vSwitch and security groups of {@link allocation}. */
export function eni(status: EniStatus, changes: Partial<Eni> = {}): Eni {
  return {
    id: 'eni-1',
    type: 'Secondary',
    status,
    macAddress: '00:16:3e:00:00:01',
    vpcId: 'vpc-1',
    vSwitchId: 'vsw-1',
    zoneId: 'z-a',
    primaryIp: '10.0.0.5',
    ipv4: ['10.0.0.5'],
    ipv6: [],
    securityGroupIds: ['sg-2', 'sg-1'],
    resourceGroupId: '',
    tags: ownershipTags({ clusterId: CLUSTER, owner: 'default/web-0', ownerUid: 'uid-1', clientToken: TOKEN }),
    deleteOnRelease: true,
    description: '',
    ...changes,
  };
}

/** Attached where {@link TARGET} says. */
export function boundEni(changes: Partial<Eni> = {}): Eni {
  return eni('InUse', { type: 'Member', instanceId: 'i-1', trunkEniId: 'eni-trunk-1', vlanId: 7, ...changes });
}

/** Attached to another node. */
export function elsewhere(changes: Partial<Eni> = {}): Eni {
  return boundEni({ instanceId: 'i-2', trunkEniId: 'eni-trunk-2', ...changes });
}

export function seen(shown: Eni | undefined, ageMs = 100): EniObservation {
  return shown === undefined ? { atMs: NOW_MS - ageMs } : { atMs: NOW_MS - ageMs, eni: shown };
}

export function running(kind: OperationKind): Operation {
  return { kind, state: 'running', sinceMs: NOW_MS - 200 };
}

export function succeeded(kind: OperationKind, ageMs: number, created?: Eni): Operation {
  return { kind, state: 'succeeded', atMs: NOW_MS - ageMs, ...(created === undefined ? {} : { eni: created }) };
}

export function failed(
  kind: OperationKind,
  failureKind: OperationFailure['kind'],
  options: { ageMs?: number; failures?: number; unansweredMsAgo?: number } = {},
): Operation {
  const failure = { kind: failureKind, code: 'Code', message: 'the cloud refused' };
  return {
    kind,
    state: 'failed',
    atMs: NOW_MS - (options.ageMs ?? 200),
    failure,
    failures: options.failures ?? 1,
    ...(options.unansweredMsAgo === undefined ? {} : { unansweredMs: NOW_MS - options.unansweredMsAgo }),
  };
}

/** The next step of {@link allocation}, which belongs to {@link TARGET}, unless the view says otherwise. */
export function interfaceStep(goal: Goal, view: Partial<InterfaceView>): InterfaceStep {
  const known = { allocation: allocation(), fixed: false, bound: false, target: TARGET, ...view };
  return nextInterfaceStep(goal, known, CLUSTER, NOW_MS);
}

export function podNetworking(spec: object = {}, changes: { name?: string; generation?: number } = {}): PodNetworking {
  return podNetworkingSchema.parse({
    metadata: { name: changes.name ?? 'pn', generation: changes.generation ?? 1 },
    spec: { vSwitchOptions: ['vsw-1', 'vsw-2'], securityGroupIDs: ['sg-1', 'sg-2'], ...spec },
    status: { status: 'Ready', observedGeneration: changes.generation ?? 1 },
  });
}
