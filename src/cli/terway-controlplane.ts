import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Webhook } from '../admission/webhook.ts';
import { parseControlPlaneConfig, readConfigFile, readText } from '../config/config-file.ts';
import { type ControlPlaneConfig, credentialFileSchema } from '../config/control-plane.ts';
import { ConfigError } from '../config/errors.ts';
import { findIdentity } from '../config/identity.ts';
import { Replica, type ReplicaHooks } from '../controllers/replica.ts';
import { connectKube } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { KubeConfigError } from '../kube/errors.ts';
import { closeServer, listen, telemetryServer } from '../telemetry/http-server.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import { addProcessMetrics } from '../telemetry/metric-set.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { systemClock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { systemRandom } from '../util/random.ts';
import { parseFlags } from './arguments.ts';
import { connectCloud, identitySources } from './connect-cloud.ts';
import { LiveConfig } from './live-config.ts';
import { createAdminChannel, runAdminCommand } from './terway-controlplane-admin.ts';
import { createWebhook } from './terway-controlplane-webhook.ts';

const USAGE = `terway-controlplane: gives Kubernetes pods their own network interfaces on Alibaba Cloud

  --config FILE       configuration (default /etc/config/ctrl-config.yaml)
  --credential FILE   credentials of Alibaba Cloud (default /etc/credential/ctrl-secret.yaml)
  --kubeconfig FILE   kubeconfig (default: KUBECONFIG, the pod's service account, ~/.kube/config)
  --help              this text

  terway-controlplane admin --help   questions to a control plane that runs
`;

/** How long a mirror or an event yields to writes that a pod waits for. */
const MIRRORS_YIELD_MS = 10_000;

async function main(): Promise<void> {
  // The cloud SDK's transport calls url.parse; that deprecation warning is of no use to an operator.
  process.noDeprecation = true;
  if (process.argv[2] === 'admin') {
    process.exitCode = await runAdminCommand(process.argv.slice(3));
    return;
  }
  const flags = parseFlags({
    config: { type: 'string', default: '/etc/config/ctrl-config.yaml' },
    credential: { type: 'string', default: '/etc/credential/ctrl-secret.yaml' },
    kubeconfig: { type: 'string' },
    help: { type: 'boolean', default: false },
  });
  if (flags.help) {
    process.stdout.write(USAGE);
    return;
  }
  const configText = await readText(flags.config, '--config');
  const { config, notes } = parseControlPlaneConfig(flags.config, configText);
  const credential = await readConfigFile(flags.credential, credentialFileSchema, '--credential');
  const kubeConfig = await loadKubeConfig({ path: flags.kubeconfig, clock: systemClock });
  const log = await createLog({ level: config.logLevel, pretty: process.stdout.isTTY === true });
  for (const note of notes) log.warn({ config: flags.config }, note);
  const metrics = createMetrics();
  addProcessMetrics(metrics.registry);
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => stop.abort(new Error(`received ${name}`)));

  const client = connectKube(kubeConfig, {
    userAgent: 'terway-controlplane',
    clock: systemClock,
    random: systemRandom,
    // Mirrors and events can wait while many pods get their network.
    maxYieldMs: MIRRORS_YIELD_MS,
    onRequest: ({ verb, resource, subresource, code, durationMs }) => {
      metrics.kubeRequests.inc({ verb, resource, subresource, code: String(code) });
      metrics.kubeRequestSeconds.observe({ verb }, durationMs / 1000);
    },
  });
  const live = new LiveConfig(config);
  const instance = `${process.env['POD_NAME'] ?? hostname()}_${randomUUID().slice(0, 8)}`;
  let replica: Replica | undefined;
  let webhook: Webhook | undefined;
  let identityProblem: string | undefined = 'it is not known yet where the cluster lives';
  const ready = () => (stop.signal.aborted ? 'stopping' : (identityProblem ?? replica?.problem ?? webhook?.problem));
  const servers = await serve(config, () => telemetryServer({ ready, registry: metrics.registry }), log);

  const noteWait = (error: unknown) => {
    identityProblem = `it is not known yet where the cluster lives: ${errorMessage(error)}`;
    log.warn(
      { err: errorMessage(error) },
      'the API server does not respond; retrying to find out where the cluster lives',
    );
  };
  const sources = identitySources(config, client, stop.signal, noteWait);
  const identity = await findIdentity(config, sources).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
    return undefined;
  });
  if (identity === undefined) {
    client.close();
    await Promise.all(servers.map(closeServer));
    return;
  }
  const { quota, cloud } = connectCloud(config, identity, credential, metrics, stop.signal);
  replica = new Replica({
    client,
    cloud,
    quota,
    config,
    live,
    cluster: identity,
    instance,
    log,
    metrics,
    clock: systemClock,
    random: systemRandom,
  });
  webhook = createWebhook(config, client, replica, log, metrics);
  identityProblem = undefined;
  const admin = createAdminChannel({ config: live, identity, instance, quota, metrics, log, ready });
  await admin.listen();

  log.info(
    { region: identity.regionID, vpc: identity.vpcID, cluster: identity.clusterID, server: kubeConfig.serverUrl },
    'starting',
  );
  const following = live.follow(
    {
      path: flags.config,
      text: configText,
      clock: systemClock,
      log,
      metrics,
      apply: ({ logLevel, rateLimit, rateLimitShare }) => {
        log.level = logLevel;
        quota.setLimits({ limits: rateLimit, share: rateLimitShare });
      },
    },
    stop.signal,
  );
  try {
    await replica.run(stop.signal, {
      server: webhookServer(webhook, config, stop, log),
      onHolder: (holder) => admin.noteLeader(holder),
      onTerm: (term) => admin.noteTerm(term),
    });
  } finally {
    stop.abort();
    await following;
    client.close();
    await Promise.all([...servers.map(closeServer), admin.close()]);
  }
  log.info('stopped');
}

