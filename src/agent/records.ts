import * as z from 'zod';
import type { AttachedInterface, PodAttachment } from '../datapath/types.ts';
import { errorMessage } from '../util/errors.ts';
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
  readonly #files: RecordFiles;
  readonly #records = new Map<string, SandboxRecord>();

  private constructor(files: RecordFiles) {
    this.#files = files;
  }

  /** Reads the folder. Half-written files of a crash are removed; files that are no records are set aside. */
  static async open(files: RecordFiles): Promise<{ store: RecordStore; corrupt: CorruptRecord[] }> {
    const store = new RecordStore(files);
    const corrupt: CorruptRecord[] = [];
    for (const name of await files.list()) {
      if (name.endsWith('.tmp')) {
        await files.remove(name);
        continue;
      }
      if (!name.endsWith('.json')) continue;
      const key = name.slice(0, -'.json'.length);
      try {
        store.#records.set(key, parseRecord(key, await files.read(name)));
      } catch (error) {
        const movedTo = await files.setAside(name);
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
    const name = `${key}.json`;
    await this.#write(`${name}.tmp`, JSON.stringify({ version: 1, ...record }));
    await this.#files.rename(`${name}.tmp`, name);
    await this.#files.sync();
    this.#records.set(key, record);
  }

  /** A missing record is no error. */
  async remove(key: string): Promise<void> {
    await this.#files.remove(`${key}.json`);
    await this.#files.sync();
    this.#records.delete(key);
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
