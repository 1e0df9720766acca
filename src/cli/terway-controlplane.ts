import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Webhook } from '../admission/webhook.ts';
import { withDegradation } from '../cloud/degradation.ts';
import { parseControlPlaneConfig, readConfigFile, readText } from '../config/config-file.ts';
import { type ControlPlaneConfig, credentialFileSchema } from '../config/control-plane.ts';
import { ConfigError } from '../config/errors.ts';
import { findIdentity } from '../config/identity.ts';
import { EniConfigs } from '../controllers/eni-configs.ts';
import { createInformers, informersSynced, runInformers, StoreHealth } from '../controllers/informers.ts';
import { runControllers } from '../controllers/manager.ts';
import { replicaState } from '../controllers/states.ts';
import { connectKube } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { KubeConfigError } from '../kube/errors.ts';
import { EventRecorder } from '../kube/events.ts';
import { runWithLease } from '../kube/lease.ts';
import { closeServer, listen, telemetryServer } from '../telemetry/http-server.ts';
import { createLog, type Log } from '../telemetry/log.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';
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

/** How long a mirror or an event gives way to writes that a pod waits for. */
const MIRRORS_YIELD_MS = 10_000;

/** After the signal to stop, how long events may take to leave. */
const FLUSH_MS = 2000;

async function main(): Promise<void> {
  // The cloud SDK's transport calls url.parse; a warning about that tells an operator nothing.
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
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => stop.abort(new Error(`received ${name}`)));

  const client = connectKube(kubeConfig, {
    userAgent: 'terway-controlplane',
    clock: systemClock,
    random: systemRandom,
    // Mirrors and events can wait until a crowd of pods has its network.
    maxYieldMs: MIRRORS_YIELD_MS,
    onRequest: ({ verb, resource, subresource, code, durationMs }) => {
      metrics.kubeRequests.inc({ verb, resource, subresource, code: String(code) });
      metrics.kubeRequestSeconds.observe({ verb }, durationMs / 1000);
    },
  });
  const live = new LiveConfig(config);
  const health = new StoreHealth();
  const informers = createInformers({
    client,
    clock: systemClock,
    random: systemRandom,
    nodeConfigMaps: config.nodeConfigMaps,
    onError: (kind, error) => {
      health.note(kind, error);
      log.warn({ kind, err: errorMessage(error) }, 'watch interrupted');
    },
  });
  const eniConfigs = new EniConfigs({ informers, allowed: config.nodeConfigMaps, log });
  const instance = `${process.env['POD_NAME'] ?? hostname()}_${randomUUID().slice(0, 8)}`;
  const recorder = new EventRecorder({
    client,
    clock: systemClock,
    controller: 'terway-controlplane',
    instance,
    onError: (error) => log.debug({ err: errorMessage(error) }, 'event not sent'),
  });
  const webhook = createWebhook(config, client, informers, log, metrics);
  let identityProblem: string | undefined = 'it is not known yet where the cluster lives';
  const ready = () =>
    stop.signal.aborted ? 'stopping' : (identityProblem ?? health.problem(informers) ?? webhook?.problem);
  const servers = await serve(config, () => telemetryServer({ ready, registry: metrics.registry }), log);

  const noteWait = (error: unknown) => {
    identityProblem = `it is not known yet where the cluster lives: ${errorMessage(error)}`;
    log.warn({ err: errorMessage(error) }, 'the API server does not answer; asking it again where the cluster lives');
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
  identityProblem = undefined;
  const { quota, cloud } = connectCloud(config, identity, credential, metrics, stop.signal);
  metrics.sources.replica = () => replicaState(informers, quota);
  const admin = createAdminChannel({ config: live, identity, instance, quota, metrics, log, ready });
  await admin.listen();

  log.info(
    { region: identity.regionID, vpc: identity.vpcID, cluster: identity.clusterID, server: kubeConfig.serverUrl },
    'starting',
  );
  // The webhook answers from the stores until it has been drained.
  const end = new AbortController();
  const running: Promise<void>[] = [
    runInformers(informers, end.signal),
    live.follow(
      {
        ...{ path: flags.config, text: configText, clock: systemClock, log, metrics },
        apply: ({ logLevel, rateLimit, rateLimitShare }) => {
          log.level = logLevel;
          quota.setLimits({ limits: rateLimit, share: rateLimitShare });
        },
      },
      stop.signal,
    ),
  ];
  try {
    await informersSynced(informers, stop.signal);
    log.info('stores synced');
    if (eniConfigs.refusal !== undefined) throw new ConfigError(eniConfigs.refusal);
    if (webhook !== undefined) {
      await startWebhook(webhook, config, log);
      running.push(webhook.run(end.signal));
    }
    const onHolder = (holder: string) => {
      log.info({ holder }, 'lease');
      admin.noteLeader(holder);
    };
    await lead(config, instance, log, metrics, client, stop.signal, onHolder, (signal) =>
      runControllers(
        {
          client,
          cloud: withDegradation(cloud, () => live.settings.degradation),
          quota,
          informers,
          eniConfigs,
          recorder,
          clock: systemClock,
          random: systemRandom,
          log,
          metrics,
          clusterId: identity.clusterID,
          vpcId: identity.vpcID,
          enableTrunk: config.enableTrunk,
          withIpv6: config.ipStack !== 'ipv4',
          networkingRecheckMs: config.podNetworkingRecheck,
          releaseConfirmationMs: config.releaseConfirmation,
          stableNameKinds: config.customStatefulWorkloadKinds,
          nodeLabels: config.nodeLabelWhiteList,
          configProblem: () => live.problem,
          onConfigVerdict: (listener) => live.onVerdict(listener),
          escapedPods: () => (config.webhook.enabled ? live.settings.escapedPods : 'serve'),
          workers: {
            podEni: config.podENIMaxConcurrent,
            node: config.nodeMaxConcurrent,
            networkInterface: config.eniMaxConcurrent,
            podNetworking: 1,
          },
          collector: { intervalMs: config.collector.interval, minimumAgeMs: config.collector.minimumAge },
          onTerm: (term) => admin.noteTerm(term),
        },
        signal,
      ),
    );
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    stop.abort();
    await webhook?.close();
    end.abort(stop.signal.reason);
    await Promise.all(running);
    await recorder.close(FLUSH_MS);
    client.close();
    await Promise.all([...servers.map(closeServer), admin.close()]);
  }
  log.info('stopped');
}

