import { copyFile, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The plugin's name in configurations, as upstream's: its conflists work with this plugin. */
const PLUGIN = 'terway';
const CONFLIST = '10-terway.conflist';

/** CNI 1.1, else runtimes do not call STATUS and GC. */
const CONFLIST_CONTENT = {
  cniVersion: '1.1.0',
  name: 'terway',
  plugins: [{ type: PLUGIN, capabilities: { bandwidth: true } }],
};

/**
 * Puts the plugin where the runtime looks for it. A plugin that runs at this moment goes on from the old file.
 */
export async function installPlugin(source: string, binDirectory: string): Promise<void> {
  await mkdir(binDirectory, { recursive: true });
  const target = join(binDirectory, PLUGIN);
  const [wanted, present] = await Promise.all([readFile(source), readFile(target).catch(() => undefined)]);
  if (present?.equals(wanted)) return;
  const temporary = join(binDirectory, `.${PLUGIN}.tmp`);
  await copyFile(source, temporary);
  await makeDurable(temporary, 0o755);
  await rename(temporary, target);
}

/**
 * Tells the runtime that this node has a network. A conflist of upstream's with further plugins, such as a chained Cilium,
 * stays as it is.
 *
 * @returns whether the file was written
 */
export async function installConflist(confDirectory: string): Promise<boolean> {
  await mkdir(confDirectory, { recursive: true });
  const target = join(confDirectory, CONFLIST);
  const content = `${JSON.stringify(CONFLIST_CONTENT, null, 2)}\n`;
  const present = await readFile(target, 'utf8').catch(() => undefined);
  if (present === content || (present !== undefined && namesPlugin(present))) return false;
  // Runtimes read every file of the folder that ends in .conflist, so the temporary one must not.
  const temporary = join(confDirectory, `.${CONFLIST}.tmp`);
  const file = await open(temporary, 'w', 0o644);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, target);
  await makeDurable(dirname(target));
  return true;
}

/** For uninstalling: the runtime must not start pods that nobody serves. */
export async function removeCniFiles(binDirectory: string, confDirectory: string): Promise<void> {
  await rm(join(confDirectory, CONFLIST), { force: true });
  await rm(join(binDirectory, PLUGIN), { force: true });
}

function namesPlugin(text: string): boolean {
  try {
    const raw: unknown = JSON.parse(text);
    const plugins: unknown = typeof raw === 'object' && raw !== null && 'plugins' in raw ? raw.plugins : undefined;
    return (
      Array.isArray(plugins) &&
      plugins.some(
        (plugin) => typeof plugin === 'object' && plugin !== null && 'type' in plugin && plugin.type === PLUGIN,
      )
    );
  } catch {
    return false;
  }
}

async function makeDurable(path: string, mode?: number): Promise<void> {
  const file = await open(path, 'r');
  try {
    if (mode !== undefined) await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}
