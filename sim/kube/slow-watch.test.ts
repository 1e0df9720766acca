import { expect, test } from 'vitest';
import { KubeClient } from '../../src/kube/client.ts';
import { Informer } from '../../src/kube/informer.ts';
import type { HasMetadata, Resource } from '../../src/kube/types.ts';
import { seededRandom } from '../../src/util/random.ts';
import { VirtualClock } from '../../src/util/test-support/virtual-clock.ts';
import type { ApiCall, WatchFault } from './faults.ts';
import { KubeModel } from './model/model.ts';
import { SimulatedTransport } from './transport.ts';

const configMaps: Resource<HasMetadata> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};

test('a watch that reached the server late is ended by the server, not by the client', async () => {
  const clock = new VirtualClock();
  const model = new KubeModel({ startMs: clock.now() });
  const asked: string[] = [];
  const faults = {
    onRequest: ({ verb }: ApiCall) => {
      asked.push(verb);
      return undefined;
    },
    onWatch: ({ verb }: ApiCall): WatchFault => {
      asked.push(verb);
      return { kind: 'slow', requestMs: 14_000 };
    },
  };
  const transport = new SimulatedTransport({ model, clock, replica: 'a', faults });
  const client = new KubeClient({ transport, clock, random: seededRandom(1) });
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const informer = new Informer({ client, resource: configMaps, clock, random: seededRandom(2), onError });
  const abort = new AbortController();
  const running = informer.run(abort.signal);
  // A watch lasts ten minutes at most, and is not silent as long as something happens.
  for (let minute = 0; minute < 31; minute += 1) {
    const target = { resource: 'configmaps', namespace: 'default' };
    model.create(target, { metadata: { name: `c-${minute}` } }, { actor: 'user', nowMs: clock.now() });
    await clock.advance(60_000);
  }
  expect(errors.map(String)).toEqual([]);
  expect(asked.length).toBeGreaterThanOrEqual(3);
  expect(new Set(asked)).toEqual(new Set(['watch']));
  abort.abort();
  await running;
});
