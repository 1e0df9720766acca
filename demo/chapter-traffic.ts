import { count } from '../src/util/terminal/text.ts';
import { DemoError } from './errors.ts';
import { echoExchange, framesOf, tagProblems } from './frame-checks.ts';
import { frameRows, frameTable } from './frame-table.ts';
import { FrameWatch, type SeenFrame } from './frame-watch.ts';
import type { Narrator } from './narrator.ts';
import { acrossNodes, onOneNode, type Pair } from './pairs.ts';
import type { PodRow } from './pod-record.ts';
import { GUEST, PAGE_PORT } from './real-samples.ts';
import type { RealStage } from './real-stage.ts';

const FRAMES_TIMEOUT_MS = 5000;
const PINGS = 3;
const API_SERVER = 'kubernetes.default.svc.cluster.local';

/** What pods have sent each other. */
export interface Traffic {
  /** Frames that were looked at, each with the right VLAN id. */
  frames: number;
  requests: number;
}

/** Has pods talk and shows what is on the wire. @throws DemoError when something does not arrive, or is not as it should be */
export async function tellTraffic(narrator: Narrator, stage: RealStage, pods: readonly PodRow[]): Promise<Traffic> {
  narrator.chapter(
    'Pods talk through the VPC',
    'Between the nodes is a switch that does what the VPC would: it knows each ENI, its address, its trunk and its VLAN ' +
      'id, and its security groups, and refuses whatever is wrong. It writes down here what it saw.',
  );
  await using watch = await FrameWatch.start(stage.vpc);
  const members = pods.filter(({ app }) => app !== GUEST);
  await tellNames(narrator, stage, members);
  await tellPing(narrator, stage, watch, needed(acrossNodes(members), 'two pods on different nodes'));
  narrator.done(
    'a packet leaves its node with the VLAN id of the sender’s ENI and arrives with that of the receiver’s',
  );
  narrator.lines('');
  const neighbours = needed(onOneNode(members), 'two pods on one node');
  await tellPing(narrator, stage, watch, neighbours);
  narrator.done(`both are on ${neighbours.from.node}, and still the packet leaves it: security groups see it`);
  narrator.lines('');
  await tellGuest(narrator, stage, watch, pods);
  const requests = await tellEverybody(narrator, stage, members);
  const frames = await settledFrames(stage, watch, members);
  const problems = tagProblems(frames, members);
  if (problems.length > 0) throw new DemoError(problems.slice(0, 3).join('; '));
  narrator.done(`${count(frames.length, 'frame')} of theirs so far, each with the VLAN id of its ENI and no other`);
  return { frames: frames.length, requests };
}

/** Has a pod resolve the API server's name, and read from it: a client in a pod. */
async function tellNames(narrator: Narrator, stage: RealStage, [client]: readonly PodRow[]): Promise<void> {
  if (client === undefined) throw new DemoError('there is no pod');
  const command = ['nslookup', API_SERVER];
  narrator.lines(`${narrator.screen.style.dim('$')} kubectl exec ${client.name} -- ${command.join(' ')}`);
  const { code, stdout, stderr } = await stage.inPod(client.name, ...command);
  const address = /Name:.*\nAddress: (\S+)/.exec(stdout)?.[1];
  if (code !== 0 || address === undefined) {
    throw new DemoError(`${client.name} does not resolve ${API_SERVER}: ${(stderr || stdout).trim()}`);
  }
  narrator.lines(...stdout.split('\n').filter((line) => /^(Name|Address)/.test(line)), '');
  // The API server's word to those who do not speak TLS.
  const answer = await stage.inPod(client.name, 'timeout', '3', 'wget', '-O', '-', `http://${address}:443/`);
  if (!answer.stderr.includes('400 Bad Request'))
    throw new DemoError(`${client.name} does not reach the API server at ${address}`);
  narrator.done('pods resolve names by CoreDNS and reach the API server at its Service’s address');
  narrator.lines('');
}

