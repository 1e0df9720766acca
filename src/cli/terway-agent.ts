import { join } from 'node:path';
import { Agent } from '../agent/agent.ts';
import { installPlugin, removeCniFiles } from '../agent/cni-files.ts';
import { nodeHost } from '../agent/node-host.ts';
import { lockNode, NodeLockedError } from '../agent/node-lock.ts';
import {
  type NodeDatapathOptions,
  openNodeDatapath,
  openWithTagProgram,
  tagProgramOf,
} from '../agent/open-datapath.ts';
import { type AgentConfig, agentConfigSchema } from '../config/agent.ts';
import { readConfigFile } from '../config/config-file.ts';
import { ConfigError } from '../config/errors.ts';
import { DatapathError } from '../datapath/errors.ts';
import { connectKube } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { KubeConfigError } from '../kube/errors.ts';
import { EventRecorder } from '../kube/events.ts';
import { closeServer, listen, telemetryServer } from '../telemetry/http-server.ts';
import { createLog } from '../telemetry/log.ts';
import { addProcessMetrics } from '../telemetry/metric-set.ts';
import { systemClock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { parseIp } from '../util/ip.ts';
import { systemRandom } from '../util/random.ts';
import { askSocket, SocketUnreachableError } from '../util/unix-socket.ts';
import { parseCommandLine } from './arguments.ts';
import { printReport, printState } from './terway-agent-output.ts';

const USAGE = `terway-agent: applies the assignments of PodENIs to the kernel of this node

  terway-agent [run]       serve CNI requests and keep the node as it should be
  terway-agent show        sandboxes of this node, and what became of packets on the trunk
  terway-agent check       compare the node with what should be; exit 1 when something differs
  terway-agent repair      the same, and mend it
  terway-agent probe       what the kernel of this node offers; exit 1 when something needed is missing
  terway-agent uninstall   remove everything of the agent from this node; pods lose their network

  --config FILE       configuration (default: built-in values)
  --kubeconfig FILE   kubeconfig (default: KUBECONFIG, the pod's service account, ~/.kube/config)
  --lib DIR           folder of terway-cni, terway-kernel and terway.bpf.o (default: beside this program)
  --json              print JSON (show, check, repair, probe)
  --help              this text

Environment: NODE_NAME, and NODE_IP with the node's addresses, comma-separated.
`;

const COMMANDS = ['run', 'show', 'check', 'repair', 'probe', 'uninstall'] as const;
const FLUSH_MS = 1000;

async function main(): Promise<number> {
  const { values: flags, command } = parseCommandLine(
    {
      config: { type: 'string' },
      kubeconfig: { type: 'string' },
      lib: { type: 'string', default: import.meta.dirname },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
    COMMANDS,
  );
  if (flags.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const config =
    flags.config === undefined
      ? agentConfigSchema.parse({})
      : await readConfigFile(flags.config, agentConfigSchema, '--config');
  switch (command) {
    case 'show':
    case 'check':
    case 'repair':
      return askAgent(command, config, flags.json);
    case 'probe':
      return probe(config, flags.lib, flags.json);
    case 'uninstall':
      return uninstall(config, flags.lib);
    case 'run':
      return run(config, flags.lib, flags.kubeconfig);
  }
}

async function run(config: AgentConfig, lib: string, kubeconfigPath: string | undefined): Promise<number> {
  const nodeName = process.env['NODE_NAME'] ?? '';
  if (nodeName === '')
    throw new ConfigError('environment: NODE_NAME is not set; it is the name of the Kubernetes node');
  const log = await createLog({ level: config.logLevel, pretty: process.stdout.isTTY === true });
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const)
    process.once(name, () => stop.abort(new Error(`received ${name}`)));
  const options = datapathOptions(config, lib, stop.signal);
  const kubeConfig = await loadKubeConfig({ path: kubeconfigPath, clock: systemClock });
  await using _ = await lock(config, lib);
  const client = connectKube(kubeConfig, { userAgent: 'terway-agent', clock: systemClock, random: systemRandom });
  const datapath = await openNodeDatapath({ ...options, log });
  const recorder = new EventRecorder({
    client,
    controller: 'terway-agent',
    instance: nodeName,
    clock: systemClock,
    onError: (error) => log.debug({ err: errorMessage(error) }, 'event not sent'),
  });
  const agent = await Agent.create({
    nodeName,
    config,
    client,
    datapath,
    host: nodeHost(config, () => systemClock.monotonicMs()),
    recorder,
    log,
    clock: systemClock,
    random: systemRandom,
  });
  addProcessMetrics(agent.metrics.registry);
  const servers = [];
  for (const [what, address] of [
    ['healthzBindAddress', config.healthzBindAddress],
    ['metricsBindAddress', config.metricsBindAddress],
  ] as const) {
    if (address === undefined) continue;
    const server = telemetryServer({ ready: () => agent.problem(), registry: agent.metrics.registry });
    await listen(server, address).catch((error: unknown) => {
      throw new ConfigError(`${what}: cannot listen on ${address.host}:${address.port}: ${errorMessage(error)}`);
    });
    servers.push(server);
  }
  log.info({ node: nodeName, server: kubeConfig.serverUrl }, 'starting');
  try {
    await installPlugin(join(lib, 'terway-cni'), config.paths.cniBin);
    await agent.run(stop.signal);
  } finally {
    await recorder.close(FLUSH_MS);
    client.close();
    await Promise.all(servers.map(closeServer));
    await datapath[Symbol.asyncDispose]();
  }
  log.info('stopped');
  return 0;
}

/** Two agents on one node would undo each other's work. */
function lock(config: AgentConfig, lib: string): Promise<AsyncDisposable> {
  const path = join(config.paths.run, 'agent.lock');
  return lockNode({ path, helper: join(lib, 'terway-kernel'), now: new Date(systemClock.now()) });
}

/** Options of this machine's data path. */
function datapathOptions(config: AgentConfig, lib: string, signal: AbortSignal): NodeDatapathOptions {
  return { config, lib, signal, clock: systemClock, nodeAddress: nodeAddress(process.env['NODE_IP'] ?? '') };
}

function nodeAddress(text: string): { ipv4?: string; ipv6?: string } {
  const address: { ipv4?: string; ipv6?: string } = {};
  for (const part of text.split(',').filter((piece) => piece !== '')) {
    const ip = parseIp(part);
    if (ip === undefined) throw new ConfigError(`environment: NODE_IP: "${part}" is not an address`);
    address[ip.family === 4 ? 'ipv4' : 'ipv6'] ??= part;
  }
  if (address.ipv4 === undefined && address.ipv6 === undefined) {
    throw new ConfigError("environment: NODE_IP is not set; it holds the node's addresses, comma-separated");
  }
  return address;
}

const ANY_ADDRESS = { ipv4: '0.0.0.0' };

async function probe(config: AgentConfig, lib: string, json: boolean): Promise<number> {
  // It changes nothing, so any address will do.
  const options = { config, lib, signal: new AbortController().signal, clock: systemClock, nodeAddress: ANY_ADDRESS };
  const datapath = await openWithTagProgram(options, tagProgramOf(config));
  try {
    const found = await datapath.probe();
    if (json) process.stdout.write(`${JSON.stringify(found, null, 2)}\n`);
    else {
      for (const { feature, available, required, message } of found) {
        const mark = available ? 'yes' : required ? 'NO ' : 'no ';
        process.stdout.write(`${mark}  ${feature.padEnd(12)}  ${message}\n`);
      }
    }
    return found.some(({ required, available }) => required && !available) ? 1 : 0;
  } finally {
    await datapath[Symbol.asyncDispose]();
  }
}

async function uninstall(config: AgentConfig, lib: string): Promise<number> {
  await using _ = await lock(config, lib);
  await removeCniFiles(config.paths.cniBin, config.paths.cniConf);
  // Use the programs of the configuration: where eBPF is not permitted, its maps cannot be opened for removal.
  const log = await createLog({ level: 'error', pretty: process.stdout.isTTY === true });
  const options = datapathOptions(config, lib, new AbortController().signal);
  const datapath = await openNodeDatapath({ ...options, log });
  try {
    await datapath.removeAll();
  } finally {
    await datapath[Symbol.asyncDispose]();
  }
  return 0;
}

/** Queries the running agent of this node. */
async function askAgent(command: 'show' | 'check' | 'repair', config: AgentConfig, json: boolean): Promise<number> {
  const socketPath = join(config.paths.run, 'agent.sock');
  const [method, path] = command === 'show' ? (['GET', '/state'] as const) : (['POST', `/${command}`] as const);
  const { status, body } = await askSocket(socketPath, method, path).catch((error: unknown) => {
    if (!(error instanceof SocketUnreachableError)) throw error;
    throw new ConfigError(`no terway-agent answers at ${socketPath}: ${errorMessage(error.cause)}`);
  });
  if (status !== 200) throw new Error(`the agent answered ${status}: ${body.trim()}`);
  if (json) process.stdout.write(body);
  return command === 'show' ? printState(body, json) : printReport(body, json, command === 'repair');
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const known =
      error instanceof ConfigError ||
      error instanceof KubeConfigError ||
      error instanceof DatapathError ||
      error instanceof NodeLockedError;
    process.stderr.write(`terway-agent: ${errorMessage(error)}\n`);
    if (!known && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exit(known ? 2 : 1);
  },
);
