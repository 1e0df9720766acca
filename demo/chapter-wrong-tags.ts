import type { RefusalReason } from '../sim/vpc/protocol.ts';
import { ROUTER_MAC, udp } from '../sim/vpc/test-frames.ts';
import { pad, textWidth } from '../src/util/terminal/text.ts';
import type { WiredNode } from '../test/harness/node-lab.ts';
import { pollUntil } from '../tools/machine/poll.ts';
import { DemoError } from './errors.ts';
import { FrameWatch, type SeenFrame } from './frame-watch.ts';
import type { Narrator } from './narrator.ts';
import { acrossNodes, type Pair } from './pairs.ts';
import type { PodRow } from './pod-record.ts';
import { sendFrame, WireTap } from './raw-wire.ts';
import { GUEST } from './real-samples.ts';
import type { RealStage } from './real-stage.ts';

const TIMEOUT_MS = 10_000;
const FIRST_PORT = 40_001;
const LARGEST_VLAN_ID = 4094;

/** A frame that is sent on purpose, and what has to become of it. */
interface Attempt {
  what: string;
  vlans: readonly number[];
}

interface SwitchAttempt extends Attempt {
  /** Undefined: it is forwarded. */
  reason: RefusalReason | undefined;
  /** The reason in a person's words. */
  why: string;
}

interface NodeAttempt extends Attempt {
  /** Which counter of `terway-agent show` grows. */
  counter: string;
}

/** Sends frames with tags that are wrong and shows who refuses them. @returns how many @throws DemoError when one passes */
export async function tellWrongTags(narrator: Narrator, stage: RealStage, pods: readonly PodRow[]): Promise<number> {
  const pair = acrossNodes(pods.filter(({ app }) => app !== GUEST));
  if (pair === undefined) throw new DemoError('all pods are on one node');
  const other = pods.find((pod) => pod.trunkId === pair.from.trunkId && pod !== pair.from);
  if (other === undefined) throw new DemoError(`${pair.from.name} is alone on its trunk`);
  narrator.chapter(
    'A wrong VLAN id goes nowhere',
    'What pods send always has the right id. So these frames are put on the wire of a trunk by hand, each in order but ' +
      'for its tag.',
  );
  const refused = await tellSwitch(narrator, stage, pair, other);
  return refused + (await tellNode(narrator, stage, pair, pods));
}

async function tellSwitch(narrator: Narrator, stage: RealStage, { from, to }: Pair, other: PodRow): Promise<number> {
  const own = Number(from.vlan);
  const others = Number(other.vlan);
  const attempts: SwitchAttempt[] = [
    { what: 'its own', vlans: [own], reason: undefined, why: `forwarded to ${to.name}` },
    {
      what: 'nobody’s',
      vlans: [LARGEST_VLAN_ID],
      reason: 'unknown-vlan',
      why: 'no ENI of the trunk has it',
    },
    {
      what: 'a neighbour’s',
      vlans: [others],
      reason: 'wrong-source-address',
      why: 'the address is another ENI’s',
    },
    { what: 'two', vlans: [own, others], reason: 'double-tag', why: 'a tag behind the tag' },
  ];
  const { style } = narrator.screen;
  const trunk = await stage.trunkDevice(stage.node(from.node));
  narrator.note(
    `From ${from.node}, ${trunk.name}, with the address of ${from.name}, ${from.address}, to ${to.address}. Its neighbour ` +
      `is ${other.name}.`,
  );
  narrator.lines('');
  const line = lineWriter(narrator, ['VLAN ID', '', 'WHAT THE SWITCH SAYS'], attempts);
  line.titles();
  await using watch = await FrameWatch.start(stage.vpc);
  for (const [at, attempt] of attempts.entries()) {
    const port = FIRST_PORT + at;
    const before = watch.frames.length;
    const header = { src: trunk.macAddress, dst: ROUTER_MAC, vlans: attempt.vlans };
    const frame = udp(header, { src: from.address, dst: to.address, dstPort: port, payload: 'by hand' });
    await sendFrame(stage.node(from.node), trunk.name, frame, stage.signal);
    const seen = await watch.until(
      (frames) =>
        frames
          .slice(before)
          .find(
            ({ direction, device, dstPort, reason }) =>
              direction === 'fromNode' && device === trunk.eniId && (dstPort === port || reason === 'double-tag'),
          ),
      { signal: stage.signal, timeoutMs: TIMEOUT_MS, problem: () => `the switch has not seen the frame to ${port}` },
    );
    const reason = seen.verdict === 'refused' ? seen.reason : undefined;
    if (reason !== attempt.reason) {
      throw new DemoError(
        `a frame whose VLAN id is ${attempt.what} (${attempt.vlans.join(', ')}) should be ` +
          `${attempt.reason === undefined ? 'forwarded' : `refused: ${attempt.reason}`}, but is ${seen.verdict} ${seen.reason}`,
      );
    }
    if (reason === undefined) {
      const arrived = ({ direction, eni, dstPort }: SeenFrame) =>
        direction === 'toNode' && eni === to.eniId && dstPort === port;
      await watch.until((frames) => frames.slice(before).find(arrived), {
        signal: stage.signal,
        timeoutMs: TIMEOUT_MS,
        problem: () => `the frame to ${port} was forwarded, but not to ${to.name}`,
      });
    }
    const mark = reason === undefined ? style.green('✓') : style.red('✗');
    line.write(attempt, `${mark} ${reason === undefined ? '' : `${style.red(reason)}: `}${attempt.why}`);
  }
  const refused = attempts.filter(({ reason }) => reason !== undefined).length;
  narrator.lines('');
  narrator.done(`the one with the right id was forwarded, the other ${refused} were refused`);
  return refused;
}

