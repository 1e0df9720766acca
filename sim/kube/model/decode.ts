import { isRecord } from '../../../src/util/json.ts';
import { badRequest, invalid } from './errors.ts';
import { type KubeObject, recordAt, stringAt } from './objects.ts';
import type { ApiResource } from './resources.ts';
import { normalize } from './schema.ts';

/** An object as a client sent it: kind, version and namespace are known to fit, nothing else is. */
export type SentObject = Readonly<Record<string, unknown>>;

/** @throws StatusError 400 or 422 when it is no object of this kind and namespace */
export function decodeBody(resource: ApiResource, namespace: string | undefined, body: unknown): SentObject {
  if (!isRecord(body)) {
    throw badRequest(`the object provided is unrecognized (must be of type ${resource.kind})`);
  }
  checkType(resource, body);
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

/** Pruned and with its defaults; the metadata is as it was sent. */
export function normalized(resource: ApiResource, sent: SentObject): SentObject {
  const { metadata: _metadata, ...content } = sent;
  const kept = resource.schema === undefined ? content : normalize(resource.schema, content);
  return {
    ...(isRecord(kept) ? kept : {}),
    ...{ apiVersion: apiVersionOf(resource), kind: resource.kind },
    metadata: recordAt(sent, 'metadata'),
  };
}

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

function apiVersionOf({ group, version }: ApiResource): string {
  return group === '' ? version : `${group}/${version}`;
}
