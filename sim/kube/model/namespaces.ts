import type { ClusterState } from './cluster.ts';
import { notFound, qualifiedName, StatusError } from './errors.ts';
import type { ApiResource } from './resources.ts';

/** Those that the server itself needs. */
const PROTECTED = new Set(['default', 'kube-system', 'kube-public']);

/** @throws StatusError when the namespace is not there (404), or is being deleted (403) */
export function requireNamespace(cluster: ClusterState, resource: ApiResource, namespace: string, name: string): void {
  const namespaces = cluster.find('namespaces');
  if (namespaces === undefined) return;
  const found = namespaces.get(namespace);
  if (found === undefined) throw notFound(namespaces.resource, namespace);
  if (found.object.metadata.deletionTimestamp === undefined) return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  throw new StatusError(403, 'Forbidden', `${qualifiedName(resource)} "${name}" is forbidden: ${why}`, {
    name,
    ...(resource.group === '' ? {} : { group: resource.group }),
    kind: resource.plural,
    causes: [
      {
        reason: 'NamespaceTerminating',
        field: 'metadata.namespace',
        message: `namespace ${namespace} is being terminated`,
      },
    ],
  });
}

/** @throws StatusError 403 */
export function requireDeletable(name: string): void {
  if (!PROTECTED.has(name)) return;
  const message = `namespaces "${name}" is forbidden: this namespace may not be deleted`;
  throw new StatusError(403, 'Forbidden', message, { name, kind: 'namespaces' });
}
