import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import * as z from 'zod';
import { allCrds } from './all.ts';
import { defineCrd } from './define.ts';
import { toStructuralSchema } from './structural.ts';

const directory = join(import.meta.dirname, '..', '..', 'config', 'crd');

interface SchemaNode {
  path: string;
  node: Record<string, unknown>;
}

const record = z.record(z.string(), z.unknown());

/** Every schema of a manifest, including the root. */
function schemasOf(node: unknown, path: string): SchemaNode[] {
  const schema = record.parse(node);
  const properties = Object.entries(record.parse(schema['properties'] ?? {}));
  const inner = (key: string) => (schema[key] === undefined ? [] : schemasOf(schema[key], `${path}.${key}`));
  return [
    { path, node: schema },
    ...properties.flatMap(([name, child]) => schemasOf(child, `${path}.${name}`)),
    ...inner('items'),
    ...inner('additionalProperties'),
  ];
}

const versionSchema = z.object({
  versions: z.array(z.object({ schema: z.object({ openAPIV3Schema: record }) })).length(1),
});

function rootOf(crd: (typeof allCrds)[number]): Record<string, unknown> {
  return (
    versionSchema.parse(crd.manifest().spec).versions.flatMap((version) => [version.schema.openAPIV3Schema])[0] ?? {}
  );
}

describe.each(allCrds.map((crd) => ({ kind: crd.kind, crd })))('the manifest of $kind', ({ crd }) => {
  const schemas = schemasOf(rootOf(crd), crd.kind);

  test('is structural: each node has one type and only keys that the API server supports', () => {
    const allowed =
      /^(type|description|default|enum|format|pattern|(min|max)(Length|Items|imum)|required|nullable|properties|items|additionalProperties|x-kubernetes-(validations|list-type|list-map-keys|map-type|preserve-unknown-fields))$/;
    for (const { path, node } of schemas) {
      expect(typeof node['type'], path).toBe('string');
      expect(
        Object.keys(node).filter((key) => !allowed.test(key)),
        path,
      ).toEqual([]);
      expect('properties' in node && 'additionalProperties' in node, path).toBe(false);
    }
  });

  test('keeps the defaults within their schemas', () => {
    for (const { path, node } of schemas) {
      if (node['default'] === undefined) continue;
      expect(node['type'] === 'integer' ? 'number' : node['type'], path).toBe(typeof node['default']);
      if (Array.isArray(node['enum'])) expect(node['enum'], path).toContain(node['default']);
    }
  });

  test('requires nothing that has a default', () => {
    for (const { path, node } of schemas) {
      const properties = record.parse(node['properties'] ?? {});
      for (const name of z.array(z.string()).parse(node['required'] ?? [])) {
        expect(record.parse(properties[name])['default'], `${path}.${name}`).toBeUndefined();
      }
    }
  });

  test('has a version above every upstream version, and the status subresource', () => {
    const { metadata, spec } = crd.manifest();
    expect(metadata.annotations['crd.network.alibabacloud.com/version']).toMatch(/^v[1-9]/);
    expect(spec).toMatchObject({ versions: [{ served: true, storage: true, subresources: { status: {} } }] });
  });

  test('is the generated file', async () => {
    const text = await readFile(join(directory, `${crd.plural}.network.alibabacloud.com.yaml`), 'utf8');
    expect(parse(text)).toEqual(JSON.parse(JSON.stringify(crd.manifest())));
  });
});

test('there is no other file among the generated ones', async () => {
  const expected = allCrds.map((crd) => `${crd.manifest().metadata.name}.yaml`);
  expect((await readdir(directory)).sort()).toEqual(expected.sort());
});

test('short names are unique', () => {
  const names = allCrds.flatMap((crd) => crd.shortNames);
  expect(new Set(names).size).toBe(names.length);
});

describe('toStructuralSchema refuses, with the path,', () => {
  test.each([
    ['a union', z.object({ a: z.union([z.string(), z.object({})]) }), 'Kind.spec.a: anyOf has no structural form'],
    ['an unknown value', z.object({ a: z.unknown() }), 'Kind.spec.a: a structural schema needs a type'],
    [
      'look-around',
      z.object({ list: z.array(z.string().regex(/^(?!x)/)) }),
      "Kind.spec.list[]: the API server's patterns are RE2 and do not support look-around: ^(?!x)",
    ],
    [
      'what is wrong inside a map',
      z.object({ map: z.record(z.string(), z.union([z.int(), z.object({})])) }),
      'Kind.spec.map.*: anyOf has no structural form',
    ],
  ])('%s', (_name, schema, message) => {
    expect(() => toStructuralSchema(schema, 'Kind.spec')).toThrow(message);
    const broken = defineCrd({
      kind: 'Kind',
      plural: 'kinds',
      singular: 'kind',
      shortNames: [],
      scope: 'Cluster',
      description: '',
      spec: schema,
      status: z.object({}),
      printerColumns: [],
    });
    expect(() => broken.manifest()).toThrow(message);
  });

  test('what zod cannot express in JSON', () => {
    expect(() => toStructuralSchema(z.object({ at: z.date() }), 'Kind.spec')).toThrow();
  });
});
