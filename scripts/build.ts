/**
 * Bundles the executables into `dist/`, or the folder of `--outdir`: start-up and memory are those of what is used, not of the packages
 * (budgets.md on memory).
 */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, type Plugin } from 'esbuild';
import { AGENT_FLAGS, LAUNCH_FLAGS } from './launch-flags.ts';

const root = join(import.meta.dirname, '..');
const { values: flags } = parseArgs({ options: { outdir: { type: 'string', default: join(root, 'dist') } } });
const { outdir } = flags;

/**
 * Of the Kubernetes client only the kubeconfig and its credentials are used (typescript-facts 1). They import two functions from the
 * index of the generated API, and with it 17 MB of classes, as the package does not say that its modules are free of side effects.
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
 * A module that imports `node:http` reads all that it exports, and one of these loads a WebSocket client of half a megabyte: an eighth of
 * what it takes to start. Asked for as CommonJS, an export is read when it is used.
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
  // What is imported only when needed, such as the kubeconfig loader, is read only then.
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  platform: 'node',
  target: 'node24',
  format: 'esm',
  // The SDK's packages are CommonJS and require Node's own modules.
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  // Only a terminal needs it, see src/telemetry/log.ts.
  external: ['pino-pretty'],
  plugins: [narrowKubernetesClient, lazyHttp],
  // Identifiers stay, for stack traces; of two that are the same one gets a number.
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
