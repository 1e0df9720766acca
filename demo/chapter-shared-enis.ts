import { type Column, layoutTable, renderTable } from '../src/util/terminal/table.ts';
import { count, formatDuration } from '../src/util/terminal/text.ts';
import { changingCalls, memberEniIds } from './checks.ts';
import { DemoError } from './errors.ts';
import { echoExchange } from './frame-checks.ts';
import { frameRows, frameTable } from './frame-table.ts';
import { FrameWatch } from './frame-watch.ts';
import type { Narrator } from './narrator.ts';
import type { RealStage } from './real-stage.ts';
import {
  ORDINARY,
  ordinaryManifests,
  type SharedRow,
  sharedProblems,
  sharedRows,
  untaggedProblems,
} from './shared-pods.ts';

const RECORDS_TIMEOUT_MS = 30_000;
const FRAMES_TIMEOUT_MS = 5000;
const PINGS = 2;
const DNS_NAME = 'kube-dns.kube-system.svc.cluster.local';

const COLUMNS: readonly Column<SharedRow>[] = [
  { title: 'POD', value: (row) => row.name },
  { title: 'NAMESPACE', value: (row) => row.namespace, dropOrder: 1 },
  { title: 'NODE', value: (row) => row.node },
  { title: 'ADDRESS', value: (row) => row.address },
  { title: 'SHARED ENI', value: (row) => `${row.eniId}${row.isTrunk ? ' (trunk)' : ''}`, minWidth: 16, keep: 'end' },
];

/** The cluster as most clusters are: its own pods and ordinary ones share ENIs. @throws DemoError when something is not as it should be */
export async function tellSharedEnis(narrator: Narrator, stage: RealStage): Promise<void> {
  narrator.chapter(
    'Ordinary pods share ENIs',
    'Most pods need no ENI of their own. With ipam_type: crd in eni-config they get addresses of ENIs that their node shares, ' +
      'its trunk first. The Node CR records which pod has which address; the agent of the node carries it out.',
  );
  await narrator.step('CoreDNS, as two ordinary pods', () => stage.installDns());
  await narrator.step(`Deployment ${ORDINARY.name} of ${ORDINARY.replicas}, which no PodNetworking picks`, async () => {
    await stage.apply(...ordinaryManifests());
    const where = ['-n', ORDINARY.namespace, `deployment/${ORDINARY.name}`];
    await stage.kubectl('rollout', 'status', '--timeout=90s', ...where);
  });
  const rows = await recorded(stage);
  narrator.lines('', ...renderTable(layoutTable(COLUMNS, rows, narrator.width), rows, narrator.screen.style), '');
  const snapshot = await stage.lab.cloud.state();
  const problems = sharedProblems(rows, snapshot);
  const members = memberEniIds(snapshot);
  if (members.length > 0) problems.push(`ENIs were made for them: ${members.join(', ')}`);
  if (problems.length > 0) throw new DemoError(problems.slice(0, 3).join('; '));
  const trunks = new Set(rows.map(({ eniId }) => eniId)).size;
  narrator.done(
    `${count(rows.length, 'pod')} on ${count(trunks, 'ENI')}, and no other ENI was made; records, pods and cloud agree`,
  );
  narrator.lines('');
  const ordinary = rows.filter(({ namespace }) => namespace === ORDINARY.namespace);
  await tellName(narrator, stage, ordinary);
  await tellUntagged(narrator, stage, ordinary);
  await tellFree(narrator, stage);
}

/** All of them, once the record of each is known here. */
async function recorded(stage: RealStage): Promise<SharedRow[]> {
  const pods = await stage.sharedPods();
  return stage.nodes.changes.until(
    () => {
      const rows = sharedRows(pods, stage.nodes.records());
      return rows.every(({ eniId }) => eniId !== '') ? rows : undefined;
    },
    {
      signal: stage.signal,
      timeoutMs: RECORDS_TIMEOUT_MS,
      problem: () => {
        const open = sharedRows(pods, stage.nodes.records()).filter(({ eniId }) => eniId === '');
        return `no Node CR gives an address to ${open.map(({ name }) => name).join(', ')}`;
      },
    },
  );
}

