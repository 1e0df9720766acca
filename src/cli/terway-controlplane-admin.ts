import { parseArgs } from 'node:util';
import type { QuotaScheduler } from '../cloud/quota.ts';
import { parseControlPlaneConfig, readText } from '../config/config-file.ts';
import { ConfigError } from '../config/errors.ts';
import type { Identity } from '../config/identity.ts';
import { AdminChannel } from '../controllers/admin/admin-channel.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { systemClock } from '../util/clock.ts';
import { askSocket, SocketUnreachableError } from '../util/unix-socket.ts';
import { adminQuery } from '../wire/admin-channel.ts';
import { commandLineMistake } from './arguments.ts';
import type { LiveConfig } from './live-config.ts';
import { VERSION } from './version.ts';

const USAGE = `terway-controlplane admin: queries the control plane in this pod or on this machine; prints JSON

  terway-controlplane admin status          who leads, queues, what pods wait for, degradation
  terway-controlplane admin quota           calls of this minute by API
  terway-controlplane admin orphans         ENIs that nothing names, and what the collector would do now
  terway-controlplane admin adopt           what another control plane made, and whether this one looks after it
  terway-controlplane admin enis            every ENI with the tags of the cluster, and who names it
  terway-controlplane admin pool            what of a node's shared ENIs only the leader knows: addresses that rest, pods that wait
  terway-controlplane admin configuration   the configuration in force
  terway-controlplane admin metrics         its metrics

  --apply            orphans: release now those that are to be released; adopt: look at the others again now
  --override-brake   with orphans --apply: although so many look orphaned that none would be released
  --node NAME        with pool: of which node
  --socket PATH      socket of the control plane (default: adminSocket of the configuration)
  --config FILE      configuration (default /etc/config/ctrl-config.yaml)
  --help             this text

Only the leader answers; another replica exits 1 and names it. status, configuration and metrics are of any replica.
`;

const COMMANDS = ['status', 'quota', 'orphans', 'adopt', 'enis', 'pool', 'configuration', 'metrics'];
const WITH_APPLY = ['orphans', 'adopt'];

/** The admin channel of this process. */
export function createAdminChannel(options: {
  config: LiveConfig;
  identity: Identity;
  instance: string;
  quota: QuotaScheduler;
  metrics: Metrics;
  log: Log;
  /** Why this replica is not ready. */
  ready: () => string | undefined;
}): AdminChannel {
  const { config, identity, instance, quota, metrics, log, ready } = options;
  return new AdminChannel({
    quota,
    metrics,
    log,
    clock: systemClock,
    version: VERSION,
    identity: instance,
    cluster: identity,
    socketPath: config.config.adminSocket,
    degradation: () => config.settings.degradation,
    poolGrowth: () => config.settings.poolGrowth,
    configurationProblem: () => config.problem,
    // It holds no secret; credentials are in a separate file.
    configuration: () => config.config,
    problem: ready,
  });
}

/**
 * `terway-controlplane admin …`.
 *
 * @param args the arguments after `admin`
 * @returns the exit code: 1 when the control plane refuses the request
 * @throws ConfigError for a wrong command line, or when no control plane answers.
 */
export async function runAdminCommand(args: string[]): Promise<number> {
  const { values: flags, positionals } = parse(args);
  if (flags.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const [command = '', ...rest] = positionals;
  if (!COMMANDS.includes(command) || rest.length > 0) {
    const given = ['admin', ...positionals].join(' ');
    throw new ConfigError(
      `command line: unknown command "${given}"; valid commands: ${COMMANDS.map((name) => `admin ${name}`).join(', ')}`,
    );
  }
  if (flags.apply && !WITH_APPLY.includes(command)) {
    throw new ConfigError(`command line: --apply is only valid with ${WITH_APPLY.join(' and ')}`);
  }
  if (flags['override-brake'] && !(command === 'orphans' && flags.apply)) {
    throw new ConfigError('command line: --override-brake is only valid with orphans --apply');
  }
  if ((flags.node !== undefined) !== (command === 'pool')) {
    throw new ConfigError('command line: pool needs --node NAME, and nothing else has that flag');
  }
  const query = adminQuery({ overrideBrake: flags['override-brake'], node: flags.node });
  const socketPath = flags.socket ?? (await socketOf(flags.config));
  const { status, body } = await askSocket(socketPath, flags.apply ? 'POST' : 'GET', `/${command}${query}`).catch(
    (error: unknown) => {
      if (!(error instanceof SocketUnreachableError)) throw error;
      throw new ConfigError(`is the control plane running? ${error.message}`);
    },
  );
  process.stdout.write(body);
  return status === 200 ? 0 : 1;
}

const OPTIONS = {
  apply: { type: 'boolean', default: false },
  'override-brake': { type: 'boolean', default: false },
  node: { type: 'string' },
  socket: { type: 'string' },
  config: { type: 'string', default: '/etc/config/ctrl-config.yaml' },
  help: { type: 'boolean', default: false },
} as const;

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new ConfigError(`command line: ${commandLineMistake(error, OPTIONS)}`);
  }
}

async function socketOf(configPath: string): Promise<string> {
  const { adminSocket } = parseControlPlaneConfig(configPath, await readText(configPath, '--config')).config;
  if (adminSocket === '')
    throw new ConfigError(`${configPath}: adminSocket is empty, so this control plane has no admin channel`);
  return adminSocket;
}
