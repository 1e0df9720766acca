import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize, relative } from 'node:path';
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
import { REASONS, reasonEntry } from '../src/crds/reasons/catalogue.ts';

/* Checks that everything the documentation refers to exists: links, files, commands, reasons, messages, keys, and the other language. */

const root = join(import.meta.dirname, '..');

/** Pages that exist in English only; those of a folder that ends in `/`. */
const ENGLISH_ONLY = ['docs/design/', 'docs/reference/'];

interface Heading {
  level: number;
  text: string;
  anchor: string;
}

interface Page {
  /** Relative to the root. */
  path: string;
  text: string;
  /** Without code blocks. */
  prose: string;
  headings: Heading[];
  blocks: { language: string; text: string }[];
}

const pages = new Map<string, Page>();

beforeAll(async () => {
  const names = (await readdir(join(root, 'docs'), { recursive: true })).filter((name) => name.endsWith('.md'));
  for (const path of ['README.md', ...names.map((name) => `docs/${name}`)]) pages.set(path, await readPage(path));
});

async function readPage(path: string): Promise<Page> {
  const text = await readFile(join(root, path), 'utf8');
  const fence = /^ *```(\w*)\n(.*?)^ *```$/gms;
  const blocks = [...text.matchAll(fence)].map(([, language = '', block = '']) => ({ language, text: block }));
  const prose = text.replaceAll(fence, '');
  return { path, text, prose, headings: headingsOf(prose), blocks };
}

/** Anchors as GitHub makes them. */
function headingsOf(prose: string): Heading[] {
  const seen = new Map<string, number>();
  return [...prose.matchAll(/^(#{1,6}) (.+)$/gm)].map(([, marks = '', text = '']) => {
    const plain = text.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
    const base = plain.replaceAll(/[^\p{L}\p{M}\p{N}_ -]/gu, '').replaceAll(' ', '-');
    const count = seen.get(base) ?? 0;
    seen.set(base, count + 1);
    return { level: marks.length, text, anchor: count === 0 ? base : `${base}-${count}` };
  });
}

const everyPage = () => [...pages.values()];
const translated = () => everyPage().filter(({ path }) => path.startsWith('docs/zh/'));
const originals = () =>
  everyPage().filter(
    ({ path }) =>
      path.startsWith('docs/') && !path.startsWith('docs/zh/') && !ENGLISH_ONLY.some((name) => path.startsWith(name)),
  );

function pageAt(path: string): Page {
  const page = pages.get(path);
  if (page === undefined) throw new Error(`there is no ${path}`);
  return page;
}

test('every link leads to an existing file and heading', () => {
  const broken = everyPage().flatMap(({ path, prose }) =>
    [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
      if (/^(https?|mailto):/.test(target)) return [];
      const [file = '', anchor] = target.split('#');
      const to = file === '' ? path : normalize(join(dirname(path), decodeURI(file)));
      if (!existsSync(join(root, to))) return [`${path}: ${target} is not there`];
      const headings = pages.get(to)?.headings;
      const isFound = anchor === undefined || headings?.some((heading) => heading.anchor === decodeURI(anchor));
      return isFound ? [] : [`${path}: ${target} has no such heading`];
    }),
  );
  expect(broken).toEqual([]);
});

