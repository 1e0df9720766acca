import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeSchema } from '../../crds/node.ts';
import { podEniSchema } from '../../crds/pod-eni.ts';
import { podNetworkingSchema } from '../../crds/pod-networking.ts';
import { type Event, eventResource, type Pod, podResource } from '../resources.ts';
import { timelineOf } from './timeline.ts';
import { verdictOf } from './verdict.ts';
import type { ExplainView } from './view.ts';

const NOW_MS = Date.parse('2026-03-01T10:00:00Z');
const at = (second: number) => new Date(NOW_MS - 60_000 + second * 1000).toISOString().replace('.000', '');

function parsed<T>(resource: { parse?: (raw: unknown) => T }, raw: unknown): T {
  if (resource.parse === undefined) throw new Error('the kind is read by a schema');
  return resource.parse(raw);
}

function podOf(spec: object = {}, status: object = {}, metadata: object = {}): Pod {
  return parsed(podResource, {
    metadata: { name: 'web-0', namespace: 'shop', uid: 'u1', creationTimestamp: at(0), ...metadata },
    spec: { nodeName: 'node-1', ...spec },
    status: { phase: 'Pending', ...status },
  });
}

function eventOf(reason: string, note: string, second: number, more: object = {}): Event {
  return parsed(eventResource, {
    metadata: { name: `${reason}.${second}` },
    eventTime: at(second),
    type: 'Warning',
    reason,
    note,
    regarding: { kind: 'Pod', name: 'web-0', uid: 'u1' },
    ...more,
  });
}

