import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { cacheDirectory } from '../../../tools/programs/cache.ts';
import type { Mutant } from './mutant.ts';
import { type Result, resultSchema, type Task } from './tasks.ts';
import type { Verdict } from './workers.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
/** Of an answer of git: a change of every file of the tree is smaller. */
const MAX_BYTES = 64 * 2 ** 20;

const lineSchema = z.union([
  resultSchema,
  z.object({
    mutant: z.string(),
    killer: z.object({ seed: z.number(), problem: z.string() }).optional(),
    histories: z.number(),
  }),
]);

/** What a long run has found so far, a line each in a file, so that one that was interrupted goes on where it was. */
export class KeptResults {
  readonly #path: string;
  readonly #results = new Map<string, Result>();
  readonly #verdicts = new Map<string, Omit<Verdict, 'mutant'>>();

  private constructor(path: string) {
    this.#path = path;
  }

  static async open(path: string): Promise<KeptResults> {
    const kept = new KeptResults(path);
    await mkdir(dirname(path), { recursive: true });
    const text = await readFile(path, 'utf8').catch(() => '');
    for (const line of text.split('\n')) kept.#note(line);
    // What follows the half line of a run that was killed begins on a line of its own.
    if (text !== '' && !text.endsWith('\n')) appendFileSync(path, '\n');
    return kept;
  }

  result(task: Task): Result | undefined {
    return this.#results.get(JSON.stringify(task));
  }

  /** Unless the mutant survived fewer histories than this. */
  verdict(mutant: Mutant, histories: number): Verdict | undefined {
    const found = this.#verdicts.get(mutant.name);
    const isEnough = found?.killer !== undefined || (found?.histories ?? 0) >= histories;
    return found === undefined || !isEnough ? undefined : { mutant, ...found };
  }

  keep(result: Result): void {
    appendFileSync(this.#path, `${JSON.stringify(result)}\n`);
  }

  keepVerdict({ mutant, killer, histories }: Verdict): void {
    appendFileSync(this.#path, `${JSON.stringify({ mutant: mutant.name, killer, histories })}\n`);
  }

  #note(line: string): void {
    const found = parsed(line);
    if (found === undefined) return;
    if ('task' in found) this.#results.set(JSON.stringify(found.task), found);
    else this.#verdicts.set(found.mutant, { killer: found.killer, histories: found.histories });
  }
}

/** The file for runs of the product and the world as they are now in the work tree. */
export function placeOfResults(): string {
  const git = (...args: string[]) =>
    execFileSync('git', [...args, '--', 'src', 'sim'], { cwd: ROOT, encoding: 'utf8', maxBuffer: MAX_BYTES });
  const tree = [git('log', '-1', '--format=%H'), git('diff', 'HEAD'), git('status', '--porcelain')].join('\n');
  const name = createHash('sha256').update(tree).digest('hex').slice(0, 16);
  return join(cacheDirectory(), 'world', `${name}.jsonl`);
}

function parsed(line: string): z.output<typeof lineSchema> | undefined {
  try {
    return lineSchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
