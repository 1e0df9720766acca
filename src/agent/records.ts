import * as z from 'zod';
import type { AttachedInterface, PodAttachment } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';
import { KeyedQueue } from '../util/keyed-queue.ts';
import type { RecordFiles } from './record-files.ts';

/**
 * What the agent intends for one sandbox. Written before the kernel is changed, so that a crash at any moment leaves either no
 * trace or a record that says what to look for.
 */
export interface SandboxRecord {
  /** `adding`: the runtime has not seen a success yet. `deleting`: everything of it is to be removed. */
  phase: 'adding' | 'ready' | 'deleting';
  /** CNI_IFNAME; with the sandbox's id it names the record. */
  ifName: string;
  /** Name of the network configuration, for GC. */
  network: string;
  attachment: PodAttachment;
  /** What was promised to the runtime; a second ADD gets the same. */
  attached?: AttachedInterface[] | undefined;
}

const addressSchema = z.object({ address: z.string(), subnet: z.string() });
const deviceSchema = z.object({
  mac: z.string(),
  gateway: z.object({ ipv4: z.string().exactOptional(), ipv6: z.string().exactOptional() }),
});

const interfaceSchema = z.object({
  name: z.string(),
  ipv4: addressSchema.exactOptional(),
  ipv6: addressSchema.exactOptional(),
  mtu: z.int(),
  defaultRoute: z.boolean(),
  extraRoutes: z.array(z.string()),
  attachment: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('member'), trunk: deviceSchema, vlanId: z.int() }),
    z.object({ kind: z.literal('shared'), eni: deviceSchema }),
    z.object({ kind: z.literal('vlanDevice'), trunk: deviceSchema, vlanId: z.int() }),
    z.object({ kind: z.literal('exclusive'), eni: deviceSchema, hostPeer: z.boolean() }),
  ]),
  ingressBytesPerSecond: z.number().exactOptional(),
  egressBytesPerSecond: z.number().exactOptional(),
  priority: z.enum(['guaranteed', 'burstable', 'best-effort']).exactOptional(),
});

const linkSchema = z.object({ name: z.string(), mac: z.string(), mtu: z.int() });

const recordSchema = z.object({
  version: z.literal(1),
  phase: z.enum(['adding', 'ready', 'deleting']),
  ifName: z.string(),
  network: z.string(),
  attachment: z.object({
    namespace: z.string(),
    name: z.string(),
    uid: z.string(),
    containerId: z.string(),
    netnsPath: z.string(),
    interfaces: z.array(interfaceSchema),
  }),
  attached: z
    .array(
      z.object({
        pod: linkSchema,
        host: linkSchema.exactOptional(),
        routes: z.array(z.object({ destination: z.string(), gateway: z.string().exactOptional() })),
      }),
    )
    .optional(),
});

const RECORD = '.json';
/** Ends the name of a file that could not be read as a record, once its sandbox has ended: then it is known to the next process, too. */
const ENDED = '.ended';

/** The key of a record; also its file's name. Container ids and interface names hold no slash (cni/request.ts). */
export function recordKey(containerId: string, ifName: string): string {
  return `${containerId}.${ifName}`;
}

/** A file that could not be read as a record. Its content is kept in the folder `corrupt`. */
export interface UnreadableRecord {
  key: string;
  keptAs: string;
  message: string;
}

/** The records of one node: a folder with one file for each sandbox, and the same in memory. Reads never touch the disk. */
export class RecordStore {
  readonly #files: RecordFiles;
  readonly #records = new Map<string, SandboxRecord>();
  /** Their files stay until they are replaced or removed, so that the next process knows of them too. */
  readonly #unreadable = new Set<string>();
  /** Those of them whose sandbox has ended. Their files have another name, so that the next process knows that, too. */
  readonly #ended = new Set<string>();
  /** One change of the files of a sandbox at a time: a look and DEL may both find that it has ended. */
  readonly #turns = new KeyedQueue();

  private constructor(files: RecordFiles) {
    this.#files = files;
  }

