import type { RecordFiles } from '../../../src/agent/record-files.ts';
import type { Random } from '../../../src/util/random.ts';
import type { ProcessLife } from './process.ts';

/** A file. Names are given to it by the folder. */
interface File {
  text: string;
  /** What a crash of the machine leaves for certain; undefined before the first sync. */
  syncedText: string | undefined;
}

type Names = Map<string, File>;

/** Of fsync. Other operations end in the kernel's cache. */
const SYNC_MS = 2;

/**
 * A folder on a disk. What processes see is apart from what is durable: a crash of the machine tears or loses the content of files
 * that were not synced, and undoes any number of the latest renames and removals since the folder was synced. A crash of a
 * process alone changes nothing.
 */
export class DiskModel {
  #names: Names = new Map();
  #durable: Names = new Map();
  /** Changes of names since the last sync of the folder, in order. */
  #unsynced: ((names: Names) => void)[] = [];
  readonly #listeners: (() => void)[] = [];

  /** Calls `listener` right after each change of what is durable in the folder. */
  subscribe(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Names of the files, sorted. */
  names(): string[] {
    return [...this.#names.keys()].sort();
  }

  /** Whether a crash of the machine leaves a whole file of this name, though it may be an earlier one. */
  isDurable(name: string): boolean {
    const file = this.#durable.get(name);
    return file !== undefined && file.syncedText === file.text;
  }

  /** The machine loses power. */
  crash(random: Random): void {
    const kept = Math.floor(random.next() * (this.#unsynced.length + 1));
    const names: Names = new Map(this.#durable);
    for (const change of this.#unsynced.slice(0, kept)) change(names);
    this.#reset([...names].map(([name, file]) => [name, textAfterCrash(file, random)]));
  }

  /** Somebody removes every file. */
  clear(): void {
    this.#reset([]);
  }

  /** Somebody, or a fault of the disk, cuts a file off. */
  damage(name: string): void {
    const file = this.#names.get(name);
    if (file !== undefined) file.text = file.text.slice(0, Math.floor(file.text.length / 2));
  }

  /** The folder, for one process. */
  filesOf(life: ProcessLife): RecordFiles {
    return {
      list: () => life.perform('disk list', 0, () => this.names().filter((name) => !name.includes('/'))),
      read: (name) => life.perform('disk read', 0, () => this.#existing(name).text),
      create: async (name) => {
        const file = await life.perform('disk create', 0, () => this.#create(name));
        return {
          write: (text) =>
            life.perform('disk write', 0, () => {
              file.text += text;
            }),
          sync: () =>
            life.perform('disk sync', SYNC_MS, () => {
              file.syncedText = file.text;
            }),
          [Symbol.asyncDispose]: async () => undefined,
        };
      },
      rename: (from, to) => life.perform('disk rename', 0, () => this.#rename(from, to)),
      remove: (name) =>
        life.perform('disk remove', 0, () => {
          if (this.#names.has(name)) this.#change((names) => names.delete(name));
        }),
      sync: () =>
        life.perform('disk sync-folder', SYNC_MS, () => {
          this.#setDurable();
        }),
      setAside: (name) =>
        life.perform('disk set-aside', 0, () => {
          const [file, kept] = [this.#existing(name), `corrupt/${name}`];
          if (!this.#names.has(kept)) this.#change((names) => names.set(kept, file));
          return kept;
        }),
    };
  }

  #create(name: string): File {
    const known = this.#names.get(name);
    if (known !== undefined) {
      known.text = '';
      return known;
    }
    const file: File = { text: '', syncedText: undefined };
    this.#change((names) => names.set(name, file));
    return file;
  }

  #rename(from: string, to: string): void {
    const file = this.#existing(from);
    this.#change((names) => {
      names.delete(from);
      names.set(to, file);
    });
  }

  #existing(name: string): File {
    const file = this.#names.get(name);
    if (file === undefined) throw new Error(`ENOENT: no such file or directory, '${name}'`);
    return file;
  }

  #change(change: (names: Names) => void): void {
    change(this.#names);
    this.#unsynced.push(change);
  }

  #reset(files: readonly (readonly [name: string, text: string])[]): void {
    this.#names = new Map(files.map(([name, text]) => [name, { text, syncedText: text }]));
    this.#setDurable();
  }

  #setDurable(): void {
    this.#durable = new Map(this.#names);
    this.#unsynced = [];
    for (const listener of this.#listeners) listener();
  }
}

/** Of a file that was not synced: all of it, a part, nothing, or what was there before. */
function textAfterCrash({ text, syncedText }: File, random: Random): string {
  if (syncedText === text) return text;
  const outcomes = [text, text.slice(0, Math.floor(random.next() * text.length)), syncedText ?? ''];
  return outcomes[Math.floor(random.next() * outcomes.length)] ?? '';
}
