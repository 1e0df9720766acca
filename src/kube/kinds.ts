import type { HasMetadata, Resource } from './types.ts';

/** Group, version and plural of a kind; each reader brings its own schema. */
export type Kind = Omit<Resource<HasMetadata>, 'parse'>;

export const POD: Kind = { group: '', version: 'v1', plural: 'pods', kind: 'Pod', namespaced: true };
export const NODE: Kind = { group: '', version: 'v1', plural: 'nodes', kind: 'Node', namespaced: false };
export const NAMESPACE: Kind = { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false };
export const CONFIG_MAP: Kind = { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true };
export const EVENT: Kind = {
  group: 'events.k8s.io',
  version: 'v1',
  plural: 'events',
  kind: 'Event',
  namespaced: true,
};

/** A kind read with a schema, which keeps what the reader needs and drops the rest. */
export function readAs<T extends HasMetadata>(kind: Kind, schema: { parse(raw: unknown): T }): Resource<T> {
  const { group, version, plural, kind: name, namespaced } = kind;
  return { group, version, plural, kind: name, namespaced, parse: (raw) => schema.parse(raw) };
}
