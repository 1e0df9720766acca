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
 * The Kubernetes client's package does not say that its modules are free of side effects, so every generated API class
 * would be kept. Only its kubeconfig and credentials are used (typescript-facts 1).
 */
const shakeKubernetesClient: Plugin = {
  name: 'shake-kubernetes-client',
  setup: (builder) => {
    const resolved = Symbol('resolved');
    builder.onResolve({ filter: /.*/ }, async ({ path, importer, kind, resolveDir, pluginData }) => {
      const concerned = path.startsWith('@kubernetes/client-node') || importer.includes('@kubernetes/client-node');
      if (pluginData === resolved || !concerned) return undefined;
      const found = await builder.resolve(path, { importer, kind, resolveDir, pluginData: resolved });
      return found.path.includes('@kubernetes/client-node') ? { ...found, sideEffects: false } : found;
    });
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
  plugins: [shakeKubernetesClient],
  // Names stay, for stack traces.
  minifyWhitespace: true,
  minifySyntax: true,
  keepNames: true,
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
