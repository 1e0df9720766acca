import { rfc3339 } from '../../../src/util/clock.ts';
import { apiVersionOf } from './decode.ts';
import { type StatusCause, StatusError } from './errors.ts';
import { compare, difference, type FieldSet, intersection, type ManagedFields, pathsOf, union } from './field-sets.ts';
import { type KubeObject, type Metadata, recordAt } from './objects.ts';
import type { ApiResource } from './resources.ts';
import type { StructuralSchema } from './schema.ts';

/** Who writes. */
export interface Author {
  /** As the field manager of the request says, or else the name of the client. */
  manager: string;
  subresource: string;
  nowMs: number;
}

/** What a client wants by server-side apply. */
export interface Applied {
  /** The fields of its configuration. */
  fields: FieldSet | undefined;
  /** It becomes the owner of fields that others have set otherwise. */
  isForced: boolean;
}

/** Of the metadata that nobody owns. */
const UNOWNED = new Set([
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'managedFields',
  'selfLink',
]);
const METADATA_SCHEMA: StructuralSchema = {
  properties: {
    labels: { additionalProperties: {} },
    annotations: { additionalProperties: {} },
    finalizers: { 'x-kubernetes-list-type': 'set' },
    ownerReferences: {
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['uid'],
      items: { 'x-kubernetes-map-type': 'atomic' },
    },
  },
};

/** The fields of an object that have owners, as a schema. */
export function ownedSchema({ schema }: ApiResource): StructuralSchema {
  return { ...schema, properties: { ...schema?.properties, metadata: METADATA_SCHEMA } };
}

/** An object without what nobody owns. */
export function ownedIn(object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { apiVersion: _version, kind: _kind, ...content } = object;
  const metadata = Object.entries(recordAt(object, 'metadata')).filter(([name]) => !UNOWNED.has(name));
  return { ...content, metadata: Object.fromEntries(metadata) };
}

/**
 * An object with its owners after a write. Of a custom kind; those of built-in kinds are not kept. As on the real server, an object
 * that has had no owner since it was made gets none before something is applied to it.
 *
 * @param applied undefined for every other kind of write
 * @throws StatusError 409 when what is applied differs from what others have written
 */
export function withOwners(
  resource: ApiResource,
  { before, next, applied }: { before: KubeObject | undefined; next: KubeObject; applied?: Applied | undefined },
  author: Author,
): KubeObject {
  if (resource.isBuiltIn) return next;
  const known = before === undefined ? [] : ownersOf(before);
  const isUntracked = before !== undefined && known.length === 0;
  if (isUntracked && applied === undefined) return next;
  const first = { manager: 'before-first-apply', subresource: '', nowMs: author.nowMs };
  const held = isUntracked ? updated(resource, { before: undefined, next: before }, [], first) : known;
  const write = { before, next };
  const entries =
    applied === undefined
      ? updated(resource, write, held, author)
      : afterApply(resource, write, held, { ...author, applied });
  return { ...next, metadata: withEntries(next.metadata, entries) };
}

/** The entries of an object. */
export function ownersOf({ metadata: { managedFields = [] } }: KubeObject): readonly ManagedFields[] {
  return managedFields;
}

/** The entry of this author, and those of everybody else. */
export function entriesOf(
  entries: readonly ManagedFields[],
  { manager, subresource }: Author,
  operation: ManagedFields['operation'],
): { own: ManagedFields | undefined; others: ManagedFields[] } {
  const isOwn = (entry: ManagedFields) =>
    entry.manager === manager && entry.operation === operation && (entry.subresource ?? '') === subresource;
  return { own: entries.find(isOwn), others: entries.filter((entry) => !isOwn(entry)) };
}

interface Write {
  before: KubeObject | undefined;
  next: KubeObject;
}

function updated(
  resource: ApiResource,
  { before, next }: Write,
  held: readonly ManagedFields[],
  author: Author,
): ManagedFields[] {
  const { taken, removed } = compare(
    before === undefined ? { metadata: {} } : ownedIn(before),
    ownedIn(next),
    ownedSchema(resource),
  );
  if (taken === undefined && removed === undefined) return [...held];
  const { own, others } = entriesOf(held, author, 'Update');
  const fields = union(difference(own?.fieldsV1, removed), taken);
  const { time = rfc3339(author.nowMs) } = taken === undefined && own !== undefined ? own : {};
  return [
    ...without(others, union(taken, removed)),
    ...(fields === undefined ? [] : [entryOf(resource, { author, operation: 'Update', time, fieldsV1: fields })]),
  ];
}

function afterApply(
  resource: ApiResource,
  { before, next }: Write,
  held: readonly ManagedFields[],
  { applied, ...author }: Author & { applied: Applied },
): ManagedFields[] {
  const { taken, removed } = compare(
    before === undefined ? { metadata: {} } : ownedIn(before),
    ownedIn(next),
    ownedSchema(resource),
  );
  const { own, others } = entriesOf(held, author, 'Apply');
  if (!applied.isForced) refuseConflicts(others, taken);
  const isChanged = taken !== undefined || removed !== undefined;
  const time = isChanged ? rfc3339(author.nowMs) : own?.time;
  const { fields } = applied;
  return [
    ...without(others, union(taken, removed)),
    ...(fields === undefined ? [] : [entryOf(resource, { author, operation: 'Apply', time, fieldsV1: fields })]),
  ];
}

function refuseConflicts(others: readonly ManagedFields[], taken: FieldSet | undefined): void {
  const causes = others.flatMap(({ manager, apiVersion, fieldsV1 }): StatusCause[] =>
    pathsOf(intersection(fieldsV1, taken)).map((field) => ({
      reason: 'FieldManagerConflict',
      message: `conflict with "${manager}" using ${apiVersion}`,
      field,
    })),
  );
  if (causes.length === 0) return;
  const noun = causes.length === 1 ? 'conflict' : 'conflicts';
  const list = causes.map(({ message, field }) => `${message}: ${field}`).join('\n');
  throw new StatusError(409, 'Conflict', `Apply failed with ${causes.length} ${noun}: ${list}`, { causes });
}

function without(entries: readonly ManagedFields[], fields: FieldSet | undefined): ManagedFields[] {
  return entries.flatMap((entry) => {
    const fieldsV1 = difference(entry.fieldsV1, fields);
    return fieldsV1 === undefined ? [] : [{ ...entry, fieldsV1 }];
  });
}

function entryOf(
  resource: ApiResource,
  entry: { author: Author; fieldsV1: FieldSet; time: string | undefined } & Pick<ManagedFields, 'operation'>,
): ManagedFields {
  const { author, operation, time, fieldsV1 } = entry;
  const { manager, subresource } = author;
  const named = { manager, operation, apiVersion: apiVersionOf(resource), fieldsType: 'FieldsV1' as const };
  return {
    ...named,
    ...(time === undefined ? {} : { time }),
    fieldsV1,
    ...(subresource === '' ? {} : { subresource }),
  };
}

/** In the order of the real server. */
function withEntries({ managedFields: _entries, ...metadata }: Metadata, entries: ManagedFields[]): Metadata {
  if (entries.length === 0) return metadata;
  const rank = ({ operation, time = '', manager, subresource = '' }: ManagedFields) =>
    [operation, time, manager, subresource].join(' ');
  const managedFields = entries.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1));
  return { ...metadata, managedFields };
}