test('every line of the tables of what others can do names a test that exists', async () => {
  for (const path of ['docs/hardening.md', 'docs/zh/hardening.md']) {
    // A table is a run of lines; its first two are the head.
    const tables = pageAt(path).prose.matchAll(/(?:^\|.*\n)+/gm);
    const concerned = [...tables]
      .map(([table]) => table.trim().split('\n'))
      .filter(([head]) => head?.includes('NET_RAW'));
    const tests = concerned.flatMap((table) => table.slice(2).map((row) => row.split('|').at(-2) ?? ''));
    expect(tests.length, path).toBeGreaterThan(15);
    for (const cell of tests) {
      const files = [...cell.matchAll(/`([^`]+\.ts)`/g)].map(([, file = '']) => join(root, file));
      expect(files, `${path}: ${cell}`).not.toEqual([]);
      const text = (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join('');
      for (const [, title = ''] of cell.matchAll(/"([^"]+)"/g)) expect(text, `${path}: ${cell}`).toContain(title);
    }
  }
});

test('every alert names an existing heading', async () => {
  const folder = join(root, 'charts/terway-controlplane');
  const files = (await readdir(folder, { recursive: true })).filter((name) => /\.(ya?ml|json|tpl)$/.test(name));
  const named = (await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')))).flatMap((text) => [
    ...text.matchAll(/\b(docs\/[\w/-]+\.md)#([\w-]+)/g),
  ]);
  expect(named.length).toBeGreaterThan(10);
  const isThere = (path: string, anchor: string) =>
    pages.get(path)?.headings.some((heading) => heading.anchor === anchor) === true;
  expect(named.filter(([, path = '', anchor = '']) => !isThere(path, anchor)).map(([link]) => link)).toEqual([]);
});

test('every alert is found by its name', async () => {
  const rules = await readFile(join(root, 'charts/terway-controlplane/files/prometheus/rules.yaml'), 'utf8');
  const alerts = [...rules.matchAll(/- alert: (\w+)/g)].map(([, name = '']) => name);
  expect(alerts.length).toBeGreaterThan(10);
  for (const path of ['docs/troubleshooting.md', 'docs/zh/troubleshooting.md']) {
    expect(alerts.filter((name) => !pageAt(path).prose.includes(`\`${name}\``))).toEqual([]);
  }
});

describe('each page exists in both languages', () => {
  const twinOf = (path: string) => path.replace('docs/', 'docs/zh/');

  test('and English-only pages exist only in English', () => {
    const paths = originals().map(({ path }) => twinOf(path));
    expect(translated().map(({ path }) => path)).toEqual(expect.arrayContaining(paths));
    expect(paths).toEqual(expect.arrayContaining(translated().map(({ path }) => path)));
  });

  test('with the same headings, by level, and a link to the other one on its first line', () => {
    for (const page of originals()) {
      const twin = pageAt(twinOf(page.path));
      const levels = ({ headings }: Page) => headings.map(({ level }) => level);
      expect(levels(twin), twin.path).toEqual(levels(page));
      const [first] = page.text.split('\n');
      expect(first, page.path).toBe(`[中文](${relative(dirname(page.path), twin.path)})`);
      expect(twin.text.split('\n')[0], twin.path).toBe(`[English](${relative(dirname(twin.path), page.path)})`);
    }
  });

  test('with the same commands, manifests and rows', () => {
    const command = /^ *(\$ )?(kubectl|helm|aliyun|make|terway-agent)\b.*$/gm;
    for (const page of originals()) {
      const twin = pageAt(twinOf(page.path));
      const commands = ({ blocks }: Page) => blocks.flatMap(({ text }) => text.match(command) ?? []);
      const manifests = ({ blocks }: Page) => blocks.filter(({ language }) => language !== '');
      const rows = ({ prose }: Page) => prose.split('\n').filter((line) => line.startsWith('|')).length;
      expect(commands(twin), twin.path).toEqual(commands(page));
      expect(manifests(twin), twin.path).toEqual(manifests(page));
      expect(rows(twin), twin.path).toBe(rows(page));
    }
  });
});

