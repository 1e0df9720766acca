import { beforeEach, describe, expect, test } from 'vitest';
import { KubeClient } from '../../src/kube/client.ts';
import { KubeApiError, TransportError } from '../../src/kube/errors.ts';
import { Informer } from '../../src/kube/informer.ts';
import type { HasMetadata, Resource } from '../../src/kube/types.ts';
import { seededRandom } from '../../src/util/random.ts';
import { VirtualClock } from '../../src/util/test-support/virtual-clock.ts';
import type { ApiCall, EventFault, FaultPlan, RequestFault, WatchedEvent, WatchFault } from './faults.ts';
import { KubeModel } from './model/model.ts';
import { SimulatedTransport } from './transport.ts';

interface ConfigMap extends HasMetadata {
  data?: Record<string, string>;
}

const configMaps: Resource<ConfigMap> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};
const target = { resource: 'configmaps', namespace: 'default' };
const key = (name: string) => ({ namespace: 'default', name });

/** The next fault of each kind, and what was asked. */
class Script implements FaultPlan {
  request: RequestFault | undefined;
  watch: WatchFault | undefined;
  event: EventFault | undefined;
  readonly asked: ApiCall[] = [];
  readonly events: WatchedEvent[] = [];

  onRequest(call: ApiCall): RequestFault | undefined {
    this.asked.push(call);
    const fault = this.request;
    this.request = undefined;
    return fault;
  }

  onWatch(call: ApiCall): WatchFault | undefined {
    this.asked.push(call);
    const fault = this.watch;
    this.watch = undefined;
    return fault;
  }

  onEvent(_call: ApiCall, event: WatchedEvent): EventFault | undefined {
    this.events.push(event);
    const fault = this.event;
    this.event = undefined;
    return fault;
  }
}

let clock: VirtualClock;
let model: KubeModel;
let script: Script;
let transport: SimulatedTransport;
let client: KubeClient;

beforeEach(() => {
  clock = new VirtualClock();
  model = new KubeModel({ startMs: clock.now() });
  script = new Script();
  transport = new SimulatedTransport({ model, clock, replica: 'a', faults: script, requestTimeoutMs: 1000 });
  client = new KubeClient({ transport, clock, random: seededRandom(1) });
});

const caller = () => ({ actor: 'user', nowMs: clock.now() });
const write = (name: string) => model.create(target, { metadata: { name } }, caller());

/** What came of a call, and after how long. */
async function outcome<T>(call: Promise<T>): Promise<{ value?: T; error?: unknown; afterMs: number }> {
  const startMs = clock.monotonicMs();
  let result: { value?: T; error?: unknown; afterMs: number } | undefined;
  const passedMs = () => clock.monotonicMs() - startMs;
  const settled = call.then(
    (value) => {
      result = { value, afterMs: passedMs() };
    },
    (error: unknown) => {
      result = { error, afterMs: passedMs() };
    },
  );
  while (result === undefined) await clock.advance(1);
  await settled;
  return result;
}

describe('a request', () => {
  const create = () => client.create(configMaps, { metadata: key('x') }, { maxTries: 1, timeoutMs: 5000 });
  const isThere = () => model.peek('configmaps', key('x')) !== undefined;

  test('is asked about with verb, resource and key', async () => {
    await outcome(create());
    await outcome(client.patch(configMaps, key('x'), { type: 'merge', body: { data: { a: '1' } } }));
    await outcome(client.list(configMaps, { namespace: 'default' }));
    const base = { replica: 'a', resource: 'configmaps', subresource: '' };
    expect(script.asked).toEqual([
      { ...base, verb: 'create', key: 'default' },
      { ...base, verb: 'patch', key: 'default/x' },
      { ...base, verb: 'list', key: 'default' },
    ]);
  });

  test.each([
    [{ kind: 'not-sent', failure: 'connect' }, false, { failure: 'connect', sent: false }, 1],
    [{ kind: 'not-sent', failure: 'refused' }, false, { failure: 'refused', sent: false }, 1],
    [{ kind: 'lost-request', failure: 'broken' }, false, { failure: 'broken', sent: true }, 1],
    [{ kind: 'lost-request', failure: 'timeout' }, false, { failure: 'timeout', sent: true }, 5000],
    [{ kind: 'lost-answer', failure: 'broken' }, true, { failure: 'broken', sent: true }, 2],
    [{ kind: 'lost-answer', failure: 'timeout' }, true, { failure: 'timeout', sent: true }, 5000],
  ] as const)('that suffers %j is carried out: %s', async (fault, isDone, error, afterMs) => {
    script.request = fault;
    const got = await outcome(create());
    expect(got.error).toBeInstanceOf(TransportError);
    expect(got).toMatchObject({ error, afterMs });
    expect(isThere()).toBe(isDone);
    expect(transport.faultCounts).toEqual({ [`${fault.kind}/${fault.failure}`]: 1 });
  });

  test('that is refused is not carried out', async () => {
    script.request = { kind: 'refused', status: 429, retryAfterSeconds: 7 };
    const { error } = await outcome(create());
    expect(error).toBeInstanceOf(KubeApiError);
    expect(error).toMatchObject({ code: 429, reason: 'TooManyRequests', retryAfterMs: 7000 });
    expect(isThere()).toBe(false);
  });

  test('that arrives twice is carried out twice', async () => {
    script.request = { kind: 'doubled' };
    expect((await outcome(create())).error).toMatchObject({ reason: 'AlreadyExists' });
    expect(isThere()).toBe(true);
  });

  test('that is slow arrives late, or is answered late', async () => {
    script.request = { kind: 'slow', requestMs: 100, answerMs: 200 };
    const slow = outcome(create());
    await clock.advance(100);
    expect(isThere()).toBe(false);
    await clock.advance(1);
    expect(isThere()).toBe(true);
    expect(await slow).toMatchObject({ afterMs: 302 });
  });

  test('whose caller gave up is carried out all the same', async () => {
    const abort = new AbortController();
    const given = client.create(configMaps, { metadata: key('x') }, { signal: abort.signal });
    abort.abort(new Error('given up'));
    await expect(given).rejects.toThrow('given up');
    await clock.advance(10);
    expect(isThere()).toBe(true);
  });

  test('fails with the closing of the transport', async () => {
    const running = client.get(configMaps, key('x'), { maxTries: 1 });
    client.close();
    await expect(running).rejects.toMatchObject({ failure: 'closed' });
    await expect(client.get(configMaps, key('x'), { maxTries: 1 })).rejects.toMatchObject({ failure: 'closed' });
    expect(clock.pendingCalls).toBeLessThanOrEqual(1);
  });
});