  /** Reads the folder. Half-written files of a crash are removed, and what a crash left of an ADD is to be removed. */
  static async open(files: RecordFiles): Promise<{ store: RecordStore; unreadable: UnreadableRecord[] }> {
    const store = new RecordStore(files);
    const unreadable: UnreadableRecord[] = [];
    for (const name of await files.list()) {
      if (name.endsWith('.tmp')) {
        await files.remove(name);
        continue;
      }
      if (name.endsWith(ENDED)) {
        const key = name.slice(0, -ENDED.length);
        store.#unreadable.add(key);
        store.#ended.add(key);
      }
      if (!name.endsWith(RECORD)) continue;
      const key = name.slice(0, -RECORD.length);
      try {
        const record = parseRecord(key, await files.read(name));
        // The process of this ADD has ended, and the runtime never saw it succeed.
        store.#records.set(key, record.phase === 'adding' ? { ...record, phase: 'deleting' } : record);
      } catch (error) {
        store.#unreadable.add(key);
        const message = errorMessage(error).split('\n')[0] ?? '';
        unreadable.push({ key, keptAs: await files.setAside(name), message });
      }
    }
    return { store, unreadable };
  }

  /** Keys of sandboxes whose record could not be read, and was neither replaced nor removed since. */
  get unreadable(): ReadonlySet<string> {
    return this.#unreadable;
  }

  /** Of those, the ones that {@link end} was called for. */
  get ended(): ReadonlySet<string> {
    return this.#ended;
  }

  /**
   * The sandbox of a record that could not be read has ended, and nothing of it is to be kept. What that was, nobody knows, so the
   * file stays until a look has removed from the kernel what has no record. It is renamed on disk when this resolves.
   */
  end(key: string): Promise<void> {
    return this.#turns.run(key, async () => {
      if (!this.#unreadable.has(key)) return;
      // Somebody may have removed it.
      const isThere = !this.#ended.has(key) && (await this.#files.list()).includes(key + RECORD);
      if (isThere) await this.#files.rename(key + RECORD, key + ENDED);
      // The next process will find it, even if this one fails to make sure of that.
      this.#ended.add(key);
      await this.#files.sync();
    });
  }

  /**
   * The ADD of this sandbox has failed, so everything of it is to be removed. That need not be on the disk: after a restart, a record
   * in `adding` is to be removed, and one that became `ready` goes with the DEL that follows each failed ADD.
   */
  giveUp(key: string): void {
    const record = this.#records.get(key);
    if (record !== undefined) this.#records.set(key, { ...record, phase: 'deleting' });
  }

  get(key: string): SandboxRecord | undefined {
    return this.#records.get(key);
  }

  all(): SandboxRecord[] {
    return [...this.#records.values()];
  }

  /** Whether any sandbox of the pod with this uid has, or may have, its network. */
  hasSandboxOf(uid: string): boolean {
    return this.all().some(({ attachment }) => attachment.uid === uid);
  }

  /** On disk, not only in a cache of the kernel, when this resolves. */
  put(record: SandboxRecord): Promise<void> {
    const key = recordKey(record.attachment.containerId, record.ifName);
    return this.#turns.run(key, () => this.#replace(key, record));
  }

  async #replace(key: string, record: SandboxRecord): Promise<void> {
    const name = key + RECORD;
    const temporary = `${name}.tmp`;
    try {
      await this.#write(temporary, JSON.stringify({ version: 1, ...record }));
      // A sandbox has one file at any time.
      if (this.#ended.has(key)) await this.#files.rename(key + ENDED, name);
      this.#ended.delete(key);
      await this.#files.rename(temporary, name);
    } catch (error) {
      // What cannot be removed now is removed by the next process.
      await this.#files.remove(temporary).catch(() => undefined);
      throw error;
    }
    // The next process will find it, even if this one fails to make sure of that.
    this.#records.set(key, record);
    this.#forget(key);
    await this.#files.sync();
  }

  /** A missing record is no error. */
  remove(key: string): Promise<void> {
    return this.#turns.run(key, async () => {
      await this.#files.remove(key + (this.#ended.has(key) ? ENDED : RECORD));
      await this.#files.sync();
      this.#records.delete(key);
      this.#forget(key);
    });
  }

  #forget(key: string): void {
    this.#unreadable.delete(key);
    this.#ended.delete(key);
  }

  async #write(name: string, text: string): Promise<void> {
    await using file = await this.#files.create(name);
    await file.write(text);
    await file.sync();
  }
}

/** @throws Error when the text is no record, or that of another sandbox */
function parseRecord(key: string, text: string): SandboxRecord {
  const { version: _version, ...record } = recordSchema.parse(JSON.parse(text));
  const found = recordKey(record.attachment.containerId, record.ifName);
  if (found !== key) throw new Error(`it is about ${found}`);
  return record;
}
