import { parseAllDocuments } from 'yaml';
import * as z from 'zod';
import type { ApiClient } from './api.ts';
import { TestClusterError } from './errors.ts';

const objectSchema = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
});
export type Manifest = z.infer<typeof objectSchema>;

const resourceListSchema = z.object({
  resources: z.array(z.object({ name: z.string(), kind: z.string(), namespaced: z.boolean() })),
});

/** Objects of a YAML stream. Skips documents without an object. */
export function parseManifests(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document): unknown => document.toJS())
    .filter((object) => object !== null)
    .map((object) => objectSchema.parse(object));
}

/**
 * Applies a YAML stream server-side, as `kubectl apply --server-side --force-conflicts` does. Starting kubectl and its API
 * discovery would take longer than most tests.
 *
 * @throws ApiStatusError; TestClusterError for a kind that the API does not have.
 */
export async function applyManifests(client: ApiClient, text: string, signal?: AbortSignal): Promise<void> {
  const known = new Map<string, Promise<z.infer<typeof resourceListSchema>>>();
  const query = { fieldManager: 'test', force: true };
  for (const object of parseManifests(text)) {
    const { apiVersion, kind, metadata } = object;
    const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const list = known.get(group) ?? client.get(group, { signal }).then((found) => resourceListSchema.parse(found));
    known.set(group, list);
    const resource = (await list).resources.find((one) => one.kind === kind && !one.name.includes('/'));
    if (resource === undefined) throw new TestClusterError(`${apiVersion} has no kind ${kind}`);
    const namespace = resource.namespaced ? `/namespaces/${metadata.namespace ?? 'default'}` : '';
    await client.patch(`${group}${namespace}/${resource.name}/${metadata.name}`, 'apply', object, { query, signal });
  }
}
