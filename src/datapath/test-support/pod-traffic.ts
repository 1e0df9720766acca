import { expect } from 'vitest';
import { linkMac } from '../names.ts';
import type { PodAttachment } from '../types.ts';
import type { DatapathLab, Frame } from './datapath-lab.ts';
import type { Packet } from './packets.ts';

/** What the frames of {@link frameBytes} are. */
export const isUdp = ({ protocol }: Frame) => protocol === 17;
/** The namespace of a pod. */
export const nameOf = (pod: PodAttachment) => pod.netnsPath.slice('/run/netns/'.length);
/** Of the host's end of its veth. */
export const hostMac = (pod: PodAttachment) => linkMac(pod.containerId, 'eth0', 'host');
/** As a frame shows a payload. */
export const text = (value: string) => Buffer.from(value).toString('hex');

/** Sends from a pod as if its interface had sent it. */
export function fromPod(lab: DatapathLab, pod: PodAttachment, packets: Omit<Packet, 'toMac'>[]): void {
  lab.send(
    nameOf(pod),
    'eth0',
    packets.map((packet) => ({ ...packet, toMac: hostMac(pod) })),
  );
}

/** What arrives at `receive` of these, in the end; the last one is known to come. */
export async function delivered(
  lab: DatapathLab,
  at: { netns: string; link: string },
  send: () => void,
  lastPayload: string,
): Promise<string[]> {
  await using receiver = await lab.receiver(at.netns, at.link);
  send();
  const frames = await receiver.collect(1, (frame) => frame.payload === text(lastPayload));
  expect(frames).toHaveLength(1);
  return receiver.frames.filter(isUdp).map(({ payload }) => Buffer.from(payload, 'hex').toString());
}