async function startWebhook(webhook: Webhook, { webhook: { bindHost, port } }: ControlPlaneConfig, log: Log) {
  await webhook.listen().catch((error: unknown) => {
    throw new ConfigError(`webhook: cannot listen on ${bindHost}:${port}: ${errorMessage(error)}`);
  });
  log.info({ address: `${bindHost}:${port}` }, 'serving webhooks');
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

/** Runs `work` while this replica leads. A lost lease ends the term, not the process: the stores stay warm for the next. */
async function lead(
  config: ControlPlaneConfig,
  identity: string,
  log: Log,
  metrics: Metrics,
  client: Parameters<typeof runWithLease>[0]['client'],
  signal: AbortSignal,
  onHolder: (holder: string) => void,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  if (!config.leaderElection) {
    metrics.leader.set(1);
    await work(signal);
    return;
  }
  while (!signal.aborted) {
    const outcome = await runWithLease({
      client,
      namespace: config.controllerNamespace,
      name: config.controllerName,
      identity,
      leaseDurationMs: config.leaseDuration,
      renewDeadlineMs: config.renewDeadline,
      retryPeriodMs: config.retryPeriod,
      clock: systemClock,
      random: systemRandom,
      signal,
      onHolder,
      onError: (error) => log.warn({ err: errorMessage(error) }, 'lease request failed'),
      onLead: async (term) => {
        metrics.leader.set(1);
        log.info('leading');
        await work(term);
        metrics.leader.set(0);
      },
    });
    if (outcome === 'lost') log.warn('the lease was lost; waiting for it again');
  }
}

main().catch((error: unknown) => {
  const known = error instanceof ConfigError || error instanceof KubeConfigError;
  process.stderr.write(`terway-controlplane: ${errorMessage(error)}\n`);
  if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`);
  process.exit(known ? 2 : 1);
});
