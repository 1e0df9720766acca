import { badRequest } from './errors.ts';
import type { KubeObject } from './objects.ts';
import { recordAt } from './objects.ts';
import { type ApiResource, fieldsOf } from './resources.ts';

export type Matcher = (object: KubeObject) => boolean;

const LABEL_TERM =
  /^(?:(?<absent>!)\s*(?<gone>[^\s=!,()]+)|(?<key>[^\s=!,()]+)(?:\s*(?<op>==|=|!=)\s*(?<value>[^\s=!,()]*)|\s+(?<set>in|notin)\s*\((?<values>[^()]*)\))?)$/;

/** @throws StatusError 400 for what cannot be parsed */
export function labelMatcher(selector: string): Matcher {
  const terms = splitTerms(selector).map(labelTerm);
  return ({ metadata }) => terms.every((term) => term(metadata.labels ?? {}));
}

/** At commas outside of parentheses. */
function splitTerms(selector: string): string[] {
  return selector.trim() === '' ? [] : selector.split(/,(?![^(]*\))/).map((term) => term.trim());
}

function labelTerm(term: string): (labels: Readonly<Record<string, string>>) => boolean {
  const groups = LABEL_TERM.exec(term)?.groups;
  if (groups === undefined) throw badRequest(`unable to parse requirement: ${JSON.stringify(term)}`);
  const { absent, gone = '', key = '', op, value, set, values } = groups;
  const labelOf = (labels: Readonly<Record<string, string>>) => (Object.hasOwn(labels, key) ? labels[key] : undefined);
  if (absent !== undefined) return (labels) => !Object.hasOwn(labels, gone);
  if (op !== undefined) return (labels) => (labelOf(labels) === value) === (op !== '!=');
  if (set === undefined) return (labels) => Object.hasOwn(labels, key);
  const wanted = new Set((values ?? '').split(',').map((one) => one.trim()));
  return (labels) => {
    const found = labelOf(labels);
    return (found !== undefined && wanted.has(found)) === (set === 'in');
  };
}

/** @throws StatusError 400 for what cannot be parsed and for fields that the kind does not offer */
export function fieldMatcher(selector: string, resource: ApiResource): Matcher {
  const terms = splitTerms(selector).map((term) => {
    const parts = /^(?<field>[^=!]+)(?<op>==|=|!=)(?<value>.*)$/.exec(term)?.groups;
    if (parts === undefined) throw badRequest(`invalid selector: '${selector}'; can't understand '${term}'`);
    const { field = '', op, value } = parts;
    if (!fieldsOf(resource).includes(field)) throw badRequest(unknownField(resource, field));
    return { path: field.split('.'), value, isEqual: op !== '!=' };
  });
  return (object) => terms.every(({ path, value, isEqual }) => (fieldAt(object, path) === value) === isEqual);
}

function fieldAt(object: KubeObject, path: readonly string[]): string {
  let parent: Readonly<Record<string, unknown>> = object;
  for (const member of path.slice(0, -1)) parent = recordAt(parent, member);
  const found = parent[path.at(-1) ?? ''];
  return typeof found === 'string' ? found : '';
}

function unknownField(resource: ApiResource, field: string): string {
  if (!resource.isBuiltIn) return `field label not supported: ${field}`;
  return `"${field}" is not a known field selector: only ${fieldsOf(resource)
    .map((known) => `"${known}"`)
    .join(', ')}`;
}
