import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { shapeViolations } from './shape-rules.ts';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'shape-rules-'));
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function plant(files: Record<string, string>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), text);
  }
}

test('a tree without import cycles has no violation', async () => {
  await plant({
    'src/util/a.ts': 'export type A = 1;\n',
    'src/kube/b.ts': "import type { A } from '../util/a.ts';\n",
    'src/kube/c.ts': "import type { B } from './b.ts';\nimport type { A } from '../util/a.ts';\n",
    // Tests may import in both directions.
    'src/util/a.test.ts': "import type { C } from '../kube/c.ts';\n",
  });
  expect(await shapeViolations(root)).toEqual([]);
});

test('files that import each other are found, also when it is a type and over several steps', async () => {
  await plant({
    'src/kube/a.ts': "import type { C } from './c.ts';\n",
    'src/kube/b.ts': "import { a } from './a.ts';\n",
    'src/kube/c.ts': "export { b } from './b.ts';\n",
  });
  expect(await shapeViolations(root)).toEqual([
    'import cycle of files: src/kube/a.ts imports src/kube/c.ts imports src/kube/b.ts imports src/kube/a.ts',
  ]);
});

test('files outside src, too', async () => {
  await plant({ 'sim/world/a.ts': "import './b.ts';\n", 'sim/world/b.ts': "import type { A } from './a.ts';\n" });
  expect(await shapeViolations(root)).toEqual([
    'import cycle of files: sim/world/a.ts imports sim/world/b.ts imports sim/world/a.ts',
  ]);
});

test('folders that import each other are found where no file does', async () => {
  await plant({
    'src/kube/a.ts': "import { x } from '../util/x.ts';\n",
    'src/kube/b.ts': '',
    'src/util/x.ts': '',
    'src/util/y.ts': "import type { B } from '../kube/b.ts';\n",
  });
  expect(await shapeViolations(root)).toEqual(['import cycle of folders: src/kube imports src/util imports src/kube']);
});

test.each([
  ['src/kube/long.ts', 400],
  ['src/controllers/manager.ts', 200],
])('%s may have %i lines and no more', async (file, most) => {
  await plant({ [file]: '\n'.repeat(most) });
  expect(await shapeViolations(root)).toEqual([]);
  await plant({ [file]: '\n'.repeat(most + 1) });
  expect(await shapeViolations(root)).toEqual([
    `${file}: has ${most + 1} lines, at most ${most} are allowed; move a concept out`,
  ]);
});

test('tests have no length limit', async () => {
  await plant({ 'src/kube/long.test.ts': '\n'.repeat(500) });
  expect(await shapeViolations(root)).toEqual([]);
});
