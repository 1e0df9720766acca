import { parseArgs } from 'node:util';
import { connectKube } from '../kube/client.ts';
import { loadKubeConfig } from '../kube/config.ts';
import { KubeApiError, KubeConfigError, TransportError } from '../kube/errors.ts';
import { adoptCommand } from '../kubectl/adopt.ts';
import { bundleCommand } from '../kubectl/bundle.ts';
import { ClusterReader } from '../kubectl/cluster.ts';
import type { CommandContext } from '../kubectl/command.ts';
import { ExecChannel, findControlPlaneName, kubectlRunner, SocketChannel } from '../kubectl/control-plane.ts';
import { NoControlPlaneError, UsageError } from '../kubectl/errors.ts';
import { explainCommand } from '../kubectl/explain/explain.ts';
import { gcCommand } from '../kubectl/gc.ts';
import { goBackCommand } from '../kubectl/go-back.ts';
import { nodesCommand } from '../kubectl/nodes.ts';
import { poolCommand } from '../kubectl/pool.ts';
import { quotaCommand } from '../kubectl/quota.ts';
import { formatReport, type OutputFormat, type Report, screenOf } from '../kubectl/report.ts';
import { statusCommand } from '../kubectl/status.ts';
import { uninstallCommand } from '../kubectl/uninstall.ts';
import { commandUsage, USAGE } from '../kubectl/usage.ts';
import { vSwitchesCommand } from '../kubectl/vswitches.ts';
import { systemClock } from '../util/clock.ts';
import { errorMessage } from '../util/errors.ts';
import { systemRandom } from '../util/random.ts';
import { wantsColours } from '../util/terminal/style.ts';
import { commandLineMistake } from './arguments.ts';
import { VERSION } from './version.ts';

const FORMATS: readonly OutputFormat[] = ['table', 'json', 'yaml'];

