import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';

const execute = promisify(execFile);

/** A component of the image (CycloneDX 1.6). */
interface Component {
  type: 'application' | 'library';
  name: string;
  version: string;
  purl: string;
  hashes?: { alg: 'SHA-512'; content: string }[];
  licenses?: ({ license: { id: string } } | { expression: string })[];
}

const sourceMapSchema = z.object({ sources: z.array(z.string()) });
const lockSchema = z.object({
  packages: z.record(
    z.string(),
    z.object({ version: z.string(), integrity: z.string().optional(), license: z.string().optional() }),
  ),
});

/**
 * The SBOM of the image as CycloneDX JSON: the packages in the bundles, Node itself, and files from Debian. It is derived from
 * the bundles because `npm sbom` (npm 11) omits packages that dev tools depend on too.
 *
 * @param options.root folder of the lock file
 * @param options.distDir the bundles with their source maps
 * @param options.systemFiles files that are copied from this machine into the image
 * @throws Error for a package that the lock file lacks, or with dpkg's message
 */
export async function imageSbom(options: {
  root: string;
  distDir: string;
  name: string;
  version: string;
  nodeVersion: string;
  systemFiles: readonly string[];
  now: Date;
}): Promise<object> {
  const { name, version, nodeVersion } = options;
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: options.now.toISOString(),
      component: { type: 'application', name, version, purl: `pkg:generic/${name}@${version}` },
    },
    components: [
      ...(await npmPackages(options.root, options.distDir)),
      { type: 'application', name: 'node', version: nodeVersion, purl: `pkg:generic/node@${nodeVersion}` },
      ...(await debianPackages(options.systemFiles)),
    ],
  };
}

async function npmPackages(root: string, distDir: string): Promise<Component[]> {
  const { packages } = lockSchema.parse(JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')));
  const found = new Set<string>();
  for (const file of await readdir(distDir, { recursive: true })) {
    if (!file.endsWith('.mjs.map')) continue;
    const { sources } = sourceMapSchema.parse(JSON.parse(await readFile(join(distDir, file), 'utf8')));
    for (const source of sources) {
      // The last package in the path, because packages may be nested.
      const [path] = /node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(source) ?? [];
      if (path !== undefined) found.add(path);
    }
  }
  return [...found].sort().map((path) => {
    const entry = packages[path];
    if (entry === undefined) throw new Error(`package-lock.json has no ${path}`);
    return npmComponent(path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length), entry);
  });
}

function npmComponent(name: string, entry: z.infer<typeof lockSchema>['packages'][string]): Component {
  const { version, integrity, license } = entry;
  const sha512 = /^sha512-(\S+)/.exec(integrity ?? '')?.[1];
  return {
    type: 'library',
    name,
    version,
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    ...(sha512 === undefined
      ? {}
      : { hashes: [{ alg: 'SHA-512', content: Buffer.from(sha512, 'base64').toString('hex') }] }),
    ...(license === undefined
      ? {}
      : { licenses: [/^[\w.+-]+$/.test(license) ? { license: { id: license } } : { expression: license }] }),
  };
}

async function debianPackages(files: readonly string[]): Promise<Component[]> {
  const names = new Set(await Promise.all(files.map(packageOf)));
  const fields = ['Package', 'Version', 'Architecture'].map((field) => `\${${field}}`).join(' ');
  const { stdout } = await execute('dpkg-query', ['--show', `--showformat=${fields}\\n`, ...names]);
  return stdout
    .trim()
    .split('\n')
    .sort()
    .map((line) => {
      const [name = '', version = '', architecture = ''] = line.split(' ');
      const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${architecture}`;
      return { type: 'library', name, version, purl };
    });
}

/** The package of a file; dpkg may know the file by its path before the /usr merge. */
async function packageOf(file: string): Promise<string> {
  const paths = [file, file.startsWith('/usr/') ? file.slice('/usr'.length) : `/usr${file}`];
  for (const path of paths) {
    const { stdout } = await execute('dpkg-query', ['--search', path]).catch(() => ({ stdout: '' }));
    const [name] = stdout.split(': ');
    if (name !== undefined && name !== '') return name;
  }
  throw new Error(`${file} belongs to no Debian package`);
}
