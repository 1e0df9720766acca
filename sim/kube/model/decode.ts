import * as z from 'zod';
import { isRecord } from '../../../src/util/json.ts';
import { badRequest, invalid } from './errors.ts';
import { keptFields } from './kinds.ts';
import { type KubeObject, recordAt, stringAt, textsOf } from './objects.ts';
import type { ApiResource } from './resources.ts';
import { normalize } from './schema.ts';

/** An object as a client sent it: kind, version and namespace are known to fit, nothing else is. */
export type SentObject = Readonly<Record<string, unknown>>;

const texts = z.record(z.string(), z.string().nullish()).nullish();
const text = z.string().nullish();

/** Types of the metadata's fields; a null is nothing there. */
const metadataSchema = z.looseObject({
  name: text,
  generateName: text,
  namespace: text,
  uid: text,
  resourceVersion: text,
  deletionTimestamp: text,
  labels: texts,
  annotations: texts,
  finalizers: z.array(z.string()).nullish(),
  generation: z.number().nullish(),
  deletionGracePeriodSeconds: z.number().nullish(),
  ownerReferences: z.array(z.looseObject({})).nullish(),
});

/**
 * @param isPatched the object is what a patch made, which the server refuses in other words
 * @throws StatusError 400 or 422 when it is no object of this kind and namespace
 */
export function decodeBody(
  resource: ApiResource,
  namespace: string | undefined,
  body: unknown,
  isPatched = false,
): SentObject {
  if (!isRecord(body)) {
    throw badRequest(`the object provided is unrecognized (must be of type ${resource.kind})`);
  }
  checkType(resource, body);
  checkMetadata(resource, body, isPatched);
  const sentNamespace = stringAt(recordAt(body, 'metadata'), 'namespace') ?? '';
  if (namespace !== undefined && sentNamespace !== '' && sentNamespace !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  return body;
}

/** Built-in kinds take an object that does not say what it is; custom ones do not. */
function checkType(resource: ApiResource, body: SentObject): void {
  const { group, kind, isBuiltIn } = resource;
  const expected = apiVersionOf(resource);
  const sentKind = stringAt(body, 'kind');
  const sentVersion = stringAt(body, 'apiVersion');
  if (!isBuiltIn && (sentKind === undefined || sentVersion === undefined)) {
    const missing = sentKind === undefined ? 'Kind' : 'apiVersion';
    throw badRequest(`the object provided is unrecognized (must be of type ${kind}): Object '${missing}' is missing`);
  }
  if (sentVersion !== undefined && sentVersion !== expected) {
    throw badRequest(
      isBuiltIn
        ? `${sentKind ?? kind} in version "${sentVersion}" cannot be handled as a ${kind}`
        : `the API version in the data (${sentVersion}) does not match the expected API version (${expected})`,
    );
  }
  if (sentKind === undefined || sentKind === kind) return;
  if (isBuiltIn) throw badRequest(`${sentKind} in version "${expected}" cannot be handled as a ${kind}`);
  const message = `Invalid value: ${JSON.stringify(sentKind)}: must be ${kind}`;
  const name = stringAt(recordAt(body, 'metadata'), 'name') ?? '';
  throw invalid({ group, kind: sentKind }, name, [{ reason: 'FieldValueInvalid', message, field: 'kind' }]);
}

function checkMetadata({ kind, version }: ApiResource, body: SentObject, isPatched: boolean): void {
  const { error } = metadataSchema.safeParse(body['metadata'] ?? {});
  const issue = error?.issues[0];
  if (issue === undefined) return;
  const what = `json: cannot unmarshal Go struct field ObjectMeta.metadata.${issue.path.join('.')}: ${issue.message}`;
  if (!isPatched) throw badRequest(`${kind} in version "${version}" cannot be handled as a ${kind}: ${what}`);
  const message = `Invalid value: ${JSON.stringify(body)}: ${what}`;
  throw invalid({ group: '', kind: '' }, '', [{ reason: 'FieldValueInvalid', message, field: 'patch' }]);
}

/** Pruned and with its defaults; the metadata is as it was sent. */
export function normalized(resource: ApiResource, sent: SentObject): SentObject {
  const { metadata: _metadata, ...content } = sent;
  const kept = resource.schema === undefined ? keptFields(resource, content) : normalize(resource.schema, content);
  return {
    ...(isRecord(kept) ? kept : {}),
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    metadata: withoutNulls(recordAt(sent, 'metadata')),
  };
}

/** The server reads into Go structures: a null is nothing there, and among texts the empty one. */
function withoutNulls(metadata: SentObject): SentObject {
  const kept = Object.entries(metadata).filter(([, value]) => value !== null);
  return Object.fromEntries(kept.map(([key, value]) => [key, TEXT_MAPS.has(key) ? textsOf(value) : value]));
}

const TEXT_MAPS = new Set(['labels', 'annotations']);

/** What a client may set of the metadata. The server does not store empty labels, annotations, finalizers and owners. */
export function clientMetadata(metadata: SentObject): Record<string, unknown> {
  const {
    name: _name,
    namespace: _namespace,
    uid: _uid,
    resourceVersion: _version,
    generation: _generation,
    creationTimestamp: _created,
    deletionTimestamp: _deleted,
    deletionGracePeriodSeconds: _grace,
    managedFields: _managed,
    selfLink: _link,
    ...carried
  } = metadata;
  return Object.fromEntries(Object.entries(carried).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  return value === null || value === '' || (isRecord(value) && Object.keys(value).length === 0);
}

export function withoutStatus(object: KubeObject): KubeObject;
export function withoutStatus(object: SentObject): SentObject;
export function withoutStatus(object: SentObject): SentObject {
  const { status: _status, ...rest } = object;
  return rest;
}

export function apiVersionOf({ group, version }: ApiResource): string {
  return group === '' ? version : `${group}/${version}`;
}
