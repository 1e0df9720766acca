import { access, constants, copyFile, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The plugin's name in configurations. It is upstream's, so that upstream's conflists work with this plugin. */
const PLUGIN = 'terway';
const CONFLIST = '10-terway.conflist';

/** The reference plugin for `hostPort` (containernetworking/plugins). */
const PORTMAP = 'portmap';
/** kube-proxy's default, for agents that are configured without a masquerade mark. */
const DEFAULT_MASQUERADE_MARK = 0x4000;

/**
 * CNI 1.1, else runtimes do not call STATUS and GC.
 *
 * portmap marks what it wants to be masqueraded. Its default, bit 13, is one of those that number the ENIs of pods; the
 * node's own bit for that serves as well.
 */
function conflist(chained: { portmap: boolean; masqueradeMark: number }): string {
  const mark = chained.masqueradeMark === 0 ? DEFAULT_MASQUERADE_MARK : chained.masqueradeMark;
  const portmap = { type: PORTMAP, capabilities: { portMappings: true }, markMasqBit: Math.log2(mark) };
  const plugins = [{ type: PLUGIN, capabilities: { bandwidth: true } }, ...(chained.portmap ? [portmap] : [])];
  return `${JSON.stringify({ cniVersion: '1.1.0', name: 'terway', plugins }, null, 2)}\n`;
}

/**
 * Installs the plugin where the runtime looks for it. A plugin that is running keeps the old file.
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
 * Tells the runtime that this node has a network. `portmap` is chained where the node has it, so that host ports work. A
 * conflist of others with further plugins, such as a chained Cilium, stays as it is.
 *
 * @param options.masqueradeMark the bit of the packet mark that asks for masquerading; 0 where nobody masquerades
 * @returns whether the file was written
 */
export async function installConflist(
  confDirectory: string,
  options: { binDirectory: string; masqueradeMark: number },
): Promise<boolean> {
  await mkdir(confDirectory, { recursive: true });
  const target = join(confDirectory, CONFLIST);
  const { masqueradeMark } = options;
  const portmap = await isExecutable(join(options.binDirectory, PORTMAP));
  const content = conflist({ portmap, masqueradeMark });
  const present = await readFile(target, 'utf8').catch(() => undefined);
  const isOurs = present === conflist({ portmap: !portmap, masqueradeMark });
  if (present === content || (present !== undefined && namesPlugin(present) && !isOurs)) return false;
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

/** For uninstalling: the runtime must not start pods that no agent serves. */
export async function removeCniFiles(binDirectory: string, confDirectory: string): Promise<void> {
  await rm(join(confDirectory, CONFLIST), { force: true });
  await rm(join(binDirectory, PLUGIN), { force: true });
}

/** A listed plugin that is missing would fail every pod. */
async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
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
