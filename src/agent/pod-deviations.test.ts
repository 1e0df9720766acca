import { expect, test } from 'vitest';
import type { Deviation } from '../datapath/types.ts';
import { PodDeviations } from './pod-deviations.ts';

const differs = (pod: string, message: string): Deviation => ({ object: 'route', pod, message, inPod: true });

test('what differs in a pod is told once, again when it changes, and counted as long as it is there', () => {
  const deviations = new PodDeviations();
  const first = [differs('shop/web-0', 'mtu 1380'), differs('shop/web-1', 'default is missing')];
  expect(deviations.update(first).map(({ pod }) => pod)).toEqual(['shop/web-0', 'shop/web-1']);
  expect(deviations.update(first)).toEqual([]);
  expect(deviations.counts()).toEqual([{ labels: { object: 'route' }, value: 2 }]);
  expect(deviations.update([differs('shop/web-0', 'mtu 1400')])).toEqual([{ pod: 'shop/web-0', message: 'mtu 1400' }]);
  expect(deviations.update([])).toEqual([]);
  expect(deviations.counts()).toEqual([]);
  expect(deviations.update(first)).toHaveLength(2);
});

test('a message names a few of many', () => {
  const [told] = new PodDeviations().update(
    Array.from({ length: 1000 }, (_, at) => differs('shop/web-0', `route ${at}`)),
  );
  expect(told?.message).toBe('route 0; route 1; route 2; route 3; route 4; and 995 more');
});
