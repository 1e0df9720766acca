import { expect, test } from 'vitest';
import { KubeModel } from '../../sim/kube/model/model.ts';
import { SimulatedTransport } from '../../sim/kube/transport.ts';
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