async function tellPing(narrator: Narrator, stage: RealStage, watch: FrameWatch, { from, to }: Pair): Promise<void> {
  const { style } = narrator.screen;
  const before = watch.frames.length;
  const command = ['ping', '-c', String(PINGS), '-i', '0.2', to.address];
  narrator.lines(`${style.dim('$')} kubectl exec ${from.name} -- ${command.join(' ')}`);
  const { code, stdout, stderr } = await stage.inPod(from.name, ...command);
  if (code !== 0) throw new DemoError(`${from.name} does not reach ${to.name}: ${(stderr || stdout).trim()}`);
  narrator.lines(...stdout.split('\n').filter((line) => / bytes from |packets transmitted/.test(line)), '');
  const exchange = await watch.until((frames) => echoExchange(frames.slice(before), from.address, to.address), {
    signal: stage.signal,
    timeoutMs: FRAMES_TIMEOUT_MS,
    problem: () => 'the switch has not seen the echo and its reply',
  });
  const problems = tagProblems(exchange, [from, to]);
  if (problems.length > 0) throw new DemoError(problems.join('; '));
  narrator.lines(...tableOf(narrator, stage, exchange), '');
}

/** A pod of another security group: nothing of it reaches the others, not even from the same node. */
async function tellGuest(
  narrator: Narrator,
  stage: RealStage,
  watch: FrameWatch,
  pods: readonly PodRow[],
): Promise<void> {
  const { style } = narrator.screen;
  const guest = needed(
    pods.find(({ app }) => app === GUEST),
    'a guest',
  );
  const neighbour = needed(
    pods.find(({ app, node }) => app !== GUEST && node === guest.node),
    `a pod on ${guest.node}`,
  );
  const before = watch.frames.length;
  const command = ['ping', '-c', '1', '-W', '1', neighbour.address];
  narrator.lines(`${style.dim('$')} kubectl exec ${guest.name} -- ${command.join(' ')}`);
  const { code, stdout } = await stage.inPod(guest.name, ...command);
  narrator.lines(...stdout.split('\n').filter((line) => line.includes('packets transmitted')), '');
  if (code === 0) throw new DemoError(`${guest.name} reaches ${neighbour.name}, though their security groups differ`);
  const refused = await watch.until(
    (frames) => frames.slice(before).find(({ src, verdict }) => src === guest.address && verdict === 'refused'),
    { signal: stage.signal, timeoutMs: FRAMES_TIMEOUT_MS, problem: () => 'the switch has refused nothing' },
  );
  if (refused.reason !== 'security-group-ingress') throw new DemoError(`the guest was refused for ${refused.reason}`);
  narrator.lines(...tableOf(narrator, stage, [refused]), '');
  narrator.done(`${guest.name} is in another security group: refused, though ${neighbour.name} is on the same node`);
}

/** Every pod asks every other for its page. @returns the number of requests, each of which was answered by the right one */
async function tellEverybody(narrator: Narrator, stage: RealStage, pods: readonly PodRow[]): Promise<number> {
  const requests = pods.length * (pods.length - 1);
  await narrator.step(`${pods.length} pods ask each other for their page over HTTP: ${requests} answers`, async () => {
    for (const asker of pods) {
      const others = pods.filter((pod) => pod !== asker);
      const script = others.map((pod) => `timeout 3 wget -q -O - http://${pod.address}:${PAGE_PORT}/ || echo -`);
      const { stdout } = await stage.inPod(asker.name, 'sh', '-c', script.join('; '));
      const answers = stdout.trimEnd().split('\n');
      for (const [at, pod] of others.entries()) {
        const expected = `${pod.name} on ${pod.node}`;
        if (answers[at] === expected) continue;
        throw new DemoError(`${asker.name} asked ${pod.address} and got "${answers[at]}" instead of "${expected}"`);
      }
    }
  });
  return requests;
}

/** All frames of the pods once the last answers have been told of. */
async function settledFrames(stage: RealStage, watch: FrameWatch, pods: readonly PodRow[]): Promise<SeenFrame[]> {
  // Answered after all frames that the switch had seen by then were written.
  await stage.vpc.counters();
  return framesOf(watch.frames, pods);
}

function tableOf(narrator: Narrator, stage: RealStage, frames: readonly SeenFrame[]): string[] {
  return frameTable(
    frameRows(frames, (eniId) => stage.nodeOfDevice(eniId)),
    narrator.width,
    narrator.screen.style,
  );
}

function needed<T>(found: T | undefined, what: string): T {
  if (found === undefined) throw new DemoError(`there is not ${what}`);
  return found;
}