test('every file of this repository that a page names exists', () => {
  const missing = everyPage().flatMap(({ path, text }) =>
    [...text.matchAll(/(?<=^|[\s`(=])(?:config|charts|docs|src|sim|tools|test|demo|scripts)\/[\w./-]+/gm)]
      .map(([name]) => name.replace(/[.]$/, ''))
      .filter((name) => !existsSync(join(root, name)) && !existsSync(join(root, dirname(path), name)))
      .map((name) => `${path}: ${name}`),
  );
  expect(missing).toEqual([]);
});

test('every command of the agent that a page names exists', async () => {
  const usage = await readFile(join(root, 'src/cli/terway-agent.ts'), 'utf8');
  const known = /const COMMANDS = \[(.*?)\]/s.exec(usage)?.[1] ?? '';
  for (const { path, text } of everyPage()) {
    for (const [, command = ''] of text.matchAll(/-- terway-agent ([a-z]+)/g)) {
      expect(known, `${path}: terway-agent ${command}`).toContain(`'${command}'`);
    }
  }
});

describe('troubleshooting', () => {
  /** Parts in backquotes of the headings below the sections. */
  const keysOf = (page: Page) =>
    page.headings.flatMap(({ text }) => [...text.matchAll(/`([^`]+)`/g)].map(([, key = '']) => key));
  const isReason = (key: string) => /^([A-Z][A-Za-z0-9]+)$/.test(key);

  test.each(['docs/troubleshooting.md', 'docs/zh/troubleshooting.md'])(
    '%s names reasons of the catalogue, and leaves out none that asks for something',
    (path) => {
      const page = pageAt(path);
      const reasons = keysOf(page).filter(isReason);
      expect(reasons.filter((reason) => reasonEntry(reason) === undefined)).toEqual([]);
      const asking = Object.entries(REASONS).flatMap(([name, { remedy }]) => (remedy === undefined ? [] : [name]));
      expect(asking.filter((name) => !page.prose.includes(`\`${name}\``))).toEqual([]);
    },
  );

  test('quotes messages as the code writes them', async () => {
    const code = await sources();
    const pieces = keysOf(pageAt('docs/troubleshooting.md'))
      .filter((key) => !isReason(key))
      .flatMap((key) => key.split('…').map((piece) => piece.trim()));
    expect(pieces.length).toBeGreaterThan(20);
    expect(pieces.filter((piece) => !code.includes(piece))).toEqual([]);
    expect(keysOf(pageAt('docs/zh/troubleshooting.md'))).toEqual(keysOf(pageAt('docs/troubleshooting.md')));
  });

  async function sources(): Promise<string> {
    const texts = await Promise.all(
      ['src', 'native', 'charts'].map(async (folder) => {
        const names = await readdir(join(root, folder), { recursive: true });
        const read = names.filter((name) => /(?<!\.test)\.(ts|c|tpl)$/.test(name));
        return Promise.all(read.map((name) => readFile(join(root, folder, name), 'utf8')));
      }),
    );
    return texts.flat().join('\n');
  }
});

describe('docs/design/weak-spots.md', () => {
  /** Cells of the tables below a heading, without the header. */
  function rowsOf(heading: string): { title: string; paths: string[] }[] {
    const { prose } = pageAt('docs/design/weak-spots.md');
    const [section = ''] = (prose.split(`\n## ${heading}\n`)[1] ?? '').split('\n## ');
    const rows = section.split('\n').filter((line) => line.startsWith('| '));
    return rows.slice(2).map((row) => {
      const cells = row.split('|').slice(1, -1);
      const paths = [...(cells.at(-1) ?? '').matchAll(/`([^`]+)`/g)].map(([, path = '']) => path);
      return { title: (cells[0] ?? '').trim(), paths };
    });
  }

  /** Titles of tests by path, as they stand in the sources. */
  async function titles(): Promise<Map<string, string[]>> {
    const found = new Map<string, string[]>();
    for (const folder of ['src', 'sim', 'test', 'demo', 'tools']) {
      const names = await readdir(join(root, folder), { recursive: true });
      for (const name of names.filter((path) => path.endsWith('.test.ts'))) {
        const text = await readFile(join(root, folder, name), 'utf8');
        found.set(
          `${folder}/${name}`,
          [...text.matchAll(/(?:^ *|\()(['`])(.+?)\1,/gm)].map(([, , title = '']) => title),
        );
      }
    }
    return found;
  }

  /** `path: name` of each name that `namesIn` finds in a title. */
  async function said(namesIn: (title: string) => string[]): Promise<string[]> {
    const all = [...(await titles())].flatMap(([path, texts]) =>
      texts.flatMap(namesIn).map((name) => `${path}: ${name}`),
    );
    return [...new Set(all)].sort();
  }

  const listed = (heading: string) =>
    rowsOf(heading)
      .flatMap(({ title, paths }) => paths.map((path) => `${path}: ${title}`))
      .sort();

  test('names the tests of the control plane, and no other', async () => {
    expect(listed('Control plane')).toEqual(
      await said((title) => [...title.matchAll(/(?<!\w)#\d+/g)].map(([number]) => number)),
    );
    const numbers = rowsOf('Control plane').map(({ title }) => Number(title.slice(1)));
    expect(numbers).toEqual(expect.arrayContaining(Array.from({ length: 18 }, (_, at) => 54 + at)));
  });

  test('names the tests of the node, and no other', async () => {
    expect(listed('Node')).toEqual(
      await said((title) =>
        [...title.matchAll(/weak spots? ((?:\d+(?:, | and )?)+)/g)].flatMap(([, numbers = '']) =>
          [...numbers.matchAll(/\d+/g)].map(([number]) => `weak spot ${number}`),
        ),
      ),
    );
    expect(rowsOf('Node').map(({ title }) => title)).toEqual(
      Array.from({ length: 15 }, (_, at) => `weak spot ${at + 1}`),
    );
  });

  test('names the acceptance scenarios as their tests are called', async () => {
    const all = await titles();
    const scenarios = rowsOf('Acceptance scenarios');
    expect(scenarios.length).toBeGreaterThan(5);
    for (const { title, paths } of scenarios) {
      for (const path of paths) {
        expect(all.get(path), path).toContainEqual(expect.toSatisfy((text: string) => text.split(':')[0] === title));
      }
    }
  });
});

test('docs/design/invariants.md names tests that are there', async () => {
  const [, section = ''] = pageAt('docs/design/invariants.md').prose.split('\n## What once broke\n');
  const tests = [...section.matchAll(/`([\w./-]+\.test\.ts)`: (.+?) *(?=<br>|\|)/g)];
  expect(tests.length).toBeGreaterThan(30);
  for (const [, path = '', title = ''] of tests) {
    const text = await readFile(join(root, path), 'utf8');
    expect(
      [`('${title}',`, `("${title}",`].some((call) => text.includes(call)),
      `${path}: ${title}`,
    ).toBe(true);
  }
});

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
      await readFile(join(root, 'charts/terway-controlplane/values.schema.json'), 'utf8'),
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

describe('the walk through the code in CONTRIBUTING.md', () => {
  let walk: string;

  beforeAll(async () => {
    const text = await readFile(join(root, 'CONTRIBUTING.md'), 'utf8');
    walk = /^## From `kubectl apply` to the packet\n(.*?)^## /ms.exec(text)?.[1] ?? '';
  });

  test('names files and folders that are there', () => {
    const paths = [...walk.matchAll(/`([a-z-]+\/[\w./-]+)`/g)].map(([, path = '']) => path);
    expect(paths.length).toBeGreaterThan(20);
    expect(paths.filter((path) => ![path, join('src', path)].some((found) => existsSync(join(root, found))))).toEqual(
      [],
    );
  });

  test('names what is in those files', async () => {
    const places = [...walk.matchAll(/`(\w+)` in `([\w./-]+)`/g)];
    expect(places.length).toBeGreaterThan(4);
    for (const [, name = '', path = ''] of places) {
      expect(await readFile(join(root, path), 'utf8'), path).toMatch(new RegExp(`\\b${name}\\b`));
    }
  });
});
