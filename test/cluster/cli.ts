import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ToolError } from '../../tools/errors.ts';
import { isRunning, signalRecorded, waitGone } from '../../tools/machine/process-table.ts';
import { ensureKubeBinaries } from '../../tools/programs/kubernetes.ts';
import { adminKubeconfigPath } from './access.ts';
import { readRecord, removeLeftovers } from './state.ts';
import { supervisorMessageSchema } from './supervisor-messages.ts';

const STATE_DIR = resolve(
  process.env['TERWAY_TEST_CLUSTER'] || fileURLToPath(new URL('../../.state/cluster', import.meta.url)),
);
const SUPERVISOR = fileURLToPath(new URL('supervisor.ts', import.meta.url));
const STOP_TIMEOUT_MS = 40_000;

const USAGE = `usage: node test/cluster/cli.ts <command>

  start   run a test cluster in the background and print how to use it
  stop    end it and remove its state
  status  show whether it runs
  build   only build its programs, into the cache

The state is in .state/cluster of the work tree, or in the directory that TERWAY_TEST_CLUSTER names.`;

class UsageError extends Error {}

async function main(args: readonly string[]): Promise<void> {
  const [command, ...rest] = args;
  if (rest.length > 0) throw new UsageError(`unexpected argument "${rest[0]}"`);
  switch (command) {
    case 'start':
      return start();
    case 'stop':
      return stop();
    case 'status':
      return status();
    case 'build': {
      console.log((await ensureKubeBinaries()).directory);
      return;
    }
    case 'help':
    case '--help':
    case '-h':
      console.log(USAGE);
      return;
    case undefined:
      throw new UsageError('a command is needed: start, stop, status or build');
    default:
      throw new UsageError(`unknown command "${command}": use start, stop, status or build`);
  }
}

async function start(): Promise<void> {
  const record = await readRecord(STATE_DIR);
  if (record?.phase === 'running' && (await isRunning(record.owner))) {
    console.error('the test cluster is already running');
    printExport();
    return;
  }
  // Done here and not in the background, so that the progress line is visible.
  await ensureKubeBinaries();
  const child = spawn(process.execPath, [SUPERVISOR, STATE_DIR], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new ToolError(`the supervisor ended with code ${code}`)));
    child.on('message', (raw) => {
      const message = supervisorMessageSchema.parse(raw);
      if (message.type === 'ready') resolve();
      else if (message.type === 'failed') reject(new ToolError(message.reason));
      else console.error(message.line);
    });
  });
  child.removeAllListeners();
  child.disconnect();
  child.unref();
  printExport();
}

async function stop(): Promise<void> {
  const record = await readRecord(STATE_DIR);
  if (record && (await signalRecorded(record.owner, SUPERVISOR, 'SIGTERM'))) {
    await waitGone(record.owner, STOP_TIMEOUT_MS);
  }
  // Of a supervisor that was killed or could not clean up.
  await removeLeftovers(STATE_DIR);
  console.error(record ? 'the test cluster has been stopped' : 'no test cluster runs');
}

async function status(): Promise<void> {
  const record = await readRecord(STATE_DIR);
  if (!record) {
    console.log('no test cluster runs');
    return;
  }
  if (!(await isRunning(record.owner))) {
    console.log('the test cluster has died; "stop" cleans up after it');
    return;
  }
  console.log(`test cluster ${record.phase} at ${record.serverUrl}, supervised by process ${record.owner.pid}`);
  for (const [name, identity] of Object.entries(record.components)) {
    console.log(`  ${name}: ${(await isRunning(identity)) ? `process ${identity.pid}` : 'not running'}`);
  }
  if (record.phase === 'running') printExport();
}

function printExport(): void {
  const path = adminKubeconfigPath(STATE_DIR);
  console.log(`export KUBECONFIG=${/^[\w./@+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`}`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`${message.replaceAll('\n', ' ')}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
