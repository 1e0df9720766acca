import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Folder of the repository. */
export const ROOT = join(import.meta.dirname, '..');

interface Heading {
  level: number;
  text: string;
  anchor: string;
}

/** A page of the documentation. */
export interface Page {
  /** Relative to the root. */
  path: string;
  text: string;
  /** Without code blocks. */
  prose: string;
  headings: Heading[];
  blocks: { language: string; text: string }[];
}

/** README.md and all pages of docs/, by path. */
export async function readPages(): Promise<ReadonlyMap<string, Page>> {
  const names = (await readdir(join(ROOT, 'docs'), { recursive: true })).filter((name) => name.endsWith('.md'));
  const paths = ['README.md', ...names.map((name) => `docs/${name}`)];
  return new Map(await Promise.all(paths.map(async (path) => [path, await readPage(path)] as const)));
}

/** @throws Error when there is no page at this path */
export function pageIn(pages: ReadonlyMap<string, Page>, path: string): Page {
  const page = pages.get(path);
  if (page === undefined) throw new Error(`there is no ${path}`);
  return page;
}

async function readPage(path: string): Promise<Page> {
  const text = await readFile(join(ROOT, path), 'utf8');
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