function networkingOf(name: string, spec: object = {}, ready = true) {
  return podNetworkingSchema.parse({
    metadata: { name, creationTimestamp: at(-1000) },
    spec: { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'], ...spec },
    status: {
      status: ready ? 'Ready' : 'Fail',
      conditions: [
        {
          type: 'Ready',
          status: ready ? 'True' : 'False',
          reason: 'VSwitchNotFound',
          message: 'vsw-1 does not exist',
          lastTransitionTime: at(0),
        },
      ],
    },
  });
}

function podEniOf(status: object, spec: object = {}, metadata: object = {}) {
  return podEniSchema.parse({
    metadata: {
      name: 'web-0',
      namespace: 'shop',
      creationTimestamp: at(1),
      annotations: { 'k8s.aliyun.com/pod-uid': 'u1' },
      ...metadata,
    },
    spec: { allocations: [{ eni: { id: 'eni-1', vSwitchID: 'vsw-1' }, ipv4: '10.0.0.1', ...spec }] },
    status,
  });
}

/** A node that is full; the pod with this uid has its only address. */
function nodeOf(podUID: string, status = 'Valid') {
  const address = { ip: '10.0.0.1', primary: true, status, podID: 'shop/web-0', podUID };
  return nodeSchema.parse({
    metadata: { name: 'node-1' },
    status: {
      networkInterfaces: { 'eni-1': { id: 'eni-1', status: 'InUse', ipv4: { '10.0.0.1': address } } },
      conditions: [
        { type: 'PoolReady', status: 'False', reason: 'NodeFull', message: 'it is full', lastTransitionTime: at(0) },
      ],
    },
  });
}

function viewOf(view: Partial<ExplainView>): ExplainView {
  return {
    namespace: 'shop',
    name: 'web-0',
    namespaceLabels: {},
    networkings: [],
    events: [],
    stableNameKinds: [],
    nowMs: NOW_MS,
    ...view,
  };
}

const condition = (status: string, reason: string, message: string) => ({
  conditions: [{ type: 'Ready', status, reason, message, lastTransitionTime: at(5) }],
});

describe('the time line', () => {
  test('entries with the same second are in causal order', () => {
    const podEni = podEniOf(
      {
        phase: 'Bind',
        operations: [
          { time: at(1), action: 'CreateNetworkInterface', eniID: 'eni-1', requestID: 'R-1', durationMs: 310 },
        ],
      },
      { intent: { attempt: 1, clientToken: 't', createdAt: at(1), networking: 'web' } },
    );
    const pod = podOf({}, { conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: at(1) }] });
    expect(timelineOf(viewOf({ pod, podEni })).map(({ what }) => what)).toEqual([
      'created',
      'scheduled to node node-1',
      'record written',
      'eth0 planned in vsw-1 of PodNetworking web',
      'CreateNetworkInterface eni-1 in 0.31 s (request R-1)',
    ]);
  });

  test('events with one cause are one entry, whatever their place in line', () => {
    const events = [
      eventOf('NoMemberSlot', 'all slots are in use; place 3 of 3 in line', 2),
      eventOf('NoMemberSlot', 'all slots are in use; place 1 of 3 in line', 9, {
        series: { count: 4, lastObservedTime: at(20) },
      }),
      eventOf('NodeNotReady', 'unknown', 3),
    ];
    const entries = timelineOf(viewOf({ events }));
    expect(entries.map(({ what }) => what)).toEqual([
      'NoMemberSlot (5 times, last 09:59:20): all slots are in use; place 1 of 3 in line',
      'NodeNotReady: unknown',
    ]);
    expect(entries[0]?.time).toBe(at(2));
  });

  test('a failed cloud call is marked as bad, with its error code', () => {
    const podEni = podEniOf({
      operations: [{ time: at(3), action: 'AttachNetworkInterface', code: 'Throttling', requestID: 'R-2' }],
    });
    expect(timelineOf(viewOf({ podEni })).at(-1)).toEqual({
      time: at(3),
      source: 'Cloud',
      bad: true,
      what: 'AttachNetworkInterface: Throttling (request R-2)',
    });
  });

  test('is in order for any times, and leaves out what has none', () => {
    const seconds = fc.array(fc.option(fc.integer({ min: 0, max: 100 }), { nil: undefined }), { maxLength: 10 });
    fc.assert(
      fc.property(seconds, (all) => {
        const operations = all.map((second, n) => ({
          time: second === undefined ? 'never' : at(second),
          action: `A${n}`,
        }));
        const entries = timelineOf(viewOf({ podEni: podEniOf({ operations }, {}, { creationTimestamp: undefined }) }));
        const times = entries.map(({ time }) => Date.parse(time));
        expect(times).toEqual(times.toSorted((a, b) => a - b));
        expect(entries).toHaveLength(all.filter((second) => second !== undefined).length);
      }),
    );
  });
});

