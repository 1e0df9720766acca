import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize, relative } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { REASONS, reasonEntry } from '../src/crds/reasons/catalogue.ts';
import { type Page, pageIn, ROOT, readPages } from './doc-pages.ts';

/* Checks that everything the documentation refers to exists: links, files, commands, reasons, messages, keys, and the other language. */

/** Pages that exist in English only; those of a folder that ends in `/`. */
const ENGLISH_ONLY = ['docs/design/', 'docs/reference/'];

let pages: ReadonlyMap<string, Page>;

beforeAll(async () => {
  pages = await readPages();
});

const everyPage = () => [...pages.values()];
const translated = () => everyPage().filter(({ path }) => path.startsWith('docs/zh/'));
const originals = () =>
  everyPage().filter(
    ({ path }) =>
      path.startsWith('docs/') && !path.startsWith('docs/zh/') && !ENGLISH_ONLY.some((name) => path.startsWith(name)),
  );

const pageAt = (path: string) => pageIn(pages, path);

test('every link leads to an existing file and heading', () => {
  const broken = everyPage().flatMap(({ path, prose }) =>
    [...prose.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
      if (/^(https?|mailto):/.test(target)) return [];
      const [file = '', anchor] = target.split('#');
      const to = file === '' ? path : normalize(join(dirname(path), decodeURI(file)));
      if (!existsSync(join(ROOT, to))) return [`${path}: ${target} is not there`];
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
      const files = [...cell.matchAll(/`([^`]+\.ts)`/g)].map(([, file = '']) => join(ROOT, file));
      expect(files, `${path}: ${cell}`).not.toEqual([]);
      const text = (await Promise.all(files.map((file) => readFile(file, 'utf8')))).join('');
      for (const [, title = ''] of cell.matchAll(/"([^"]+)"/g)) expect(text, `${path}: ${cell}`).toContain(title);
    }
  }
});

test('every alert names an existing heading', async () => {
  const folder = join(ROOT, 'charts/terway-controlplane');
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
  const rules = await readFile(join(ROOT, 'charts/terway-controlplane/files/prometheus/rules.yaml'), 'utf8');
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
      .filter((name) => !existsSync(join(ROOT, name)) && !existsSync(join(ROOT, dirname(path), name)))
      .map((name) => `${path}: ${name}`),
  );
  expect(missing).toEqual([]);
});

test('every command of the agent that a page names exists', async () => {
  const usage = await readFile(join(ROOT, 'src/cli/terway-agent.ts'), 'utf8');
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
        const names = await readdir(join(ROOT, folder), { recursive: true });
        const read = names.filter((name) => /(?<!\.test)\.(ts|c|tpl)$/.test(name));
        return Promise.all(read.map((name) => readFile(join(ROOT, folder, name), 'utf8')));
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
      const names = await readdir(join(ROOT, folder), { recursive: true });
      for (const name of names.filter((path) => path.endsWith('.test.ts'))) {
        const text = await readFile(join(ROOT, folder, name), 'utf8');
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
    const text = await readFile(join(ROOT, path), 'utf8');
    expect(
      [`('${title}',`, `("${title}",`].some((call) => text.includes(call)),
      `${path}: ${title}`,
    ).toBe(true);
  }
});

describe('the walk through the code in CONTRIBUTING.md', () => {
  let walk: string;

  beforeAll(async () => {
    const text = await readFile(join(ROOT, 'CONTRIBUTING.md'), 'utf8');
    walk = /^## From `kubectl apply` to the packet\n(.*?)^## /ms.exec(text)?.[1] ?? '';
  });

  test('names files and folders that are there', () => {
    const paths = [...walk.matchAll(/`([a-z-]+\/[\w./-]+)`/g)].map(([, path = '']) => path);
    expect(paths.length).toBeGreaterThan(20);
    expect(paths.filter((path) => ![path, join('src', path)].some((found) => existsSync(join(ROOT, found))))).toEqual(
      [],
    );
  });

  test('names what is in those files', async () => {
    const places = [...walk.matchAll(/`(\w+)` in `([\w./-]+)`/g)];
    expect(places.length).toBeGreaterThan(4);
    for (const [, name = '', path = ''] of places) {
      expect(await readFile(join(ROOT, path), 'utf8'), path).toMatch(new RegExp(`\\b${name}\\b`));
    }
  });
});
