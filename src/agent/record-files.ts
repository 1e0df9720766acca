import { link, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** A file of the folder that is being written. Disposing closes it. */
export interface RecordFile extends AsyncDisposable {
  write(text: string): Promise<void>;
  /** Until this resolves, a crash of the machine may lose or tear what was written. */
  sync(): Promise<void>;
}

/** The folder of records. Each method is one operation, so that a simulation can end the process or the machine between any two. */
export interface RecordFiles {
  /** Names of the files in the folder, which is made if it is missing. */
  list(): Promise<string[]>;
  read(name: string): Promise<string>;
  /** Opens an empty file; an earlier one of that name is emptied. */
  create(name: string): Promise<RecordFile>;
  rename(from: string, to: string): Promise<void>;
  /** A missing file is no error. */
  remove(name: string): Promise<void>;
  /** Until this resolves, a crash of the machine may undo what was renamed and removed. */
  sync(): Promise<void>;
  /** Keeps the content of a file for people, whatever becomes of the file. @returns where */
  setAside(name: string): Promise<string>;
}

/** A folder of this machine. */
export function recordFilesIn(directory: string): RecordFiles {
  return {
    async list() {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      const entries = await readdir(directory, { withFileTypes: true });
      return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    },
    read: (name) => readFile(join(directory, name), 'utf8'),
    async create(name) {
      const file = await open(join(directory, name), 'w', 0o600);
      return {
        write: (text) => file.writeFile(text),
        sync: () => file.sync(),
        [Symbol.asyncDispose]: () => file.close(),
      };
    },
    rename: (from, to) => rename(join(directory, from), join(directory, to)),
    remove: (name) => rm(join(directory, name), { force: true }),
    async sync() {
      await using folder = await open(directory, 'r');
      await folder.sync();
    },
    async setAside(name) {
      const target = join(directory, 'corrupt', name);
      await mkdir(join(directory, 'corrupt'), { recursive: true, mode: 0o700 });
      await link(join(directory, name), target).catch((error: unknown) => {
        // By an earlier run.
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
      });
      return target;
    },
  };
}
