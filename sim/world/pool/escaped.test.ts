import { afterEach, expect, test } from 'vitest';
import { ANNOTATION_POD_ENI, ANNOTATION_POD_NETWORKING } from '../../../src/crds/names.ts';
import { eventResource } from '../../../src/kubectl/resources.ts';
import type { World } from '../world.ts';
import { addresses, NODE, poolWorld, served } from './support.ts';

/* Pods that a PodNetworking picks and that the webhook has missed. */

let world: World | undefined;

afterEach(() => world?.end());

/** Reasons of the events about a pod. */
function toldTo(made: World, name: string): string[] {
  const all = made.kube.objects('events.events.k8s.io').map((event) => eventResource.parse?.(event));
  return all.flatMap((event) => (event?.regarding?.name === name ? [event.reason] : []));
}

test.each(['hold', 'evict'])(
  'a pod that escaped the webhook gets no address of a shared ENI (escapedPods: %s)',
  async (escapedPods) => {
    const made = await poolWorld({ max_pool_size: 10 }, { config: { webhook: { enabled: true, escapedPods } } });
    world = made;
    // A PodNetworking and a pod that come at the same moment may miss each other.
    await made.run(20_000);
    const [ordinary = ''] = await served(made, ['ordinary']);
    const first = made.createPod({ name: 'web', nodeName: NODE, ownerKind: 'ReplicaSet' });
    await made.run(5 * 60_000);
    expect([...addresses(made).keys()]).toEqual([ordinary]);
    expect(toldTo(made, 'web')).toContain('EscapedWebhook');
    const current = made.kube.peek('pods', { namespace: 'default', name: 'web' });
    if (escapedPods === 'hold') {
      expect(current?.metadata.uid).toBe(first.metadata.uid);
      made.deletePod('default/web', 0);
    } else expect(current?.metadata.uid).not.toBe(first.metadata.uid);
    await made.until(
      'it is gone',
      () => made.kube.peek('pods', { namespace: 'default', name: 'web' }) === undefined,
      2 * 60_000,
    );
    // Its owner makes another, and the webhook is back.
    const annotations = { [ANNOTATION_POD_ENI]: 'true', [ANNOTATION_POD_NETWORKING]: 'elastic' };
    made.createPod({ name: 'web', nodeName: NODE, ownerKind: 'ReplicaSet', annotations });
    await made.until('it has an ENI of its own', () => made.isBound('default/web'), 60_000);
    expect([...addresses(made).keys()]).toEqual([ordinary]);
  },
);
