import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CallClass } from '../../cloud/call-line.ts';
import { CloudError } from '../../cloud/errors.ts';
import type { DescribedEnis, EniFilter } from '../../cloud/port.ts';
import { type CallLeave, QuotaScheduler } from '../../cloud/quota.ts';
import { eniOf, MemoryCloud } from '../../cloud/test-support/memory-cloud.ts';
import { TAG_ATTEMPT, TAG_CLUSTER } from '../../crds/names.ts';
import type { Eni } from '../../ecs/eni.ts';
import { VirtualClock } from '../../util/test-support/virtual-clock.ts';
import { type EniQuestion, EniSearch } from './eni-search.ts';

const API = 'DescribeNetworkInterfaces';
const CLUSTER = 'c-1';
const ANSWER_MS = 100;

/** ENIs of one VPC. Consumes the turns that it is given, and one more turn per further page. */
class ListedCloud extends MemoryCloud {
  enis: Eni[] = [];
  pages = 1;
  readonly filters: EniFilter[] = [];
  requests = 0;

  override async describeEnis(
    filter: EniFilter,
    leave: CallLeave,
    keep: (eni: Eni) => boolean = () => true,
  ): Promise<DescribedEnis> {
    this.filters.push(filter);
    const sentAtMs = clock.now();
    const enis = this.enis.filter((eni) => fits(eni, filter) && keep(eni));
    const requests = filter.vpcId === undefined ? 1 : this.pages;
    this.requests += requests;
    await clock.sleep(ANSWER_MS * requests, leave.signal);
    const failure = this.failures.shift();
    if ('turn' in leave) leave.turn.end(failure === undefined ? 'accepted' : 'unknown');
    if (failure !== undefined) throw failure;
    return { enis, sentAtMs, requests };
  }
}

let clock: VirtualClock;
let cloud: ListedCloud;
let quota: QuotaScheduler;
let term: AbortController;
let search: EniSearch;

beforeEach(() => {
  clock = new VirtualClock();
  cloud = new ListedCloud(clock);
  quota = new QuotaScheduler({ clock, limits: { [API]: 800 } });
  term = new AbortController();
  search = new EniSearch({ cloud, quota, clock, clusterId: CLUSTER, vpcId: 'vpc-1', signal: term.signal });
});

afterEach(async () => {
  term.abort(new Error('over'));
  await clock.advance(60_000);
  expect(clock.pendingCalls).toBe(0);
});

function fits(eni: Eni, { vpcId, instanceId, type, tags = {} }: EniFilter): boolean {
  return (
    (vpcId === undefined || eni.vpcId === vpcId) &&
    (instanceId === undefined || eni.instanceId === instanceId) &&
    (type === undefined || eni.type === type) &&
    Object.entries(tags).every(([key, value]) => eni.tags[key] === value)
  );
}

const created = (attempt: string, cluster = CLUSTER) =>
  eniOf(`eni-${cluster}-${attempt}`, { tags: { [TAG_CLUSTER]: cluster, [TAG_ATTEMPT]: attempt } });

/** Asks, and returns the ids found or the error. */
function ask(question: EniQuestion, callClass: CallClass = 'release') {
  const asked: { ids?: string[]; sentAtMs?: number; error?: unknown } = {};
  void search.ask(question, { signal: term.signal, callClass }).then(
    ({ enis, sentAtMs }) => Object.assign(asked, { ids: enis.map(({ id }) => id), sentAtMs }),
    (error: unknown) => Object.assign(asked, { error }),
  );
  return asked;
}

const attempts = (count: number) => Array.from({ length: count }, (_, at) => ({ attempt: `t-${at}` }));

/** Asks a batch that is answered by a listing, after which the number of pages is known. */
async function learnPages(pages: number): Promise<void> {
  cloud.pages = pages;
  for (const question of attempts(10)) ask(question);
  await clock.advance(30_000);
  expect(cloud.filters).toEqual([{ vpcId: 'vpc-1' }]);
  Object.assign(cloud, { requests: 0 });
  cloud.filters.length = 0;
}

test('a single question gets its own request', async () => {
  cloud.enis = [created('t-0')];
  const found = ask({ attempt: 't-0' });
  await clock.advance(1000);
  expect(found.ids).toEqual(['eni-c-1-t-0']);
  expect(cloud.filters).toEqual([{ tags: { [TAG_CLUSTER]: CLUSTER, [TAG_ATTEMPT]: 't-0' } }]);
});

