import { describe, expect, test } from 'vitest';
import { allCrds } from '../../../src/crds/all.ts';
import { KubeClient } from '../../../src/kube/client.ts';
import { seededRandom } from '../../../src/util/random.ts';
import { VirtualClock } from '../../../src/util/test-support/virtual-clock.ts';
import { resourceOfCrd } from '../model/crd.ts';
import { KubeModel } from '../model/model.ts';
import { SimulatedTransport } from '../transport.ts';
import { conformance } from './all.ts';
import type { Server } from './server.ts';

/** Runs a case on virtual time: the clock advances while the case waits. */
async function onModel(run: (server: Server) => Promise<void>): Promise<void> {
  const clock = new VirtualClock();
  const model = new KubeModel({
    resources: allCrds.map((crd) => resourceOfCrd(crd.manifest())),
    namespaces: ['test'],
    startMs: clock.now(),
  });
  const transport = new SimulatedTransport({ model, clock, replica: 'test', userAgent: 'terway-controlplane' });
  const client = new KubeClient({ transport, clock, random: seededRandom(1) });
  let isOver = false;
  const over = () => {
    isOver = true;
  };
  const forgetHistory = () => model.compact();
  const running = run({ transport, client, clock, namespace: 'test', forgetHistory });
  running.then(over, over);
  for (let steps = 0; !isOver; steps++) {
    if (steps > 20_000) throw new Error('the case waits for something that never happens');
    await clock.advance(5);
  }
  await running;
}

for (const [theme, cases] of Object.entries(conformance)) {
  describe(theme, () => {
    test.each(Object.entries(cases))('%s', (_title, run) => onModel(run));
  });
}

test('there are enough cases, and no title twice', () => {
  const titles = Object.values(conformance).flatMap((cases) => Object.keys(cases));
  expect(titles.length).toBeGreaterThanOrEqual(60);
  expect(new Set(titles).size).toBe(titles.length);
});
