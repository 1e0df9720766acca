import { expect, test } from 'vitest';
import { resourceOfCrd } from '../../sim/kube/model/crd.ts';
import { KubeModel } from '../../sim/kube/model/model.ts';
import { SimulatedTransport } from '../../sim/kube/transport.ts';
import { nodeRuntimeCrd, nodeRuntimeResource, saysDeleted } from '../crds/node-runtime.ts';
import { KubeClient } from '../kube/client.ts';
import { Informer } from '../kube/informer.ts';
import { seededRandom } from '../util/random.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { type CoreNode, coreNodeResource } from './resources.ts';
import { RuntimeReporter } from './runtime-reporter.ts';

test('after its end nothing is tried again, so that the process can end', async () => {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const model = new KubeModel({ startMs: clock.now() });
  const refuse = { kind: 'refused', status: 403 } as const;
  const transport = new SimulatedTransport({
    model,
    clock,
    replica: 'agent',
    faults: { onRequest: () => refuse },
  });
  const client = new KubeClient({ transport, clock, random });
  const errors: unknown[] = [];
  const reporter = new RuntimeReporter({
    client,
    nodeName: 'node-1',
    clock,
    view: { coreNode: new Informer<CoreNode>({ client, clock, random, resource: coreNodeResource }) },
    isUsed: () => false,
    hasSandbox: () => false,
    withSandbox: () => [],
    hasAddress: () => false,
    recordUid: () => undefined,
    onError: (error) => errors.push(error),
  });
  reporter.start();
  reporter.report({ namespace: 'default', name: 'web-0', uid: 'u1' }, 'deleted');
  await clock.advance(20_000);
  const before = errors.length;
  expect(before).toBeGreaterThan(1);

  const closed = reporter.close();
  reporter.report({ namespace: 'default', name: 'web-1', uid: 'u2' }, 'deleted');
  await clock.advance(1000);
  await closed;
  expect(errors.length).toBe(before + 1);
  expect(clock.pendingCalls).toBe(0);
});

function modelled(onRequest: () => { kind: 'refused'; status: 403 } | undefined = () => undefined) {
  const clock = new VirtualClock();
  const random = seededRandom(1);
  const model = new KubeModel({ resources: [resourceOfCrd(nodeRuntimeCrd.manifest())], startMs: clock.now() });
  const transport = new SimulatedTransport({ model, clock, replica: 'agent', faults: { onRequest } });
  const client = new KubeClient({ transport, clock, random });
  const options = {
    ...{ client, nodeName: 'node-1', clock, isUsed: () => true, hasSandbox: () => false, withSandbox: () => [] },
    ...{ hasAddress: () => false, recordUid: () => undefined, onError: () => undefined },
    view: { coreNode: new Informer<CoreNode>({ client, clock, random, resource: coreNodeResource }) },
  };
  const isSaidToBeGone = async (uid: string) => {
    const runtime = client.get(nodeRuntimeResource, { name: 'node-1' });
    await clock.advance(1000);
    return saysDeleted((await runtime).status?.pods?.[uid]);
  };
  return { clock, options, isSaidToBeGone };
}

const POD = { namespace: 'default', name: 'web-0', uid: 'u1' };

test('what was said of a pod that is gone is not taken back for an ADD that began before', async () => {
  const { clock, options, isSaidToBeGone } = modelled();
  const earlier = new RuntimeReporter(options);
  earlier.report(POD, 'initial');
  await clock.advance(5000);

  // This one has read nothing yet. The pod goes while it reads.
  let isUsed = true;
  const taken = new RuntimeReporter({ ...options, isUsed: () => isUsed })
    .takeBack(POD)
    .catch((error: unknown) => error);
  isUsed = false;
  await clock.advance(5000);
  expect(await taken).toMatchObject({ message: expect.stringContaining('is gone') });
  expect(await isSaidToBeGone(POD.uid)).toBe(true);
});

test('as long as it is not written that a pod has a sandbox again, no attempt to make one goes on', async () => {
  let isRefused = false;
  const { clock, options, isSaidToBeGone } = modelled(() => (isRefused ? { kind: 'refused', status: 403 } : undefined));
  const reporter = new RuntimeReporter(options);
  reporter.report(POD, 'deleted');
  await clock.advance(5000);
  expect(await isSaidToBeGone(POD.uid)).toBe(true);

  isRefused = true;
  for (const _ of ['first', 'next']) {
    const taken = reporter.takeBack(POD).catch((error: unknown) => error);
    await clock.advance(1000);
    expect(await taken).toMatchObject({ message: expect.stringContaining('could not be written') });
  }
  isRefused = false;
  const taken = reporter.takeBack(POD);
  await clock.advance(1000);
  await taken;
  expect(await isSaidToBeGone(POD.uid)).toBe(false);
});
