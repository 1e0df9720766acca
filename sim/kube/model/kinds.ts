import { jsonEqual } from '../../../src/kube/patch.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { StatusCause } from './errors.ts';
import { type KubeObject, recordAt, textsOf } from './objects.ts';
import type { ApiResource } from './resources.ts';

/** What the server does for one built-in kind only, as far as the product or its workloads notice. */
interface KindRules {
  /** A node comes with its status; everywhere else the first status comes later. */
  keepsStatusOnCreate?: boolean;
  /** The only top-level fields that the kind has. */
  fields?: readonly string[];
  /** Fills in what the server adds. */
  complete?: (object: KubeObject) => KubeObject;
  problems?: (next: KubeObject, before: KubeObject | undefined) => StatusCause[];
}

const RULES: Readonly<Record<string, KindRules>> = {
  pods: { complete: completePod, problems: podProblems },
  nodes: { keepsStatusOnCreate: true },
  namespaces: { complete: completeNamespace },
  configmaps: { fields: ['data', 'binaryData', 'immutable'], problems: dataProblems },
  secrets: { problems: dataProblems },
  leases: { problems: leaseProblems },
};

function rulesOf({ plural, isBuiltIn }: ApiResource): KindRules {
  return isBuiltIn ? (RULES[plural] ?? {}) : {};
}

export function keepsStatusOnCreate(resource: ApiResource): boolean {
  return rulesOf(resource).keepsStatusOnCreate ?? false;
}

/**
 * Of what was sent the fields that a built-in kind has, as they are stored: a null is nothing there, and of no texts at all
 * nothing is kept. Kinds with a status have nothing but that and a spec.
 */
export function keptFields(resource: ApiResource, content: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const fields = rulesOf(resource).fields ?? (resource.hasStatus ? ['spec', 'status'] : undefined);
  const present = Object.entries(content)
    .filter(([name, value]) => value !== null && fields?.includes(name) !== false)
    .map(([name, value]) => [name, name === 'data' ? textsOf(value) : value] as const)
    .filter(([name, value]) => name !== 'data' || !isRecord(value) || Object.keys(value).length > 0);
  return Object.fromEntries(present);
}

export function completed(resource: ApiResource, object: KubeObject): KubeObject {
  return rulesOf(resource).complete?.(object) ?? object;
}

/** @param before undefined for an object that is being created */
export function kindProblems(resource: ApiResource, next: KubeObject, before: KubeObject | undefined): StatusCause[] {
  return rulesOf(resource).problems?.(next, before) ?? [];
}

function completePod(pod: KubeObject): KubeObject {
  const defaults = { restartPolicy: 'Always', terminationGracePeriodSeconds: 30, schedulerName: 'default-scheduler' };
  return {
    ...pod,
    spec: { ...defaults, ...recordAt(pod, 'spec') },
    status: { phase: 'Pending', qosClass: 'BestEffort' },
  };
}

function completeNamespace(namespace: KubeObject): KubeObject {
  const { metadata } = namespace;
  const labels = { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name };
  const spec = { ...recordAt(namespace, 'spec'), finalizers: ['kubernetes'] };
  return { ...namespace, metadata: { ...metadata, labels }, spec, status: { phase: 'Active' } };
}

/** A pod's place and network are for life; `binding` sets the place. */
function podProblems(next: KubeObject, before: KubeObject | undefined): StatusCause[] {
  if (before === undefined || jsonEqual(fixedSpec(next), fixedSpec(before))) return [];
  const rule =
    'pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,' +
    '`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),' +
    '`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)';
  return [{ reason: 'FieldValueForbidden', message: `Forbidden: ${rule}`, field: 'spec' }];
}

function fixedSpec(pod: KubeObject): unknown {
  const { activeDeadlineSeconds: _deadline, tolerations: _tolerations, ...spec } = recordAt(pod, 'spec');
  const withoutImages = (containers: unknown) =>
    Array.isArray(containers)
      ? containers.map((container: unknown) => (isRecord(container) ? { ...container, image: undefined } : container))
      : containers;
  return {
    ...spec,
    containers: withoutImages(spec['containers']),
    initContainers: withoutImages(spec['initContainers']),
  };
}

function dataProblems(next: KubeObject): StatusCause[] {
  const keys = Object.keys(recordAt(next, 'data'));
  const rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
  return keys
    .filter((key) => !/^[-._a-zA-Z0-9]{1,253}$/.test(key))
    .map((key) => {
      const message = `Invalid value: ${JSON.stringify(key)}: ${rule}`;
      return { reason: 'FieldValueInvalid', message, field: `data[${key}]` };
    });
}

function leaseProblems(next: KubeObject): StatusCause[] {
  const { leaseDurationSeconds: seconds } = recordAt(next, 'spec');
  if (typeof seconds !== 'number' || seconds > 0) return [];
  const message = `Invalid value: ${seconds}: must be greater than 0`;
  return [{ reason: 'FieldValueInvalid', message, field: 'spec.leaseDurationSeconds' }];
}
