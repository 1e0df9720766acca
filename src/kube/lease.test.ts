import { afterEach, beforeEach, expect, test } from 'vitest';
import { applyMergePatch, isRecord } from '../util/json.ts';
import { seededRandom } from '../util/random.ts';
import { machine } from '../util/test-support/machine.ts';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { connectKube, type KubeClient } from './client.ts';
import { type HeldLease, LeaseLostError, type LeaseOutcome, type RunWithLeaseOptions, runWithLease } from './lease.ts';
import { failure, TestApiServer } from './test-support/api-server.ts';
import { pause } from './test-support/wait.ts';

const LEASES = '/apis/coordination.k8s.io/v1/leases';
let server: TestApiServer;
let clock: VirtualClock;
const clients: KubeClient[] = [];
let abort: AbortController;
/** Open requests, and how many of them the server holds back. */
const underWay = new Set<Promise<unknown>>();
let kept = 0;

beforeEach(async () => {
  server = new TestApiServer();
  await server.start();
  clock = new VirtualClock();
  abort = new AbortController();
  underWay.clear();
  kept = 0;
});

afterEach(async () => {
  abort.abort();
  server.intercept = undefined;
  await passTime(20_000);
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

/** Virtual time in small steps; between them every request that the server does not hold back completes. */
async function passTime(ms: number, between: () => void = () => {}): Promise<void> {
  for (let passed = 0; passed < ms; passed += 250) {
    await clock.advance(250);
    await answered();
    between();
  }
}

async function answered(): Promise<void> {
  // A response may trigger another request.
  for (let quiet = 0; quiet < 2; quiet = underWay.size > kept ? 0 : quiet + 1) await pause(1);
}

/** A client that counts its open requests. */
function watched(client: KubeClient): KubeClient {
  return new Proxy(client, {
    get: (target, property) => {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const result: unknown = Reflect.apply(value, target, args);
        if (result instanceof Promise) {
          underWay.add(result);
          const end = () => underWay.delete(result);
          result.then(end, end);
        }
        return result;
      };
    },
  });
}

interface Candidate {
  name: string;
  state: 'waiting' | 'leading' | 'ended';
  outcome: Promise<LeaseOutcome>;
  lease: HeldLease | undefined;
  stop: AbortController;
  holders: string[];
}

function candidate(name: string, options: Partial<RunWithLeaseOptions> = {}): Candidate {
  const client = connectKube(server.configFor(), machine);
  clients.push(client);
  const stop = new AbortController();
  abort.signal.addEventListener('abort', () => stop.abort());
  const self: Candidate = {
    name,
    state: 'waiting',
    outcome: Promise.resolve('stopped'),
    lease: undefined,
    stop,
    holders: [],
  };
  self.outcome = runWithLease({
    client: watched(client),
    namespace: 'kube-system',
    name: 'controlplane',
    identity: name,
    clock,
    random: seededRandom(name.length),
    signal: stop.signal,
    onHolder: (holder) => self.holders.push(holder),
    onLead: async (signal, lease) => {
      self.state = 'leading';
      self.lease = lease;
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      self.state = 'ended';
    },
    ...options,
  });
  return self;
}

function holder(): unknown {
  const spec = server.read(LEASES, 'kube-system', 'controlplane')?.['spec'];
  return typeof spec === 'object' && spec !== null && 'holderIdentity' in spec ? spec.holderIdentity : undefined;
}

/** Fails every request of one candidate, before or after it took effect. */
function cutOff(name: string): void {
  server.intercept = ({ body }) =>
    JSON.stringify(body ?? '').includes(`"${name}"`) ? failure(503, 'ServiceUnavailable', 'cut off') : undefined;
}

test('one candidate leads and keeps the lease while the other waits', async () => {
  const one = candidate('one');
  await passTime(500);
  const two = candidate('second');
  await passTime(40_000, () => expect([one.state, two.state]).toEqual(['leading', 'waiting']));
  expect(holder()).toBe('one');
  expect(two.holders).toEqual(['one']);
});

test('a clean stop hands over within seconds, after the work has ended', async () => {
  let isWorking = false;
  const one = candidate('one', {
    onLead: async (signal) => {
      isWorking = true;
      await clock.sleep(1_000_000, signal).catch(() => {});
      // Stopping takes longer than the lease lasts without renewal.
      await clock.sleep(20_000);
      isWorking = false;
    },
  });
  await passTime(500);
  const two = candidate('second');
  await passTime(3000);
  one.stop.abort();
  await passTime(19_000, () => expect(two.state).toBe('waiting'));
  expect(isWorking).toBe(true);
  await passTime(6000);
  expect(await one.outcome).toBe('stopped');
  expect(two.state).toBe('leading');
  const spec = server.read(LEASES, 'kube-system', 'controlplane')?.['spec'];
  expect(spec).toMatchObject({ holderIdentity: 'second', leaseTransitions: 1 });
});

test('a leader that cannot renew ends strictly before another begins', async () => {
  const one = candidate('one');
  await passTime(500);
  const two = candidate('second');
  await passTime(5000);
  cutOff('one');
  let gapMs = 0;
  await passTime(25_000, () => {
    expect([one.state, two.state]).not.toEqual(['leading', 'leading']);
    if (one.state === 'ended' && two.state === 'waiting') gapMs += 250;
  });
  expect(await one.outcome).toBe('lost');
  expect(two.state).toBe('leading');
  expect(gapMs).toBeGreaterThan(3000);
});

test('requests that hang do not delay the end of leadership', async () => {
  const one = candidate('one');
  await passTime(5000);
  const renewedMs = clock.monotonicMs();
  server.intercept = () => {
    kept += 1;
    return 'handled';
  };
  await passTime(10_500);
  expect(one.state).toBe('ended');
  expect(clock.monotonicMs() - renewedMs).toBeLessThanOrEqual(10_500);
  expect(await one.outcome).toBe('lost');
});

test('leadership is counted from when the renewal was sent, not from when it was answered', async () => {
  const one = candidate('one');
  await passTime(1000);
  let answer: (() => void) | undefined;
  server.intercept = ({ method, body }, stream) => {
    if (method !== 'PATCH' || answer !== undefined) return undefined;
    const renewed = applyMergePatch(server.read(LEASES, 'kube-system', 'controlplane'), body);
    const stored = server.put(LEASES, 'kube-system', 'controlplane', isRecord(renewed) ? renewed : {});
    kept += 1;
    answer = () => {
      stream.respond({ ':status': 200 });
      stream.end(JSON.stringify(stored));
    };
    return 'handled';
  };
  for (let i = 0; i < 20 && answer === undefined; i++) await passTime(250);
  clock.freeze(5000);
  answer?.();
  await pause(50);
  clock.freeze(4900);
  one.lease?.assertHeld();
  clock.freeze(200);
  expect(() => one.lease?.assertHeld()).toThrow(LeaseLostError);
  await passTime(250);
  expect(await one.outcome).toBe('lost');
});

test('after the process was suspended, the lease counts as lost before any timer fires', async () => {
  const one = candidate('one');
  await passTime(1000);
  one.lease?.assertHeld();
  clock.freeze(20_000);
  expect(one.state).toBe('leading');
  expect(() => one.lease?.assertHeld()).toThrow(LeaseLostError);
  await passTime(250);
  expect(await one.outcome).toBe('lost');
});

test('a lease taken over by force is noticed at the next renewal', async () => {
  const one = candidate('one');
  await passTime(1000);
  server.put(LEASES, 'kube-system', 'controlplane', { spec: { holderIdentity: 'thief', leaseDurationSeconds: 15 } });
  await passTime(2500);
  expect(await one.outcome).toBe('lost');
  expect(holder()).toBe('thief');
});

test('a change by someone else that keeps us as the holder does not end leadership', async () => {
  const one = candidate('one');
  await passTime(1000);
  const stored = server.read(LEASES, 'kube-system', 'controlplane');
  server.put(LEASES, 'kube-system', 'controlplane', {
    ...stored,
    metadata: { ...stored?.metadata, labels: { x: 'y' } },
  });
  await passTime(20_000, () => expect(one.state).toBe('leading'));
  expect(server.read(LEASES, 'kube-system', 'controlplane')?.metadata.labels).toEqual({ x: 'y' });
});

test('the clock of the previous holder does not matter', async () => {
  const renewTime = '2036-01-01T00:00:00.000000Z';
  const spec = { holderIdentity: 'gone', leaseDurationSeconds: 15, renewTime, leaseTransitions: 4 };
  server.put(LEASES, 'kube-system', 'controlplane', { spec });
  const one = candidate('one');
  await passTime(14_000, () => expect(one.state).toBe('waiting'));
  await passTime(6000);
  expect(one.state).toBe('leading');
  expect(server.read(LEASES, 'kube-system', 'controlplane')?.['spec']).toMatchObject({ leaseTransitions: 5 });
});

test('when the work finishes or fails, the lease is released', async () => {
  const one = candidate('one', { onLead: () => Promise.resolve() });
  await passTime(500);
  expect(await one.outcome).toBe('finished');
  expect(holder()).toBe('');
  const two = candidate('second', { onLead: () => Promise.reject(new Error('broken')) });
  two.outcome.catch(() => {});
  await passTime(500);
  await expect(two.outcome).rejects.toThrow('broken');
  expect(holder()).toBe('');
});