async function tellName(narrator: Narrator, stage: RealStage, [client]: readonly SharedRow[]): Promise<void> {
  if (client === undefined) throw new DemoError(`there is no pod of ${ORDINARY.name}`);
  const command = ['nslookup', DNS_NAME];
  narrator.lines(
    `${narrator.screen.style.dim('$')} kubectl exec -n ${client.namespace} ${client.name} -- ${command.join(' ')}`,
  );
  const { code, stdout, stderr } = await stage.exec(client.namespace, client.name, ...command);
  if (code !== 0) throw new DemoError(`${client.name} does not resolve ${DNS_NAME}: ${(stderr || stdout).trim()}`);
  narrator.lines(...stdout.split('\n').filter((line) => /^(Name|Address)/.test(line)), '');
  narrator.done('they resolve names by CoreDNS');
  narrator.lines('');
}

/** Two of them on different nodes: what is on the wire has no tag. */
async function tellUntagged(narrator: Narrator, stage: RealStage, rows: readonly SharedRow[]): Promise<void> {
  const [from] = rows;
  const to = rows.find(({ node }) => node !== from?.node);
  if (from === undefined || to === undefined) throw new DemoError('there are not two ordinary pods on different nodes');
  await using watch = await FrameWatch.start(stage.vpc);
  const command = ['ping', '-c', String(PINGS), '-i', '0.2', to.address];
  narrator.lines(
    `${narrator.screen.style.dim('$')} kubectl exec -n ${from.namespace} ${from.name} -- ${command.join(' ')}`,
  );
  const { code, stdout, stderr } = await stage.exec(from.namespace, from.name, ...command);
  if (code !== 0) throw new DemoError(`${from.name} does not reach ${to.name}: ${(stderr || stdout).trim()}`);
  narrator.lines(...stdout.split('\n').filter((line) => / bytes from |packets transmitted/.test(line)), '');
  const exchange = await watch.until((frames) => echoExchange(frames, from.address, to.address), {
    signal: stage.signal,
    timeoutMs: FRAMES_TIMEOUT_MS,
    problem: () => 'the switch has not seen the echo and its reply',
  });
  const problems = untaggedProblems(exchange, [from, to]);
  if (problems.length > 0) throw new DemoError(problems.join('; '));
  const shown = frameRows(exchange, (eniId) => stage.nodeOfDevice(eniId));
  narrator.lines(...frameTable(shown, narrator.width, narrator.screen.style), '');
  narrator.done('between nodes their packets have no tag: they are those of the shared ENI itself');
  narrator.lines('');
}

/** They go, and their addresses are there for the next ones. */
async function tellFree(narrator: Narrator, stage: RealStage): Promise<void> {
  const { namespace, name } = ORDINARY;
  const held = () =>
    stage.nodes
      .records()
      .flatMap(({ status }) => Object.values(status?.networkInterfaces ?? {}))
      .flatMap(({ ipv4 = {} }) => Object.values(ipv4))
      .filter(({ podID }) => podID?.startsWith(`${namespace}/`) === true);
  const before = changingCalls(await stage.lab.cloud.counters());
  const startMs = performance.now();
  await stage.kubectl('scale', '-n', namespace, 'deployment', name, '--replicas=0');
  await stage.nodes.changes.until(() => (held().length === 0 ? true : undefined), {
    signal: stage.signal,
    timeoutMs: RECORDS_TIMEOUT_MS,
    problem: () => `${count(held().length, 'address')} of ${name} are still bound`,
  });
  const took = formatDuration(performance.now() - startMs);
  const calls = changingCalls(await stage.lab.cloud.counters()) - before;
  if (calls > 0) throw new DemoError(`${count(calls, 'call')} went to the cloud for pods on shared ENIs that go`);
  narrator.done(
    `scaled to zero: ${took} later their addresses are free for other pods, and nothing was asked of the cloud`,
  );
}
