import type { CapturedFrame } from '../sim/vpc/protocol.ts';
import type { PodRow } from './pod-record.ts';

/** As much of a pod as its frames can be judged by. */
export type PodOnWire = Pick<PodRow, 'name' | 'address' | 'eniId' | 'vlan' | 'trunkId'>;

const IPV4 = 0x0800;

/** Frames with packets that one of the pods sends to another. */
export function framesOf<F extends CapturedFrame>(frames: readonly F[], pods: readonly PodOnWire[]): F[] {
  const addresses = new Set(pods.map(({ address }) => address));
  return frames.filter(({ etherType, src, dst }) => etherType === IPV4 && addresses.has(src) && addresses.has(dst));
}

/**
 * What is wrong with frames of pods; empty when each was on the trunk of its pod, with the VLAN id of its ENI, from or to
 * its address.
 */
export function tagProblems(frames: readonly CapturedFrame[], pods: readonly PodOnWire[]): string[] {
  const byEni = new Map(pods.map((pod) => [pod.eniId, pod]));
  const problems = new Set<string>();
  for (const { eni, vlan, device, direction, src, dst, verdict, reason } of frames) {
    const pod = byEni.get(eni);
    const told = `a frame ${src} → ${dst} with VLAN id ${vlan}`;
    if (pod === undefined) {
      problems.add(`${told} belongs to no pod (${eni === '' ? 'no ENI' : eni})`);
      continue;
    }
    const own = direction === 'fromNode' ? src : dst;
    if (verdict === 'refused') problems.add(`${told} of ${pod.name} was refused: ${reason}`);
    else if (String(vlan) !== pod.vlan) problems.add(`${told} should have that of ${pod.name}, ${pod.vlan}`);
    else if (device !== pod.trunkId) problems.add(`${told} of ${pod.name} was on ${device}, not on its trunk`);
    else if (own !== pod.address) problems.add(`${told} is not of ${pod.name}, which has ${pod.address}`);
  }
  return [...problems];
}

/** The frames of an echo and its reply between two addresses, once there are all four; undefined before. */
export function echoExchange<F extends CapturedFrame>(frames: readonly F[], a: string, b: string): F[] | undefined {
  const leg = (src: string, dst: string) =>
    frames.filter((frame) => frame.protocol === 1 && frame.src === src && frame.dst === dst);
  const four = [...leg(a, b).slice(0, 2), ...leg(b, a).slice(0, 2)];
  return four.length === 4 ? four : undefined;
}