const GLOBAL_OPTIONS = {
  kubeconfig: { type: 'string' },
  context: { type: 'string' },
  namespace: { type: 'string', short: 'n' },
  output: { type: 'string', short: 'o' },
  'no-color': { type: 'boolean', default: false },
  socket: { type: 'string' },
  'system-namespace': { type: 'string', default: 'kube-system' },
  'control-plane': { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const COMMAND_OPTIONS = {
  plan: { type: 'boolean', default: false },
  apply: { type: 'boolean', default: false },
  'override-brake': { type: 'boolean', default: false },
  check: { type: 'boolean', default: false },
} as const;

/** Flags of each command besides the global ones. */
const COMMAND_FLAGS: Readonly<Record<string, readonly (keyof typeof COMMAND_OPTIONS)[]>> = {
  status: [],
  explain: [],
  nodes: [],
  pool: [],
  vswitches: [],
  gc: ['plan', 'apply', 'override-brake'],
  quota: [],
  adopt: ['apply'],
  'go-back': ['check'],
  bundle: [],
  uninstall: ['check'],
};

type Flags = ReturnType<typeof parse>['values'];

async function main(): Promise<number> {
  const { values: flags, positionals } = parse();
  const [command, ...words] = positionals;
  if (command === undefined) {
    if (flags.help) process.stdout.write(USAGE);
    else process.stderr.write(USAGE);
    return flags.help ? 0 : 2;
  }
  const taken = Object.hasOwn(COMMAND_FLAGS, command) ? COMMAND_FLAGS[command] : undefined;
  if (taken === undefined) {
    throw new UsageError(`unknown command "${command}"; valid commands: ${Object.keys(COMMAND_FLAGS).join(', ')}`);
  }
  if (flags.help) {
    process.stdout.write(commandUsage(command));
    return 0;
  }
  for (const name of Object.keys(COMMAND_OPTIONS).filter(isCommandFlag)) {
    if (flags[name] && !taken.includes(name)) throw new UsageError(`${command} has no flag --${name}`);
  }
  const work = workOf(command, words, flags);
  const format = formatOf(command, flags.output);
  const report = await withContext(flags, work);
  const isTerminal = process.stdout.isTTY === true;
  const screen = screenOf({
    isTerminal,
    columns: process.stdout.columns,
    colours: !flags['no-color'] && wantsColours(isTerminal, process.env),
  });
  process.stdout.write(formatReport(report, format, screen));
  return report.exitCode;
}

function parse() {
  try {
    return parseArgs({ options: { ...GLOBAL_OPTIONS, ...COMMAND_OPTIONS }, allowPositionals: true });
  } catch (error) {
    throw new UsageError(commandLineMistake(error));
  }
}

function isCommandFlag(name: string): name is keyof typeof COMMAND_OPTIONS {
  return name in COMMAND_OPTIONS;
}

/** For `bundle`, `-o` is a file; for every other command it is the format. */
function formatOf(command: string, output: string | undefined): OutputFormat {
  if (command === 'bundle' || output === undefined) return 'table';
  const format = FORMATS.find((known) => known === output);
  if (format === undefined) throw new UsageError(`-o ${output}: valid formats: ${FORMATS.join(', ')}`);
  return format;
}

/** The command to run, with its arguments checked. @throws UsageError */
function workOf(command: string, words: string[], flags: Flags): (context: CommandContext) => Promise<Report> {
  if (command === 'explain') return explainOf(words, flags);
  if (command === 'pool') return poolOf(words);
  if (words.length > 0) throw new UsageError(`${command} takes no arguments; unexpected argument "${words.join(' ')}"`);
  switch (command) {
    case 'status':
      return statusCommand;
    case 'nodes':
      return nodesCommand;
    case 'vswitches':
      return vSwitchesCommand;
    case 'quota':
      return quotaCommand;
    case 'adopt':
      return (context) => adoptCommand(context, { apply: flags.apply });
    case 'bundle':
      return (context) => bundleCommand(context, { output: flags.output });
    case 'gc': {
      if (flags.plan === flags.apply) throw new UsageError('gc needs either --plan or --apply');
      const overrideBrake = flags['override-brake'];
      if (overrideBrake && !flags.apply) throw new UsageError('gc: --override-brake is only valid with --apply');
      return (context) => gcCommand(context, { apply: flags.apply, overrideBrake });
    }
    case 'go-back':
      if (!flags.check) throw new UsageError('go-back needs --check; it only checks, and changes nothing');
      return goBackCommand;
    default:
      if (!flags.check) throw new UsageError('uninstall needs --check; it only checks, and removes nothing');
      return uninstallCommand;
  }
}

function explainOf([what, text = '', ...rest]: string[], flags: Flags): (context: CommandContext) => Promise<Report> {
  const form = 'explain pod NAMESPACE/NAME, or explain pod -n NAMESPACE NAME';
  if (what === undefined) throw new UsageError(`explain needs an argument: ${form}`);
  if (!['pod', 'pods', 'po'].includes(what)) throw new UsageError(`explain: cannot explain "${what}"; write ${form}`);
  const parts = text.split('/');
  const name = parts.at(-1) ?? '';
  if (name === '' || parts.length > 2 || parts.includes('') || rest.length > 0)
    throw new UsageError(`explain: write ${form}`);
  const [namespace] = parts.length === 2 ? parts : [];
  if (namespace !== undefined && flags.namespace !== undefined && flags.namespace !== namespace) {
    throw new UsageError(`explain: ${text} and -n ${flags.namespace} are different namespaces`);
  }
  return (context) => explainCommand(context, { namespace: namespace ?? context.namespace, name });
}

function poolOf([nodeName, ...rest]: string[]): (context: CommandContext) => Promise<Report> {
  if (nodeName === undefined || rest.length > 0) throw new UsageError('pool needs the name of one node: pool NODE');
  return (context) => poolCommand(context, nodeName);
}

async function withContext(flags: Flags, work: (context: CommandContext) => Promise<Report>): Promise<Report> {
  const stop = new AbortController();
  const onSignal = () => stop.abort(new Error('interrupted'));
  process.once('SIGINT', onSignal);
  const { kubeconfig, context, 'system-namespace': systemNamespace } = flags;
  const config = await loadKubeConfig({ path: kubeconfig, context, clock: systemClock });
  const client = connectKube(config, { userAgent: 'kubectl-terway', clock: systemClock, random: systemRandom });
  try {
    const cluster = new ClusterReader(client, stop.signal);
    const connection = [
      ...(kubeconfig === undefined ? [] : ['--kubeconfig', kubeconfig]),
      ...(context === undefined ? [] : ['--context', context]),
    ];
    const kubectl = kubectlRunner(connection, stop.signal);
    let name: Promise<string> | undefined;
    const controlPlaneName = () =>
      (name ??=
        flags['control-plane'] === undefined
          ? findControlPlaneName(cluster, systemNamespace)
          : Promise.resolve(flags['control-plane']));
    const socket = flags.socket ?? process.env['TERWAY_ADMIN_SOCKET'] ?? '';
    return await work({
      cluster,
      kubectl,
      systemNamespace,
      controlPlaneName,
      clock: systemClock,
      version: VERSION,
      controlPlane:
        socket === ''
          ? new ExecChannel({ cluster, namespace: systemNamespace, name: controlPlaneName, kubectl })
          : new SocketChannel(socket),
      namespace: flags.namespace ?? config.namespace,
    });
  } finally {
    process.removeListener('SIGINT', onSignal);
    client.close();
  }
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    if (error instanceof UsageError) {
      process.stderr.write(`kubectl terway: ${error.message}\nkubectl terway --help lists commands and flags\n`);
      process.exit(2);
    }
    process.stderr.write(`kubectl terway: ${errorMessage(error)}\n`);
    const isKnown = [NoControlPlaneError, KubeConfigError, KubeApiError, TransportError].some(
      (kind) => error instanceof kind,
    );
    if (!isKnown && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