describe('the verdict', () => {
  const running = { phase: 'Running', podIP: '10.0.0.1', conditions: [{ type: 'Ready', status: 'True' }] };
  const bound = { phase: 'Bind', ...condition('True', 'Bound', '') };
  const admitted = { annotations: { 'k8s.aliyun.com/pod-eni': 'true' } };
  const web = networkingOf('web', { selector: { podSelector: {} } });

  test.each<[string, Partial<ExplainView>, boolean, RegExp, string?]>([
    ['no such namespace', { namespaceLabels: undefined }, false, /no namespace shop/],
    ['no such pod', {}, false, /no pod shop\/web-0/],
    ['all well', { pod: podOf({}, running), podEni: podEniOf(bound) }, true, /^All is well.*10\.0\.0\.1/],
    ['finished', { pod: podOf({}, { phase: 'Succeeded' }) }, true, /finished \(Succeeded\)/],
    ['the network of the node', { pod: podOf({ hostNetwork: true }, running) }, true, /hostNetwork/],
    ['not scheduled', { pod: podOf({ nodeName: '' }) }, false, /waits for the scheduler/],
    [
      'a record that waits',
      {
        pod: podOf(),
        podEni: podEniOf({ phase: '', ...condition('False', 'TrunkNotReady', 'node node-1 has no trunk ENI yet') }),
      },
      ...([false, /^Node node-1 has no trunk ENI yet\.$/, 'TrunkNotReady'] as const),
    ],
    [
      'the record of an earlier pod',
      { pod: podOf({}, {}, { uid: 'u2' }), podEni: podEniOf(bound) },
      false,
      /an earlier pod/,
    ],
    [
      'attached, but without a sandbox',
      { pod: podOf(), podEni: podEniOf(bound) },
      false,
      /does the agent run on the node\?/,
    ],
    [
      'not picked, and at work',
      { pod: podOf({}, running), networkings: [networkingOf('web')] },
      true,
      /No PodNetworking picks/,
    ],
    ['with an address of a shared ENI', { pod: podOf({}, running), node: nodeOf('u1') }, true, /10\.0\.0\.1 of eni-1/],
    [
      'whose address the cloud has no more',
      { pod: podOf({}, running), node: nodeOf('u1', 'Invalid') },
      ...([false, /10\.0\.0\.1 of the pod is gone from eni-1/, 'AddressUnavailable'] as const),
    ],
    [
      'without an address on a node that is full',
      { pod: podOf(), node: nodeOf('other') },
      ...([false, /no address yet\. It is full\.$/, 'NodeFull'] as const),
    ],
    [
      'told why it has no address',
      { pod: podOf(), node: nodeOf('other'), events: [eventOf('FormerPodNotReleased', 'not yet', 9)] },
      ...([false, /^Not yet\.$/, 'FormerPodNotReleased'] as const),
    ],
    [
      'a PodNetworking that is not Ready',
      { pod: podOf({}, {}, admitted), networkings: [networkingOf('web', { selector: { podSelector: {} } }, false)] },
      false,
      /vsw-1 does not exist/,
      'PodNetworkingNotReady',
    ],
    ['escaped the webhook', { pod: podOf(), networkings: [web] }, false, /webhook has not seen it/, 'EscapedWebhook'],
    ['had a network before', { pod: podOf({}, running), networkings: [web] }, true, /keeps it/],
    ['nobody served it', { pod: podOf({}, {}, admitted), networkings: [web] }, false, /is there a leader/],
    [
      'what the control plane said last',
      {
        pod: podOf({}, {}, admitted),
        networkings: [web],
        events: [
          eventOf('TrunkNotReady', 'no trunk', 9),
          eventOf('NoMemberSlot', 'all in use', 2),
          eventOf('BackOff', 'else', 30),
        ],
      },
      ...([false, /^No trunk\.$/, 'TrunkNotReady'] as const),
    ],
    [
      'not what was said of an earlier pod of the name',
      {
        pod: podOf({}, {}, { ...admitted, uid: 'u2' }),
        networkings: [web],
        events: [eventOf('NoMemberSlot', 'all in use', 2)],
      },
      ...([false, /has not served it yet/] as const),
    ],
    [
      'an address that is kept',
      {
        podEni: podEniOf(
          { phase: 'Unbind', podLastSeen: at(0) },
          { allocationType: { type: 'Fixed', releaseStrategy: 'TTL', releaseAfter: '1h' } },
        ),
      },
      ...([true, /10\.0\.0\.1 is kept until 2026-03-01T10:59:00Z/] as const),
    ],
    [
      'a release that does not go on',
      {
        podEni: podEniOf(
          { phase: 'Deleting', ...condition('False', 'EniNotOurs', 'tags are missing') },
          {},
          { deletionTimestamp: at(3) },
        ),
      },
      ...([false, /stuck: tags are missing/, 'EniNotOurs'] as const),
    ],
  ])('%s', (_, view, well, text, reason) => {
    const verdict = verdictOf(viewOf(view));
    expect(verdict.text).toMatch(text);
    expect(verdict.well).toBe(well);
    expect(verdict.reason).toBe(reason);
    if (reason !== undefined) expect(verdict.cause).toMatch(/\.$/);
  });
});