describe('a watch', () => {
  let seen: string[];
  let abort: AbortController;
  let ended: { error?: unknown } | undefined;

  async function open(timeoutSeconds = 3600): Promise<void> {
    seen = [];
    ended = undefined;
    abort = new AbortController();
    const options = { sendInitialEvents: true, signal: abort.signal, timeoutSeconds };
    const { value, error } = await outcome(client.watch(configMaps, options));
    if (value === undefined) throw error;
    const follow = async () => {
      for await (const event of value) {
        seen.push(event.type === 'BOOKMARK' ? 'BOOKMARK' : `${event.type} ${event.object.metadata.name}`);
      }
    };
    follow().then(
      () => {
        ended = {};
      },
      (failure: unknown) => {
        ended = { error: failure };
      },
    );
    await clock.advance(5);
  }

  test('says what each line is about', async () => {
    write('a');
    await open();
    write('b');
    await clock.advance(5);
    expect(script.events.map(({ type, key: of }) => `${type} ${of}`)).toEqual([
      'ADDED default/a',
      'BOOKMARK ',
      'ADDED default/b',
    ]);
    expect(seen).toEqual(['ADDED a', 'BOOKMARK', 'ADDED b']);
  });

  test('that is silent stays open and brings nothing', async () => {
    script.watch = { kind: 'silent' };
    await open(300);
    write('a');
    await clock.advance(600_000);
    expect([seen, ended]).toEqual([[], undefined]);
  });

  test('that is expired is refused with 410', async () => {
    script.watch = { kind: 'expired', as: 'answer' };
    await expect(open()).rejects.toMatchObject({ code: 410, reason: 'Expired' });
    script.watch = { kind: 'expired', as: 'event' };
    await open();
    expect(ended?.error).toMatchObject({ code: 410, reason: 'Expired' });
    expect(transport.faultCounts).toEqual({ 'expired/answer': 1, 'expired/event': 1 });
  });

  test('that is late brings its lines in order', async () => {
    await open();
    script.event = { kind: 'late', ms: 120_000 };
    write('a');
    write('b');
    await clock.advance(100_000);
    // The bookmark that came due in between waits its turn, too.
    expect(seen).toEqual(['BOOKMARK']);
    await clock.advance(25_000);
    expect(seen.slice(0, 4)).toEqual(['BOOKMARK', 'ADDED a', 'ADDED b', 'BOOKMARK']);
  });

  test('that freezes brings nothing more, not even its end', async () => {
    await open(300);
    script.event = { kind: 'frozen' };
    write('a');
    await clock.advance(600_000);
    expect([seen, ended]).toEqual([['BOOKMARK'], undefined]);
    abort.abort(new Error('enough'));
    await clock.advance(1);
    expect(ended?.error).toMatchObject({ message: 'enough' });
  });

  test.each([
    ['broken', { failure: 'broken' }],
    ['expired', { code: 410 }],
  ] as const)('that is %s in the middle ends with an error', async (kind, error) => {
    await open();
    script.event = { kind };
    write('a');
    await clock.advance(5);
    expect([seen, ended]).toMatchObject([['BOOKMARK'], { error }]);
    expect(transport.watches).toEqual([]);
  });

  test('that is ended by the server ends in good order', async () => {
    await open();
    script.event = { kind: 'ended' };
    write('a');
    await clock.advance(5);
    expect([seen, ended]).toEqual([['BOOKMARK'], {}]);
  });

  test('brings lines twice, or not at all', async () => {
    await open();
    script.event = { kind: 'doubled' };
    write('a');
    script.event = { kind: 'missed' };
    write('b');
    write('c');
    await clock.advance(5);
    expect(seen).toEqual(['BOOKMARK', 'ADDED a', 'ADDED a', 'ADDED c']);
  });

  test('is broken by hand', async () => {
    await open();
    for (const watch of transport.watches) watch.break();
    await clock.advance(5);
    expect(ended?.error).toMatchObject({ failure: 'broken', sent: true });
  });

  test('whose reader is too slow is ended by the server', async () => {
    const slow = new SimulatedTransport({ model, clock, replica: 'a', maxBufferedEvents: 10 });
    const opening = slow.openStream({ method: 'GET', path: '/api/v1/configmaps?watch=true' });
    await clock.advance(5);
    const stream = await opening;
    for (let i = 0; i < 20; i++) write(`c-${i}`);
    await clock.advance(5);
    if (stream.state === 'refused') throw new Error(stream.body);
    let text = '';
    for await (const chunk of stream.chunks) text += chunk;
    expect(text.trim().split('\n')).toHaveLength(11);
    expect(slow.faultCounts).toEqual({ overflow: 1 });
  });

  test('begins with more than a slow reader may leave waiting', async () => {
    for (let i = 0; i < 2000; i++) write(`c-${i}`);
    const slow = new SimulatedTransport({ model, clock, replica: 'a', maxBufferedEvents: 10 });
    const opening = slow.openStream({ method: 'GET', path: '/api/v1/configmaps?watch=true&timeoutSeconds=60' });
    await clock.advance(5);
    const stream = await opening;
    for (let i = 0; i < 5; i++) write(`late-${i}`);
    await clock.advance(60_000);
    if (stream.state === 'refused') throw new Error(stream.body);
    let text = '';
    for await (const chunk of stream.chunks) text += chunk;
    expect(text.trim().split('\n')).toHaveLength(2005);
    expect(slow.faultCounts).toEqual({});
  });

  test.each([
    ['whose client went away before it opened', undefined],
    ['whose opening is lost', { kind: 'lost-answer', failure: 'broken' }],
    ['whose opening is lost without a word', { kind: 'lost-answer', failure: 'timeout' }],
  ] as const)('%s is closed on the server', async (_title, fault) => {
    script.watch = fault;
    const signal = new AbortController();
    const opening = client.watch(configMaps, { resourceVersion: '0', signal: signal.signal });
    if (fault === undefined) signal.abort(new Error('gone'));
    expect((await outcome(opening)).error).toBeDefined();
    await clock.advance(10);
    expect(transport.watches).toEqual([]);
    expect(clock.pendingCalls).toBe(0);
  });

  test('leaves nothing behind', async () => {
    await open();
    abort.abort(new Error('enough'));
    await clock.advance(1);
    expect(transport.watches).toEqual([]);
    expect(clock.pendingCalls).toBe(0);
  });
});

