import { isRecord } from '../../../src/util/json.ts';
import { apiVersionOf, withoutStatus } from './decode.ts';
import { badRequest, invalid } from './errors.ts';
import { difference, type FieldSet, fieldsIn, mergeApplied, union, withoutFields } from './field-sets.ts';
import { type Applied, type Author, entriesOf, ownedIn, ownedSchema, ownersOf } from './managed-fields.ts';
import { type KubeObject, recordAt, stringAt } from './objects.ts';
import type { ApiResource } from './resources.ts';

/** The content type of server-side apply. Its YAML is JSON here. */
export const APPLY = 'application/apply-patch+yaml';

/** What is to be written for an applied configuration. */
export interface Application {
  /** The whole object. */
  object: unknown;
  applied: Applied;
}

/**
 * Puts a configuration over an object: fields that its author applied earlier and does not name any more go, unless somebody else has
 * them, too.
 *
 * @param before undefined when the object is to be made
 * @throws StatusError
 */
export function application(
  resource: ApiResource,
  { before, name, body }: { before: KubeObject | undefined; name: string; body: unknown },
  { isForced, ...author }: Author & { isForced: boolean },
): Application {
  const sent = configurationOf(resource, name, body);
  const isStatus = author.subresource === 'status';
  const schema = ownedSchema(resource);
  const { apiVersion, kind, metadata, status } = sent;
  const named = isStatus ? { apiVersion, kind, metadata, status } : withoutStatus(sent);
  const { metadata: ownedMetadata, ...content } = ownedIn(named);
  // Of the metadata as a whole nobody is the owner. By way of the status nobody becomes the owner of any of it.
  const owned = isStatus ? content : { ...content, metadata: ownedMetadata };
  const fields = difference(fieldsIn(owned, schema), { 'f:metadata': {} });
  if (before === undefined) return { object: named, applied: { fields, isForced } };
  const { own, others } = entriesOf(ownersOf(before), author, 'Apply');
  const kept = others.reduce<FieldSet | undefined>((all, { fieldsV1 }) => union(all, fieldsV1), fields);
  const merged = mergeApplied(before, named, schema);
  return { object: withoutFields(merged, difference(own?.fieldsV1, kept), schema), applied: { fields, isForced } };
}

function configurationOf(resource: ApiResource, name: string, body: unknown): Readonly<Record<string, unknown>> {
  if (!isRecord(body)) throw badRequest('error decoding patch: an applied configuration is an object');
  const metadata = recordAt(body, 'metadata');
  if (metadata['managedFields'] !== undefined) throw badRequest('metadata.managedFields must be nil');
  if (body['apiVersion'] !== apiVersionOf(resource) || body['kind'] !== resource.kind)
    throw badRequest(`the applied configuration is not a ${resource.kind} of ${apiVersionOf(resource)}`);
  const sentName = stringAt(metadata, 'name') ?? name;
  if (sentName !== name)
    throw badRequest(`the name of the object (${sentName}) does not match the name on the URL (${name})`);
  return { ...body, metadata: { ...metadata, name } };
}

/** @throws StatusError 422 when the request does not say who applies */
export function requireManager(fieldManager: string): void {
  if (fieldManager !== '') return;
  const message = 'Required value: is required for apply patch';
  const cause = { reason: 'FieldValueRequired', message, field: 'fieldManager' };
  throw invalid({ group: 'meta.k8s.io', kind: 'PatchOptions' }, '', [cause]);
}
