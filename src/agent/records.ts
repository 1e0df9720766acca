import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import type { AttachedInterface, PodAttachment } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';

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

/** The key of a record; also its file's name. Container ids and interface names hold no slash (cni/request.ts). */
export function recordKey(containerId: string, ifName: string): string {
  return `${containerId}.${ifName}`;
}

/** A file that could not be read as a record; it was moved to the folder `corrupt`. */
export interface CorruptRecord {
  key: string;
  movedTo: string;
  message: string;
}

/** The records of one node: a folder with one file for each sandbox, and the same in memory. Reads never touch the disk. */
export class RecordStore {
  readonly #directory: string;
  readonly #records = new Map<string, SandboxRecord>();

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /**
   * Opens the folder, making it if necessary. Half-written files of a crash are removed; files that are no records are set aside.
   */
  static async open(directory: string): Promise<{ store: RecordStore; corrupt: CorruptRecord[] }> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const store = new RecordStore(directory);
    const corrupt: CorruptRecord[] = [];
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(directory, entry.name);
      if (entry.name.endsWith('.tmp')) {
        await rm(path, { force: true });
        continue;
      }
      if (!entry.name.endsWith('.json')) continue;
      const key = entry.name.slice(0, -'.json'.length);
      try {
        const { version: _version, ...record } = recordSchema.parse(JSON.parse(await readFile(path, 'utf8')));
        if (recordKey(record.attachment.containerId, record.ifName) !== key) {
          throw new Error(`it is about ${recordKey(record.attachment.containerId, record.ifName)}`);
        }
        store.#records.set(key, record);
      } catch (error) {
        const movedTo = join(directory, 'corrupt', entry.name);
        await mkdir(join(directory, 'corrupt'), { recursive: true, mode: 0o700 });
        await rename(path, movedTo);
        corrupt.push({ key, movedTo, message: errorMessage(error).split('\n')[0] ?? '' });
      }
    }
    return { store, corrupt };
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
  async put(record: SandboxRecord): Promise<void> {
    const key = recordKey(record.attachment.containerId, record.ifName);
    const path = join(this.#directory, `${key}.json`);
    const file = await open(`${path}.tmp`, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify({ version: 1, ...record }));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.tmp`, path);
    await this.#syncDirectory();
    this.#records.set(key, record);
  }

  /** A missing record is no error. */
  async remove(key: string): Promise<void> {
    await rm(join(this.#directory, `${key}.json`), { force: true });
    await this.#syncDirectory();
    this.#records.delete(key);
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.#directory, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