test('an informer ends up with what the server has, through faults of every kind', async () => {
  const kinds: EventFault['kind'][] = ['broken', 'expired', 'ended', 'doubled', 'frozen', 'late'];
  const random = seededRandom(7);
  let events = 0;
  const plan: FaultPlan = {
    onRequest: () => (random.next() < 0.1 ? { kind: 'refused', status: 500 } : undefined),
    onWatch: () => (random.next() < 0.2 ? { kind: 'expired', as: 'event' } : undefined),
    onEvent: () => {
      events += 1;
      const kind = kinds[Math.floor(events / 20) % kinds.length] ?? 'broken';
      if (events % 20 !== 0) return undefined;
      return kind === 'late' ? { kind, ms: 30_000 } : { kind };
    },
  };
  const faulty = new SimulatedTransport({ model, clock, replica: 'a', faults: plan });
  const through = new KubeClient({ transport: faulty, clock, random: seededRandom(2) });
  const informer = new Informer({ client: through, resource: configMaps, clock, random: seededRandom(3) });
  const abort = new AbortController();
  const running = informer.run(abort.signal);
  try {
    for (let i = 0; i < 400; i++) {
      write(`c-${i}`);
      if (i >= 10) model.delete({ ...target, name: `c-${i - 10}`, subresource: '' }, {}, caller());
      await clock.advance(2000);
    }
    for (const kind of kinds) expect(faulty.faultCounts).toHaveProperty(`event/${kind}`);
    // The plan goes on; a store that caught up stays equal, since nothing changes any more.
    await clock.advance(3_600_000);
    const expected = model.objects('configmaps').map(({ metadata }) => `default/${metadata.name}`);
    expect(informer.store.keys().sort()).toEqual(expected.sort());
  } finally {
    abort.abort();
    await running;
  }
});
