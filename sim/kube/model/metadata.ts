import { jsonEqual } from '../../../src/kube/patch.ts';
import type { StatusCause } from './errors.ts';
import type { Metadata } from './objects.ts';
import type { ApiResource } from './resources.ts';

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;
const NAME_PART = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const LONGEST_NAME = 253;
const LONGEST_LABEL = 63;
const MAX_ANNOTATION_BYTES = 256 * 1024;
const STANDARD_FINALIZERS = new Set(['kubernetes', 'orphan', 'foregroundDeletion']);

/** Rules for the metadata of any object, as far as a mistake of the product or a workload would break them. */
export function metadataProblems({ isBuiltIn }: ApiResource, metadata: Metadata): StatusCause[] {
  const causes: StatusCause[] = [];
  const { name, labels = {}, annotations = {}, finalizers = [] } = metadata;
  if (name.length > LONGEST_NAME || !SUBDOMAIN.test(name)) {
    const rule =
      "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', " +
      'and must start and end with an alphanumeric character';
    causes.push(badValue('metadata.name', name, rule));
  }
  for (const [key, value] of Object.entries(labels)) {
    if (!isQualifiedName(key)) causes.push(badValue('metadata.labels', key, 'a valid label key'));
    if (typeof value !== 'string' || value.length > LONGEST_LABEL || !LABEL_VALUE.test(value)) {
      const rule =
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', " +
        'and must start and end with an alphanumeric character';
      causes.push(badValue('metadata.labels', value, rule));
    }
  }
  for (const key of Object.keys(annotations)) {
    if (!isQualifiedName(key.toLowerCase())) causes.push(badValue('metadata.annotations', key, 'a qualified name'));
  }
  if (JSON.stringify(annotations).length > MAX_ANNOTATION_BYTES) {
    const message = `Too long: may not be more than ${MAX_ANNOTATION_BYTES} bytes`;
    causes.push({ reason: 'FieldValueTooLong', message, field: 'metadata.annotations' });
  }
  for (const [at, finalizer] of finalizers.entries()) {
    if (isFinalizer(finalizer, isBuiltIn)) continue;
    const rule = 'name is neither a standard finalizer name nor is it fully qualified';
    causes.push(badValue(`metadata.finalizers[${at}]`, finalizer, rule));
  }
  return causes;
}

/** What a write may not do to the metadata that is there. */
export function metadataChangeProblems(next: Metadata, before: Metadata): StatusCause[] {
  const causes: StatusCause[] = [];
  for (const field of ['uid', 'deletionTimestamp', 'deletionGracePeriodSeconds'] as const) {
    const value = next[field];
    if (value === undefined || jsonEqual(value, before[field])) continue;
    causes.push(badValue(`metadata.${field}`, value, 'field is immutable'));
  }
  const added = (next.finalizers ?? []).filter((finalizer) => !(before.finalizers ?? []).includes(finalizer));
  if (before.deletionTimestamp !== undefined && added.length > 0) {
    const list = added.map((finalizer) => JSON.stringify(finalizer)).join(', ');
    const rule = 'no new finalizers can be added if the object is being deleted, found new finalizers';
    const message = `Forbidden: ${rule} []string{${list}}`;
    causes.push({ reason: 'FieldValueForbidden', message, field: 'metadata.finalizers' });
  }
  return causes;
}

/** @param needsDomain of custom kinds the server only warns when there is none */
function isFinalizer(name: unknown, needsDomain: boolean): boolean {
  if (typeof name !== 'string' || !isQualifiedName(name)) return false;
  return !needsDomain || STANDARD_FINALIZERS.has(name) || name.includes('/');
}

function isQualifiedName(name: string): boolean {
  const parts = name.split('/');
  const last = parts.at(-1) ?? '';
  if (parts.length > 2 || last.length > LONGEST_LABEL || !NAME_PART.test(last)) return false;
  return parts.length === 1 || SUBDOMAIN.test(parts[0] ?? '');
}

function badValue(field: string, value: unknown, rule: string): StatusCause {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${JSON.stringify(value)}: ${rule}`, field };
}
