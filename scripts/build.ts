/**
 * Bundles the executables into `dist/`, or the folder of `--outdir`, so that startup time and memory depend on the code that
 * is used and not on whole packages.
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { readFlags } from '../tools/flags.ts';
import { AGENT_FLAGS, LAUNCH_FLAGS } from '../tools/product/launch-flags.ts';

const root = join(import.meta.dirname, '..');
const flags = readFlags({ outdir: { type: 'string', default: join(root, 'dist') } });
const { outdir } = flags;

/**
 * We use only kubeconfig and credentials of the Kubernetes client. These import two functions from the index of the generated
 * API, and with it 17 MB of classes, because the package does not declare its modules free of side effects.
 */
const narrowKubernetesClient: Plugin = {
  name: 'narrow-kubernetes-client',
  setup: (builder) => {
    builder.onLoad({ filter: /@kubernetes\/client-node\/dist\/gen\/index\.js$/ }, () => ({
      contents: "export * from './configuration.js'; export * from './servers.js';",
    }));
  },
};

/**
 * Importing `node:http` as a module reads all its exports, and one of them loads a WebSocket client of half a megabyte, an
 * eighth of the startup time. With `require`, an export is read only when it is used.
 */
const lazyHttp: Plugin = {
  name: 'lazy-http',
  setup: (builder) => {
    const namespace = 'builtin';
    builder.onResolve({ filter: /^(node:)?http$/ }, () => ({ path: 'node:http', namespace }));
    builder.onLoad({ filter: /.*/, namespace }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('${path}')`,
    }));
  },
};

await rm(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['terway-controlplane', 'terway-agent', 'kubectl-terway', 'alicloud-sim'].map(
    (name) => `src/cli/${name}.ts`,
  ),
  outdir,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  // Splitting keeps lazy imports, such as the kubeconfig loader, in separate files.
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  platform: 'node',
  target: 'node24',
  format: 'esm',
  // The SDK's packages are CommonJS and require Node's own modules.
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  // Only a terminal needs it; see src/telemetry/log.ts.
  external: ['pino-pretty'],
  plugins: [narrowKubernetesClient, lazyHttp],
  // Keep identifiers for readable stack traces; duplicates get a number.
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'linked',
  legalComments: 'none',
  logLevel: 'warning',
});
for (const [program, nodeFlags] of [
  ['terway-controlplane', LAUNCH_FLAGS],
  ['terway-agent', AGENT_FLAGS],
  ['kubectl-terway', []],
] as const) {
  await writeFile(
    join(outdir, program),
    `#!/bin/sh\nexec node ${nodeFlags.map((flag) => `${flag} `).join('')}"$(dirname "$(readlink -f "$0")")/${program}.mjs" "$@"\n`,
    { mode: 0o755 },
  );
}