/** Hooks that start the webhook and drain it at the end. */
function webhookServer(
  webhook: Webhook | undefined,
  { webhook: { bindHost, port } }: ControlPlaneConfig,
  stop: AbortController,
  log: Log,
): ReplicaHooks['server'] {
  const end = new AbortController();
  let running: Promise<void> | undefined;
  return {
    start: async () => {
      if (webhook === undefined) return;
      await webhook.listen().catch((error: unknown) => {
        throw new ConfigError(`webhook: cannot listen on ${bindHost}:${port}: ${errorMessage(error)}`);
      });
      log.info({ address: `${bindHost}:${port}` }, 'serving webhooks');
      running = webhook.run(end.signal);
    },
    stop: async () => {
      // Not ready from now on, even when an error ends the process, so that no more requests are sent here.
      stop.abort();
      await webhook?.close();
      end.abort(stop.signal.reason);
      await running;
    },
  };
}

async function serve(config: ControlPlaneConfig, newServer: () => ReturnType<typeof telemetryServer>, log: Log) {
  const { healthzBindAddress, metricsBindAddress } = config;
  const servers: ReturnType<typeof telemetryServer>[] = [];
  for (const [what, address] of Object.entries({ healthzBindAddress, metricsBindAddress })) {
    if (address === undefined) continue;
    const server = newServer();
    const port = await listen(server, address).catch((error: unknown) => {
      throw new ConfigError(`${what}: cannot listen on ${address.host}:${address.port}: ${errorMessage(error)}`);
    });
    servers.push(server);
    log.info({ address: `${address.host}:${port}` }, `serving ${what}`);
  }
  return servers;
}

main().catch((error: unknown) => {
  const known = error instanceof ConfigError || error instanceof KubeConfigError;
  process.stderr.write(`terway-controlplane: ${errorMessage(error)}\n`);
  if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(known ? 2 : 1);
});
