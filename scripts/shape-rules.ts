import { relative, sep } from 'node:path';
import { areaOf, importsOf, isTest, sourceFiles } from './import-rules.ts';

/** Folders whose files must not import each other in a circle. */
const TOPS = ['src', 'sim', 'tools', 'scripts', 'test', 'demo', 'bench'];
/** Where folders must not, either, and files have a limit of length. */
const HELD = /^src\//;

/** A longer file usually contains a second concept that should move out. */
const MOST_LINES = 400;
/** Files that give an overview, read from top to bottom. */
const MOST_LINES_OF: Readonly<Record<string, number>> = { 'src/controllers/manager.ts': 200 };

/** Imports of each file or folder. */
type Imports = ReadonlyMap<string, ReadonlySet<string>>;

/**
 * Checks that there are no import cycles between files, types included, and in `src` none between folders and no file that is too
 * long. Tests are skipped.
 *
 * @returns one line per violation.
 */
export async function shapeViolations(root: string): Promise<string[]> {
  const imports = new Map<string, Set<string>>();
  const violations: string[] = [];
  const files = (await Promise.all(TOPS.map((top) => sourceFiles(root, top)))).flat();
  for (const { path, text } of files) {
    const file = relative(root, path).split(sep).join('/');
    if (isTest(file)) continue;
    imports.set(file, new Set(importsOf(root, path, text)));
    if (!HELD.test(file)) continue;
    const most = MOST_LINES_OF[file] ?? MOST_LINES;
    const lines = text.split('\n').length - 1;
    if (lines > most) violations.push(`${file}: has ${lines} lines, at most ${most} are allowed; move a concept out`);
  }
  const held = new Map([...imports].filter(([file]) => HELD.test(file)));
  return [...violations, ...circlesOf(imports, 'file'), ...circlesOf(byFolder(held), 'folder')];
}

function byFolder(imports: Imports): Imports {
  const folders = new Map<string, Set<string>>();
  for (const [file, targets] of imports) {
    const folder = areaOf(file);
    const known = folders.get(folder) ?? new Set();
    for (const target of targets) if (areaOf(target) !== folder) known.add(areaOf(target));
    folders.set(folder, known);
  }
  return folders;
}

/** One cycle for each import that closes one during a depth-first search. */
function circlesOf(imports: Imports, what: string): string[] {
  const done = new Set<string>();
  const circles: string[] = [];
  const follow = (node: string, way: readonly string[]) => {
    const at = way.indexOf(node);
    if (at >= 0) circles.push(`import cycle of ${what}s: ${[...way.slice(at), node].join(' imports ')}`);
    if (at >= 0 || done.has(node)) return;
    for (const target of imports.get(node) ?? []) follow(target, [...way, node]);
    done.add(node);
  };
  for (const node of imports.keys()) follow(node, []);
  return circles;
}
