import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import * as z from 'zod';
import { agentConfigSchema } from '../src/config/agent.ts';
import { parseControlPlaneConfig } from '../src/config/config-file.ts';
import { controlPlaneConfigSchema, credentialFileSchema } from '../src/config/control-plane.ts';
import { fromUpstreamKeys } from '../src/config/upstream-keys.ts';
import { allCrds } from '../src/crds/all.ts';
import { networkInterfaceSchema } from '../src/crds/network-interface.ts';
import { nodeSchema } from '../src/crds/node.ts';
import { nodeRuntimeSchema } from '../src/crds/node-runtime.ts';
import { podEniSchema } from '../src/crds/pod-eni.ts';
import { podNetworkingSchema } from '../src/crds/pod-networking.ts';
import { type Page, pageIn, ROOT, readPages } from './doc-pages.ts';

/* Checks that what the documentation shows can be used as it stands, and that it describes every key. */

let pages: ReadonlyMap<string, Page>;

beforeAll(async () => {
  pages = await readPages();
});

const everyPage = () => [...pages.values()];

const pageAt = (path: string) => pageIn(pages, path);

describe('examples to copy are valid:', () => {
  const yamlBlocks = () =>
    everyPage().flatMap(({ path, blocks }) =>
      blocks.flatMap(({ language, text }) => (language === 'yaml' ? [{ path, text }] : [])),
    );

  const PARSERS: Readonly<Record<string, z.ZodType>> = {
    PodNetworking: podNetworkingSchema,
    PodENI: podEniSchema,
    NetworkInterface: networkInterfaceSchema,
    Node: nodeSchema,
    NodeRuntime: nodeRuntimeSchema,
  };
  const ownSchema = z.looseObject({ apiVersion: z.literal('network.alibabacloud.com/v1beta1'), kind: z.string() });

  test('custom resources', () => {
    let count = 0;
    for (const { path, text } of yamlBlocks()) {
      for (const document of parseAllDocuments(text)) {
        expect(document.errors, path).toEqual([]);
        const own = ownSchema.safeParse(document.toJS());
        if (!own.success) continue;
        count += 1;
        const { kind, spec, status } = own.data;
        expect(PARSERS[kind]?.safeParse(own.data).error, `${path}: ${kind}`).toBeUndefined();
        const crd = allCrds.find((candidate) => candidate.kind === kind);
        const [version] = z
          .object({ spec: z.object({ versions: z.array(z.object({ schema: z.unknown() })) }) })
          .parse(crd?.manifest()).spec.versions;
        const { properties } = z
          .object({ openAPIV3Schema: z.object({ properties: z.record(z.string(), z.unknown()) }) })
          .parse(version?.schema).openAPIV3Schema;
        for (const [name, value] of Object.entries({ spec, status }))
          expect(unknownKeys(value, properties[name]), path).toEqual([]);
      }
    }
    expect(count).toBeGreaterThan(8);
  });

  test('values of the chart', async () => {
    const schema: unknown = JSON.parse(
      await readFile(join(ROOT, 'charts/terway-controlplane/values.schema.json'), 'utf8'),
    );
    const values = yamlBlocks().filter(({ text }) => /^ *# values$/m.test(text));
    expect(values.length).toBeGreaterThan(4);
    for (const { path, text } of values) expect(unknownKeys(parse(text), schema), path).toEqual([]);
  });

  test('configurations and credentials', () => {
    const configs = yamlBlocks().filter(({ text }) => /^# config$/m.test(text));
    expect(configs.length).toBeGreaterThan(2);
    for (const { path, text } of configs) expect(parseControlPlaneConfig(path, text).notes).toEqual([]);
    const credentials = yamlBlocks().filter(({ text }) => /^(accessKey|ecsRamRole|rrsa):/m.test(text));
    expect(credentials.length).toBeGreaterThan(2);
    for (const { path, text } of credentials)
      expect(credentialFileSchema.safeParse(parse(text)).error, path).toBeUndefined();
  });

  test('JSON', () => {
    for (const { path, blocks } of everyPage()) {
      for (const { language, text } of blocks)
        if (language === 'json') expect(() => JSON.parse(text), path).not.toThrow();
    }
  });
});

describe('every key is described', () => {
  test.each(['docs/configuration.md', 'docs/zh/configuration.md'])('in %s', (path) => {
    const { prose } = pageAt(path);
    expect(keysOf(controlPlaneConfigSchema).filter((key) => !prose.includes(`\`${key}\``))).toEqual([]);
  });

  test.each(['docs/node-agent.md', 'docs/zh/node-agent.md'])('in %s', (path) => {
    const { prose } = pageAt(path);
    const isNamed = (key: string) => prose.includes(`\`${key.replace(/^paths\./, '')}\``);
    expect(keysOf(agentConfigSchema).filter((key) => !isNamed(key))).toEqual([]);
  });

  test('the listed keys of Terway really have no effect', () => {
    const { prose } = pageAt('docs/configuration.md');
    const section = prose.slice(prose.indexOf('### Keys of Terway'), prose.indexOf('## `--credential`'));
    const keys = [...section.matchAll(/^\| (`.*?) \|/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`(\w+)`/g)].map(([, key = '']) => key),
    );
    expect(keys.length).toBeGreaterThan(15);
    expect(keys.filter((key) => fromUpstreamKeys({ [key]: 1 }).notes.length !== 1)).toEqual([]);
  });

  /** Keys of a schema, `outer.inner`; of a map only its own name. */
  function keysOf(schema: z.ZodType): string[] {
    const walk = (node: unknown, path: string): string[] => {
      const { properties } = nodeOf(node);
      if (properties === undefined) return [path];
      return Object.entries(properties).flatMap(([name, child]) => walk(child, path === '' ? name : `${path}.${name}`));
    };
    return walk(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }), '');
  }
});

const jsonSchemaNode = z.looseObject({
  properties: z.record(z.string(), z.unknown()).optional(),
  additionalProperties: z.unknown().optional(),
  items: z.unknown().optional(),
  anyOf: z.array(z.unknown()).optional(),
});
const nodeOf = (node: unknown) => jsonSchemaNode.catch({}).parse(node);

/** Paths in a value that a JSON schema does not have. Where the schema says nothing about keys, all are allowed. */
function unknownKeys(value: unknown, schema: unknown, path = ''): string[] {
  const { properties, additionalProperties, items, anyOf } = nodeOf(schema);
  if (anyOf !== undefined) {
    const each = anyOf.map((choice) => unknownKeys(value, choice, path));
    return each.some((found) => found.length === 0) ? [] : (each[0] ?? []);
  }
  if (Array.isArray(value)) return value.flatMap((item: unknown) => unknownKeys(item, items, `${path}[]`));
  const fields = z.record(z.string(), z.unknown()).safeParse(value);
  if (!fields.success || (properties === undefined && additionalProperties === undefined)) return [];
  return Object.entries(fields.data).flatMap(([name, inner]) => {
    const known = properties?.[name] ?? (additionalProperties === false ? undefined : additionalProperties);
    return known === undefined ? [`${path}.${name}`] : unknownKeys(inner, known, `${path}.${name}`);
  });
}
