import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BuildFailedError } from '../errors.ts';
import { type BuildOptions, cacheDirectory } from './cache.ts';
import { type DebianPackage, exists, newestPackage, onceAtATime, run, unpackPackage } from './debian-package.ts';

/** The files that a VM starts from. */
export interface VmKernel {
  /** Such as `linux-image-6.1.0-56-amd64 6.1.192-2`. */
  name: string;
  /** Path of the kernel, unpacked. */
  kernel: string;
  /** Path of the initial file system: busybox, modules and init.sh. */
  initramfs: string;
}

/** Depends on the newest kernel package. The cloud variant is half the size, but has no 9p. */
const METAPACKAGE = 'linux-image-amd64';

/** The modules that a VM loads. Their dependencies are added. */
const MODULES = [
  // The VM itself.
  ...['virtio_pci', 'virtio_console', 'qemu_fw_cfg', '9pnet_virtio', '9p', 'overlay'],
  // Customers' nodes have these; kernels for containers may lack them.
  ...['8021q', 'act_vlan', 'cls_u32'],
  // Also used by the data path.
  ...['cls_bpf', 'sch_ingress', 'sch_tbf', 'sch_prio', 'veth'],
];

const XZ_MAGIC = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
const BUSYBOX = '/bin/busybox';
const INIT = fileURLToPath(new URL('vm-init.sh', import.meta.url));

/**
 * Finds Debian's kernel in the cache, or downloads it and packs its initial file system (seconds, once per version). Removes
 * older versions when it has made a newer one.
 *
 * @throws MissingToolError when a program or the package is missing; BuildFailedError.
 */
export async function ensureVmKernel(options: BuildOptions = {}): Promise<VmKernel> {
  const { signal } = options;
  newest ??= newestKernel().catch((error: unknown) => {
    newest = undefined;
    throw error;
  });
  const wanted = await newest;
  const cache = join(cacheDirectory(), 'vm-kernel');
  const directory = join(cache, await cacheKey(wanted));
  const found = {
    name: `${wanted.name} ${wanted.version}`,
    kernel: join(directory, 'vmlinux'),
    initramfs: join(directory, 'initramfs.gz'),
  };
  if (await exists(directory)) return found;

  await onceAtATime(cache, directory, {
    ...options,
    what: `${found.name} for VMs`,
    build: () => build(wanted, cache, directory, signal),
  });
  return found;
}

/** Looked up once, because apt takes a second. */
let newest: Promise<DebianPackage> | undefined;

async function newestKernel(): Promise<DebianPackage> {
  const depends = await run('apt-cache', ['depends', '--important', METAPACKAGE]).catch(() => '');
  return newestPackage(/^\s*\|?Depends: (linux-image-\S+)$/m.exec(depends)?.[1] ?? METAPACKAGE);
}

/** Depends on everything that the result is made of. */
async function cacheKey({ name, version }: DebianPackage): Promise<string> {
  const hash = createHash('sha256').update([name, ...MODULES].join('\0'));
  hash.update(await readFile(INIT));
  return `${version.replaceAll(/[^\w.+~-]/g, '_')}-${hash.digest('hex').slice(0, 16)}`;
}

async function build(
  wanted: DebianPackage,
  cache: string,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const temporary = await mkdtemp(join(cache, 'tmp-'));
  try {
    const unpacked = join(temporary, 'package');
    await unpackPackage(wanted, temporary, unpacked, signal);
    const result = join(temporary, 'result');
    await mkdir(result);
    const release = wanted.name.replace(/^linux-image-/, '');
    await unpackKernel(join(unpacked, 'boot', `vmlinuz-${release}`), join(result, 'vmlinux'), signal);
    await packInitramfs(join(unpacked, 'lib', 'modules', release), temporary, join(result, 'initramfs.gz'), signal);
    await rename(result, directory);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Unpacking the kernel inside the VM, on an emulated processor, would be half of each start. QEMU also starts it unpacked (PVH). */
async function unpackKernel(compressed: string, output: string, signal: AbortSignal | undefined): Promise<void> {
  const image = await readFile(compressed);
  const start = image.indexOf(XZ_MAGIC);
  if (start < 0) throw new BuildFailedError('the kernel is not compressed with xz');
  await writeFile(`${output}.xz`, image.subarray(start));
  // More data follows the xz stream.
  await run('xz', ['--decompress', '--single-stream', `${output}.xz`], { signal });
}

async function packInitramfs(
  modules: string,
  temporary: string,
  output: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const root = join(temporary, 'initramfs');
  for (const name of ['bin', 'modules', 'proc', 'sys', 'dev', 'lower', 'changes', 'system']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await copyFile(BUSYBOX, join(root, 'bin', 'busybox'));
  await copyFile(INIT, join(root, 'init'));
  const files = await inLoadOrder(modules, signal);
  for (const file of files) await copyFile(file, join(root, 'modules', basename(file)));
  await writeFile(join(root, 'modules', 'order'), files.map((file) => `${basename(file)}\n`).join(''));
  await run('sh', ['-c', `chmod 755 init && find . | cpio --quiet -o -H newc | gzip -1 >"$0"`, output], {
    cwd: root,
    signal,
  });
}

/** Files of {@link MODULES} and of their dependencies, each after the files that it needs. */
async function inLoadOrder(directory: string, signal: AbortSignal | undefined): Promise<string[]> {
  const paths = new Map<string, string>();
  for (const entry of await readdir(directory, { recursive: true })) {
    const name = /([^/]+)\.ko(?:\.\w+)?$/.exec(entry)?.[1];
    if (name !== undefined) paths.set(name.replaceAll('-', '_'), join(directory, entry));
  }
  const ordered = new Set<string>();
  const stack = MODULES.toReversed();
  for (let name = stack.at(-1); name !== undefined; name = stack.at(-1)) {
    const path = paths.get(name.replaceAll('-', '_'));
    if (path === undefined) throw new BuildFailedError(`the kernel has no module ${name}`);
    const needs = (await run('modinfo', ['-F', 'depends', path], { signal })).trim().split(',');
    const missing = needs.filter((need) => need !== '' && !ordered.has(paths.get(need) ?? ''));
    if (missing.length > 0) {
      stack.push(...missing);
      continue;
    }
    ordered.add(path);
    stack.pop();
  }
  return [...ordered];
}
