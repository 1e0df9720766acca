import { expect, test } from 'vitest';
import { podNetworking } from '../../allocation/test-support/fixtures.ts';
import { NETWORKING_INDEXERS } from '../../cluster/networking-lookup.ts';
import type { Namespace, Pod } from '../../cluster/resources.ts';
import type { PodNetworking } from '../../crds/pod-networking.ts';
import { Store } from '../../kube/store.ts';
import { settled, VirtualClock } from '../../util/test-support/virtual-clock.ts';
import { Overlaps } from './overlaps.ts';

const PODS = 2000;
const NETWORKINGS = 500;

/** Every PodNetworking selects four of the pods, and the first two select the same ones. */
function cluster() {
  const looks = { selectors: 0 };
  const networkings = new Store<PodNetworking>({ indexers: NETWORKING_INDEXERS });
  for (let at = 0; at < NETWORKINGS; at += 1) {
    const selector = { podSelector: { matchLabels: { app: `app-${Math.max(1, at)}` } } };
    const networking = podNetworking({ selector }, { name: `n-${at}` });
    Object.defineProperty(networking.spec, 'selector', {
      get: () => {
        looks.selectors += 1;
        return selector;
      },
    });
    networkings.upsert(networking);
  }
  const pods = new Store<Pod>();
  for (let at = 0; at < PODS; at += 1) {
    const metadata = {
      namespace: 'default',
      name: `pod-${at}`,
      uid: `uid-${at}`,
      labels: { app: `app-${at % NETWORKINGS}` },
    };
    pods.upsert({
      metadata,
      spec: { nodeName: 'node-1', hostNetwork: false },
      status: { phase: 'Running', podIPs: [] },
    });
  }
  const clock = new VirtualClock();
  const overlaps = new Overlaps({
    clock,
    informers: {
      pods: { store: pods },
      namespaces: { store: new Store<Namespace>() },
      podNetworkings: { store: networkings },
    },
    networkingRecheckMs: 60_000,
    stableNameKinds: [],
  });
  looks.selectors = 0;
  return { clock, overlaps, looks, networkings };
}

test('pods are not compared with PodNetworkings that cannot select them', async () => {
  const { clock, overlaps, looks } = cluster();
  const remark = overlaps.remarkOn('n-1', new AbortController().signal);
  while (await clock.step());
  expect(await remark).toContain('4 by n-0');
  // Only by their own PodNetworkings: once for the choice, once for the losers.
  expect(looks.selectors).toBeLessThan(NETWORKINGS + 5 * PODS);
});

test('the pods of a large cluster are scanned in many turns of the event loop', async () => {
  const { clock, overlaps, looks } = cluster();
  const remark = overlaps.remarkOn('n-1', new AbortController().signal);
  let [most, before] = [0, NETWORKINGS];
  do {
    await settled();
    most = Math.max(most, looks.selectors - before);
    before = looks.selectors;
  } while (await clock.step());
  await remark;
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(5 * 300);
});

test('a PodNetworking that is gone is forgotten, also when it goes while the pods are compared', async () => {
  const { clock, overlaps, networkings } = cluster();
  const { signal } = new AbortController();
  const remove = (name: string) => {
    const gone = networkings.get(name);
    if (gone !== undefined) networkings.remove(gone.metadata, gone);
  };
  const remark = overlaps.remarkOn('n-1', signal);
  await settled();
  remove('n-1');
  while (await clock.step());
  await remark;
  expect(overlaps.size).toBe(0);
});
