import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startCluster } from './cluster.ts';
import type { SupervisorMessage } from './supervisor-messages.ts';

// The background half of `cli.ts start`. The components are children of this process, which only waits for the signal to
// stop them.

const stateDir = process.argv[2];
if (stateDir === undefined || process.send === undefined) {
  process.stderr.write('supervisor.ts is started by cli.ts\n');
  process.exit(2);
}

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
  process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
}
// The process that wanted the cluster ended before the start was complete. Harmless later: see below.
const onDisconnect = () => stop.abort(new Error('the starting process has ended'));
process.once('disconnect', onDisconnect);

const log = (line: string) => {
  if (process.connected) send({ type: 'log', line });
  // A failed write must not end the cluster. The components' logs are elsewhere.
  void appendFile(join(stateDir, 'logs', 'supervisor.log'), `${new Date().toISOString()} ${line}\n`).catch(
    () => undefined,
  );
};

try {
  const cluster = await startCluster({ stateDir, signal: stop.signal, log });
  process.off('disconnect', onDisconnect);
  send({ type: 'ready' });
  await new Promise<void>((resolve) => {
    if (stop.signal.aborted) resolve();
    else stop.signal.addEventListener('abort', () => resolve(), { once: true });
    // Nothing else keeps this process alive once the channel is closed and the components have ended by themselves.
    setInterval(() => undefined, 3_600_000);
  });
  await cluster.stop();
  process.exit(0);
} catch (error) {
  send({ type: 'failed', reason: error instanceof Error ? error.message : String(error) }, () => process.exit(1));
}

function send(message: SupervisorMessage, onSent: () => void = () => undefined): void {
  if (process.connected && process.send) process.send(message, onSent);
  else onSent();
}