test('one listing answers a batch, each question with its own result', async () => {
  const trunk = eniOf('eni-trunk', { type: 'Trunk', instanceId: 'i-1' });
  const others = [created('t-1', 'c-2'), eniOf('eni-x', { instanceId: 'i-1' }), eniOf('eni-y', { type: 'Trunk' })];
  cloud.enis = [trunk, created('t-0'), ...others];
  const asked = [{ trunkOf: 'i-1' }, { trunkOf: 'i-2' }, ...attempts(20)].map((question) => ask(question));
  await clock.advance(1000);
  expect(cloud.filters).toEqual([{ vpcId: 'vpc-1' }]);
  expect(asked.slice(0, 4).map(({ ids }) => ids)).toEqual([['eni-trunk'], [], ['eni-c-1-t-0'], []]);
  expect(asked.every(({ ids }) => ids !== undefined)).toBe(true);
});

test('no listing is made when it has more pages than there are questions', async () => {
  await learnPages(20);
  const asked = attempts(8).map((question) => ask(question));
  await clock.advance(10_000);
  expect(cloud.filters).toHaveLength(8);
  expect(cloud.filters.every(({ vpcId }) => vpcId === undefined)).toBe(true);
  expect(asked.every(({ ids }) => ids !== undefined)).toBe(true);
});

test('a listing does not answer a question that arrived after it was sent', async () => {
  for (const question of attempts(10)) ask(question);
  await clock.advance(300);
  expect(cloud.filters).toHaveLength(1);
  cloud.enis = [created('late')];
  const askedMs = clock.now();
  const late = ask({ attempt: 'late' });
  await clock.advance(2000);
  expect(late.ids).toEqual(['eni-c-1-late']);
  expect(late.sentAtMs).toBeGreaterThan(askedMs);
});

test('a seat that is given back costs nothing', async () => {
  const seats = Array.from({ length: 10 }, () => search.seat({ callClass: 'release' }, term.signal));
  for (const seat of seats) void seat.then((had) => had.giveBack());
  await clock.advance(1000);
  expect(cloud.filters).toEqual([]);
  expect(quota.status(API)).toMatchObject({ usedThisMinute: 0, waiting: 0 });
});

test('a withdrawn question costs nothing, and those behind it are asked', async () => {
  const abort = new AbortController();
  const withdrawn = search.seat({ callClass: 'pod' }, abort.signal);
  withdrawn.catch(() => undefined);
  const stays = ask({ attempt: 't-0' });
  abort.abort(new Error('withdrawn'));
  await expect(withdrawn).rejects.toThrow('withdrawn');
  await clock.advance(1000);
  expect(stays.ids).toEqual([]);
  expect(cloud.filters).toHaveLength(1);
});

test('a request is as urgent as its most urgent waiter', async () => {
  quota.setLimits({ limits: { [API]: 1 }, share: 1 });
  (await quota.turn({ api: API, callClass: 'audit' }, term.signal)).end('accepted');
  for (const question of attempts(10)) ask(question, 'audit');
  await clock.advance(1000);
  expect(quota.status(API).waitingByClass).toMatchObject({ audit: 1, pod: 0 });
  ask({ trunkOf: 'i-1' }, 'pod');
  await clock.advance(1000);
  expect(quota.status(API).waitingByClass).toMatchObject({ audit: 0, pod: 1 });
});

test('searches leave most of the quota to others, however many there are', async () => {
  await learnPages(400);
  await clock.advance(600_000);
  for (let second = 0; second < 60; second += 1) {
    for (let at = 0; at < 20; at += 1) ask({ attempt: `t-${second}-${at}` });
    await clock.advance(1000);
  }
  expect(cloud.requests).toBeGreaterThan(100);
  // One listing may exceed the share; later requests then wait until it is paid off.
  expect(cloud.requests).toBeLessThanOrEqual(200 + 8 + 400);
});

test('a throttled question is asked again', async () => {
  const throttled = new CloudError({ kind: 'throttled', action: API, code: 'Throttling', message: 'slow down' });
  cloud.failures.push(throttled, throttled);
  const asked = attempts(10).map((question) => ask(question));
  await clock.advance(10_000);
  expect(asked.every(({ ids }) => ids !== undefined)).toBe(true);
  expect(cloud.filters).toHaveLength(3);
});

test('a failed listing fails for everyone who asked and for nobody else', async () => {
  cloud.failures.push(new Error('down'));
  const asked = attempts(10).map((question) => ask(question));
  await clock.advance(300);
  const later = ask({ attempt: 'later' });
  await clock.advance(5000);
  expect(asked.every(({ error }) => error instanceof Error && error.message === 'down')).toBe(true);
  expect(later.ids).toEqual([]);
});

test('the end of the term ends every wait', async () => {
  const asked = attempts(10).map((question) => ask(question));
  await clock.advance(300);
  const waiting = ask({ attempt: 'waits' });
  term.abort(new Error('lease lost'));
  await clock.advance(1);
  for (const { error } of [...asked, waiting]) expect(error).toMatchObject({ message: 'lease lost' });
  await expect(search.seat({ callClass: 'pod' }, new AbortController().signal)).rejects.toThrow('lease lost');
});
