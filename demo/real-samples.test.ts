import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { forRealNodes, GUEST_SECURITY_GROUP, guestManifests } from './real-samples.ts';
import { readSamples } from './samples.ts';

test('samples keep what they show, and get pods that nodes can run', async () => {
  const [before, after] = [await readSamples(), await readSamples(forRealNodes)];
  const workloads = (manifests: readonly string[]) => manifests.slice(2).map((manifest) => parse(manifest));
  expect(after.manifests.slice(0, 2)).toEqual(before.manifests.slice(0, 2));
  for (const [at, workload] of workloads(after.manifests).entries()) {
    const { spec: pod } = workload.spec.template;
    const { spec: sample } = workloads(before.manifests)[at].spec.template;
    const [container] = pod.containers;
    expect(pod.nodeSelector).toEqual(sample.nodeSelector);
    expect(container.imagePullPolicy).toBe('Never');
    // The webhook asks for what the pod needs.
    expect(container.resources).toBeUndefined();
    expect(container.image).not.toBe(sample.containers[0].image);
    expect(pod.terminationGracePeriodSeconds).toBe(1);
  }
  expect({ ...after, manifests: [] }).toEqual({ ...before, manifests: [] });
});

test('the guest is alone in its security group, and on the node that was asked for', () => {
  const [networking, pod] = guestManifests('node-7').map((manifest) => parse(manifest));
  expect(networking.spec.securityGroupIDs).toEqual([GUEST_SECURITY_GROUP]);
  expect(pod.metadata.labels).toEqual(networking.spec.selector.podSelector.matchLabels);
  expect(pod.spec.nodeSelector).toEqual({ 'kubernetes.io/hostname': 'node-7' });
});