/** Frames that a cloud with a mistake would deliver. */
async function tellNode(
  narrator: Narrator,
  stage: RealStage,
  { from, to }: Pair,
  pods: readonly PodRow[],
): Promise<number> {
  const node = stage.node(to.node);
  if (!(await stage.hasTagPrograms())) {
    narrator.note(
      'This kernel does not run the eBPF tag programs: tc filters drop wrong ids on the way in, uncounted.',
    );
    return 0;
  }
  const trunk = await stage.trunkDevice(node);
  await using tap = await WireTap.open(node, trunk.name);
  if (tap === undefined) {
    narrator.note(
      'This kernel cannot redirect packets (act_mirred), so nothing wrong can be brought to a node’s trunk.',
    );
    return 0;
  }
  const own = Number(to.vlan);
  const others = Number(pods.find((pod) => pod.trunkId === to.trunkId && pod.vlan !== to.vlan)?.vlan ?? own + 1);
  const attempts: NodeAttempt[] = [
    { what: 'its own', vlans: [own], counter: 'untagged' },
    { what: 'a neighbour’s', vlans: [others], counter: 'droppedWrongVlan' },
    { what: 'two', vlans: [own, others], counter: 'droppedDoubleTag' },
    { what: 'none', vlans: [], counter: 'droppedMissingTag' },
  ];
  const { style } = narrator.screen;
  narrator.lines('');
  narrator.note(
    `And should the cloud deliver a wrong one? To ${node.name}, ${trunk.name}, for ${to.name}, ${to.address}, around the ` +
      'switch:',
  );
  narrator.lines('');
  const line = lineWriter(narrator, ['VLAN ID', '', 'WHAT terway-agent show COUNTS ON THE NODE'], attempts);
  line.titles();
  for (const attempt of attempts) {
    const before = await stage.tagVerdicts(node);
    const header = { src: ROUTER_MAC, dst: trunk.macAddress, vlans: attempt.vlans };
    await tap.send(udp(header, { src: from.address, dst: to.address, payload: 'by hand' }), stage.signal);
    const was = before[attempt.counter] ?? 0;
    const is = await grown(stage, node, attempt.counter, was);
    const isDrop = attempt.counter.startsWith('dropped');
    line.write(attempt, `${isDrop ? style.red('✗') : style.green('✓')} ${attempt.counter} ${was} → ${is}`);
  }
  const dropped = attempts.filter(({ counter }) => counter.startsWith('dropped')).length;
  narrator.lines('');
  narrator.done(`the tag program on ${trunk.name} took the right tag off and dropped the other ${dropped}`);
  return dropped;
}

/** @returns the counter once it is more than it was @throws DeadlineError */
async function grown(stage: RealStage, node: WiredNode, counter: string, was: number): Promise<number> {
  return pollUntil(
    async () => {
      const is = (await stage.tagVerdicts(node))[counter] ?? 0;
      return is > was ? is : undefined;
    },
    { what: `${counter} of ${node.name} to grow`, timeoutMs: TIMEOUT_MS, signal: stage.signal },
  );
}

/** Writes a table line by line, as its rows come. */
function lineWriter(narrator: Narrator, titles: readonly [string, string, string], attempts: readonly Attempt[]) {
  const { style } = narrator.screen;
  const id = ({ vlans }: Attempt) => (vlans.length === 0 ? '–' : vlans.join(', '));
  const idWidth = Math.max(textWidth(titles[0]), ...attempts.map((attempt) => textWidth(id(attempt))));
  const whatWidth = Math.max(...attempts.map(({ what }) => textWidth(what)));
  const row = (first: string, second: string, third: string) =>
    [pad(first, idWidth, 'right'), pad(second, whatWidth), third].join('  ');
  return {
    titles: () => narrator.lines(style.dim(row(...titles))),
    write: (attempt: Attempt, verdict: string) => narrator.lines(row(id(attempt), attempt.what, verdict)),
  };
}
