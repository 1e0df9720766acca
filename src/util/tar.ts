import { open, stat } from 'node:fs/promises';

/** An entry of an archive. Owner is root and the time is the epoch, so equal content gives equal bytes. */
export type TarEntry =
  | { kind: 'directory'; path: string; mode?: number }
  | { kind: 'symlink'; path: string; target: string }
  /** `from` is read when the archive is written. */
  | { kind: 'file'; path: string; mode?: number; content: Buffer | { from: string } };

const BLOCK_BYTES = 512;
const CHUNK_BYTES = 1 << 20;

/**
 * The bytes of a tar archive (POSIX.1-1988, ustar) with the entries in the given order, after any missing parent directories.
 *
 * @throws RangeError for a path or a target that is too long for ustar
 */
export async function* tarStream(entries: Iterable<TarEntry>): AsyncGenerator<Buffer> {
  const known = new Set<string>();
  for (const entry of entries) {
    for (const parent of parentsOf(entry.path)) {
      if (known.has(parent)) continue;
      known.add(parent);
      yield header({ kind: 'directory', path: parent }, 0);
    }
    if (entry.kind === 'directory') {
      if (known.has(entry.path)) continue;
      known.add(entry.path);
    }
    if (entry.kind !== 'file') {
      yield header(entry, 0);
      continue;
    }
    const { content } = entry;
    const size = Buffer.isBuffer(content) ? content.length : (await stat(content.from)).size;
    yield header(entry, size);
    if (Buffer.isBuffer(content)) yield content;
    else yield* fileChunks(content.from, size);
    yield Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

async function* fileChunks(path: string, size: number): AsyncGenerator<Buffer> {
  const file = await open(path, 'r');
  try {
    for (let at = 0; at < size; ) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(Math.min(CHUNK_BYTES, size - at)), 0);
      if (bytesRead === 0) throw new Error(`${path} became shorter while it was read`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

function parentsOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, at) => parts.slice(0, at + 1).join('/'));
}

const TYPE_FLAG = { file: '0', symlink: '2', directory: '5' } as const;
const DEFAULT_MODE = { file: 0o644, symlink: 0o777, directory: 0o755 } as const;

function header(entry: TarEntry, size: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const text = (value: string, offset: number, length: number) => {
    if (Buffer.byteLength(value) > length) throw new RangeError(`${value} is longer than the ${length} bytes of ustar`);
    block.write(value, offset, 'utf8');
  };
  const octal = (value: number, offset: number, length: number) =>
    text(value.toString(8).padStart(length - 1, '0'), offset, length - 1);
  const { prefix, name } = split(entry.kind === 'directory' ? `${entry.path}/` : entry.path);
  text(name, 0, 100);
  octal(entry.kind === 'symlink' ? DEFAULT_MODE.symlink : (entry.mode ?? DEFAULT_MODE[entry.kind]), 100, 8);
  // Owner and group.
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  // Time of the last change.
  octal(0, 136, 12);
  text(TYPE_FLAG[entry.kind], 156, 1);
  if (entry.kind === 'symlink') text(entry.target, 157, 100);
  text('ustar\0' + '00', 257, 8);
  text(prefix, 345, 155);
  // The checksum is that of a header whose checksum is blank.
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8);
  return block;
}

/** ustar has 100 bytes for the name, and 155 for the directories before it. */
function split(path: string): { prefix: string; name: string } {
  if (Buffer.byteLength(path) <= 100) return { prefix: '', name: path };
  for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (Buffer.byteLength(name) <= 100 && name !== '') return { prefix, name };
  }
  throw new RangeError(`${path} is longer than ustar allows`);
}
