import type { StructuralSchema } from './schema.ts';

/** A kind that the server has, and what of its behaviour depends on the kind. */
export interface ApiResource {
  group: string;
  version: string;
  plural: string;
  kind: string;
  namespaced: boolean;
  /** Of a CustomResourceDefinition: prunes, sets defaults and validates. Built-in kinds take what comes. */
  schema: StructuralSchema | undefined;
  /** Writes of the object leave the status alone, and writes of the status everything else. */
  hasStatus: boolean;
  /** `metadata.generation` counts changes outside metadata and status. */
  hasGeneration: boolean;
  /** A PUT without a resourceVersion replaces whatever is there. */
  unconditionalUpdate: boolean;
  /** Fields beside those of the metadata that a field selector may name. */
  selectableFields: readonly string[];
  /** Items of its lists come without kind and apiVersion. */
  isBuiltIn: boolean;
}

type BuiltIn = Pick<ApiResource, 'group' | 'plural' | 'kind' | 'namespaced'> &
  Partial<Pick<ApiResource, 'hasStatus' | 'hasGeneration' | 'unconditionalUpdate' | 'selectableFields'>>;

const counted = { hasStatus: true, hasGeneration: true };

const BUILT_INS: readonly BuiltIn[] = [
  {
    group: '',
    plural: 'pods',
    kind: 'Pod',
    namespaced: true,
    ...counted,
    selectableFields: ['spec.nodeName', 'status.phase', 'spec.serviceAccountName', 'spec.schedulerName'],
  },
  { group: '', plural: 'nodes', kind: 'Node', namespaced: false, hasStatus: true },
  { group: '', plural: 'namespaces', kind: 'Namespace', namespaced: false, hasStatus: true },
  { group: '', plural: 'configmaps', kind: 'ConfigMap', namespaced: true },
  { group: '', plural: 'secrets', kind: 'Secret', namespaced: true, selectableFields: ['type'] },
  { group: '', plural: 'serviceaccounts', kind: 'ServiceAccount', namespaced: true },
  { group: '', plural: 'services', kind: 'Service', namespaced: true, hasStatus: true },
  { group: 'coordination.k8s.io', plural: 'leases', kind: 'Lease', namespaced: true, unconditionalUpdate: false },
  {
    group: 'events.k8s.io',
    plural: 'events',
    kind: 'Event',
    namespaced: true,
    selectableFields: ['regarding.name', 'regarding.kind', 'regarding.namespace', 'regarding.uid', 'reason', 'type'],
  },
  { group: 'apps', plural: 'deployments', kind: 'Deployment', namespaced: true, ...counted },
  { group: 'apps', plural: 'replicasets', kind: 'ReplicaSet', namespaced: true, ...counted },
  { group: 'apps', plural: 'statefulsets', kind: 'StatefulSet', namespaced: true, ...counted },
  { group: 'apps', plural: 'daemonsets', kind: 'DaemonSet', namespaced: true, ...counted },
  { group: 'batch', plural: 'jobs', kind: 'Job', namespaced: true, ...counted },
  {
    group: 'admissionregistration.k8s.io',
    plural: 'mutatingwebhookconfigurations',
    kind: 'MutatingWebhookConfiguration',
    namespaced: false,
    hasGeneration: true,
    unconditionalUpdate: false,
  },
  {
    group: 'admissionregistration.k8s.io',
    plural: 'validatingwebhookconfigurations',
    kind: 'ValidatingWebhookConfiguration',
    namespaced: false,
    hasGeneration: true,
    unconditionalUpdate: false,
  },
];

/** The kinds that every server has, as far as the product and its workloads meet them. */
export function builtInResources(): ApiResource[] {
  return BUILT_INS.map((builtIn) => ({
    version: 'v1',
    schema: undefined,
    isBuiltIn: true,
    hasStatus: false,
    hasGeneration: false,
    unconditionalUpdate: true,
    selectableFields: [],
    ...builtIn,
  }));
}

/** Every field that a field selector may name. */
export function fieldsOf(resource: ApiResource): readonly string[] {
  return ['metadata.name', 'metadata.namespace', ...resource.selectableFields];
}
