import { expect, test } from 'vitest';
import type { Pod } from '../cluster/resources.ts';
import type { EventInput } from '../kube/events.ts';
import { Store } from '../kube/store.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { ControllerEvents } from './events.ts';

function podOf(name: string): Pod {
  return {
    metadata: { name, namespace: 'default', uid: `uid of ${name}`, resourceVersion: '1' },
    spec: { nodeName: 'n', hostNetwork: false },
    status: { phase: '', podIPs: [] },
  };
}

function events(names: readonly string[] = ['web-0']) {
  const said: (EventInput & { controller: string; kind: string | undefined })[] = [];
  const clock = new VirtualClock();
  const pods = new Store<Pod>();
  pods.replace(names.map(podOf), '1');
  const recorder = {
    forController: (controller: string) => ({
      event: (regarding: { kind?: string | undefined }, input: EventInput) =>
        void said.push({ ...input, controller, kind: regarding.kind }),
    }),
  };
  return { said, clock, pods: new ControllerEvents({ recorder, pods, clock }) };
}

test('#57: one event per transition: a repeated failure with another request id is the same', () => {
  const { said, pods } = events();
  for (const id of ['A', 'B', 'C']) {
    pods.podWarning('default/web-0', 'CloudError', `AttachNetworkInterface: NoPermission: no (request id ${id})`);
  }
  expect(said.map(({ note }) => note)).toEqual(['AttachNetworkInterface: NoPermission: no (request id A)']);
  expect(said[0]).toMatchObject({ kind: 'Pod', controller: 'pod-eni', type: 'Warning', reason: 'CloudError' });
  // Recorded as one series if it is repeated.
  expect(said[0]?.noteKey).toBe('AttachNetworkInterface: NoPermission: no');
});

test('a different cause or reason is a different event', () => {
  const { said, pods } = events();
  pods.podWarning('default/web-0', 'CloudError', 'AttachNetworkInterface: NoPermission: no (request id A)');
  pods.podWarning('default/web-0', 'CloudError', 'AttachNetworkInterface: InvalidEniId.NotFound: no (request id B)');
  pods.podWarning('default/web-0', 'NoMemberSlot', 'all 3 are in use');
  expect(said).toHaveLength(3);
});

test('the event contains the place in line, but a step forward is not a new event', () => {
  const { said, pods } = events();
  let place = 3;
  const asked: number[] = [];
  const detail = () => {
    asked.push(place);
    return `place ${place} of 3 in line`;
  };
  for (place = 3; place > 0; place -= 1) pods.podWarning('default/web-0', 'NoMemberSlot', 'all 3 are in use', detail);
  expect(said.map(({ note }) => note)).toEqual(['all 3 are in use; place 3 of 3 in line']);
  expect(asked).toEqual([3]);
});

test('a lasting problem is repeated after ten minutes so that the event does not expire', async () => {
  const { said, pods, clock } = events();
  const say = () => pods.podWarning('default/web-0', 'NodeNotReady', 'node n is not known');
  say();
  await clock.advance(599_000);
  say();
  expect(said).toHaveLength(1);
  await clock.advance(1000);
  say();
  expect(said).toHaveLength(2);
});

test('however many pods wait, none is told the same thing again', () => {
  const names = Array.from({ length: 25_000 }, (_, at) => `web-${at}`);
  const { said, pods } = events(names);
  for (let round = 0; round < 2; round += 1)
    for (const name of names) pods.podWarning(`default/${name}`, 'NoMemberSlot', 'all 3 are in use');
  expect(said).toHaveLength(names.length);
});

test('a pod that is gone gets no event', () => {
  const { said, pods } = events();
  pods.podNormal('default/gone', 'AttachENISucceed', 'eni-1 is attached');
  expect(said).toEqual([]);
});
