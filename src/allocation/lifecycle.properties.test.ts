import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AllocationWorld, type Ending } from '../../test/allocation/world.ts';
import { isFixed } from './retention.ts';

/**
 * Random histories of a small cluster: crashes that lose all memory, calls whose responses are lost, lagging describes,
 * pods that come and go on other nodes, a lagging watch, and manual changes in the cloud. The invariants are checked
 * after every step, and after the faults stop everything must settle.
 */

/** More pods than one node has slots and than the first vSwitch has addresses. */
const names = ['fixed-0', 'fixed-1', 'elastic-0', 'elastic-1', 'elastic-2'];
const name = fc.constantFrom(...names);
const ending = fc.constantFrom<Ending>('ok', 'ok', 'ok', 'answerLost', 'neverArrived', 'throttled');
const lagMs = fc.oneof(fc.constant(0), fc.nat(2500));

const action = fc.oneof(
  { weight: 12, arbitrary: fc.record({ do: fc.constant('reconcile'), name }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('endCall'), name, ending }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('answer'), lagMs }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('pass'), ms: fc.oneof(fc.nat(800), fc.nat(8000)) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('sync') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('podComes'), name, node: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('podGoes'), name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('crash'), arrive: fc.boolean(), lateMs: fc.nat(2000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('byHand'), pick: fc.nat(9), remove: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drift'), pick: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('edit'), others: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('rollOut'), name }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('userDeletes'), name }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('nodeWorks'), name }) },
  // An agent appears, or stops for good.
  { weight: 1, arbitrary: fc.record({ do: fc.constant('agent'), node: fc.constantFrom('node-1', 'node-2') }) },
  // Undisturbed rounds of the control plane, so that histories make progress.
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('work'), rounds: fc.integer({ min: 1, max: 8 }), nodes: fc.boolean() }),
  },
);
type Action = typeof action extends fc.Arbitrary<infer A> ? A : never;

function take(world: AllocationWorld, next: Action): void {
  switch (next.do) {
    case 'reconcile':
      world.reconcile(next.name);
      break;
    case 'endCall':
      world.endCall(next.name, next.ending);
      break;
    case 'answer':
      world.findLagMs = next.lagMs;
      world.answerQuestions(next.lagMs);
      break;
    case 'pass':
      world.pass(next.ms);
      break;
    case 'sync':
      world.syncPods();
      break;
    case 'podComes':
      world.podComes(next.name, next.node);
      break;
    case 'podGoes':
      world.podGoes(next.name);
      break;
    case 'crash':
      world.crash(next.arrive, next.lateMs);
      break;
    case 'byHand':
      world.cloud.byHand(next.pick, next.remove);
      break;
    case 'drift':
      world.cloud.driftByHand(next.pick);
      break;
    case 'edit':
      world.editSecurityGroups(next.others);
      break;
    case 'rollOut':
      world.rollOut(next.name);
      break;
    case 'userDeletes':
      world.userDeletesRecord(next.name);
      break;
    case 'nodeWorks':
      world.nodeWorks(next.name);
      break;
    case 'agent':
      if (!world.agents.delete(next.node)) world.agents.add(next.node);
      break;
    case 'work':
      for (let round = 0; round < next.rounds; round++) work(world, 300, next.nodes);
      break;
  }
}

/** One round without faults; without `nodes` the kubelets are idle. @returns the step of each name. */
function work(world: AllocationWorld, ms: number, nodes = true): string[] {
  world.syncPods();
  world.findLagMs = 0;
  const done = names.map((each) => {
    const did = world.reconcile(each);
    world.endCall(each, 'ok');
    if (nodes) world.nodeWorks(each);
    return did;
  });
  world.pass(ms);
  world.answerQuestions(0);
  return done;
}

/** A round is a second. Retries are at most a minute apart, and at most three waits follow one another. */
const SETTLE_ROUNDS = 240;
const isQuiet = (done: string[]) => done.every((did) => /^(nothing|wait )/.test(did));

/** Rounds without faults until nothing happens any more. */
function settle(world: AllocationWorld): string[] {
  let done: string[] = [];
  for (let round = 0; round < SETTLE_ROUNDS; round++) {
    const wasQuiet = isQuiet(done) && names.filter((each) => world.rollOut(each)).length === 0;
    if (wasQuiet || round === 0) collect(world);
    done = work(world, 1000);
    if (wasQuiet && isQuiet(done)) return done;
    for (const [at, did] of done.entries()) {
      const each = names[at] ?? '';
      // Only a person can fix this, as the message says: with another pod or another record.
      if (did !== 'EniLost') continue;
      world.podGoes(each);
      world.userDeletesRecord(each);
    }
  }
  throw new Error(`not settled after ${SETTLE_ROUNDS} s: ${names.map((each, at) => `${each} ${done[at]}`).join(', ')}`);
}

/** Compares what is recorded with the cloud, as the collector does once a minute. */
function collect(world: AllocationWorld): void {
  for (const { spec } of world.records.values()) {
    for (const { eni } of spec.allocations ?? []) if (eni.id !== '') world.observe(eni.id);
  }
}

function sorted(ids: readonly string[] | undefined): string[] {
  return [...(ids ?? [])].sort();
}

function membersOf(world: AllocationWorld, nodeName: string): number {
  const trunk = world.cloud.nodes.find((node) => node.nodeName === nodeName)?.trunkEniId;
  return world.cloud.model.enis().filter((eni) => eni.attachment?.trunk?.eniId === trunk).length;
}

function expectSettled(world: AllocationWorld, done: string[]): void {
  for (const [at, each] of names.entries()) {
    const pod = world.pods.get(each);
    const record = world.records.get(each);
    const [allocation] = record?.spec.allocations ?? [];
    const eni = world.cloud.model.eni(allocation?.eni.id ?? '');
    if (pod?.state === 'live') {
      if (record === undefined || record.status?.phase === 'Unbind') {
        // Its node has no free slot, for a new pod or a returning one.
        expect(done[at], each).toBe('wait NoMemberSlot');
        expect(membersOf(world, pod.nodeName), each).toBe(3);
      } else {
        expect(record.status?.phase, `${each}: ${done[at]}`).toBe('Bind');
        expect(eni, each).toMatchObject({
          status: 'InUse',
          attachment: {
            instanceId: record.status?.instanceID,
            trunk: { eniId: record.status?.trunkENIID, vlanId: record.status?.eniInfos?.[eni?.id ?? '']?.vid },
          },
        });
        expect(record.spec.target?.nodeName, each).toBe(pod.nodeName);
        // I8: record, cloud and PodNetworking agree after every edit and drift.
        expect(sorted(eni?.securityGroupIds), each).toEqual(sorted(allocation?.eni.securityGroupIDs));
        expect(sorted(allocation?.eni.securityGroupIDs), each).toEqual(sorted(world.securityGroupsOf(each)));
        expect(record.status?.observedGeneration, each).toBe(record.metadata.generation);
      }
    } else if (record !== undefined) {
      expect(isFixed(record), `${each}: ${done[at]}`).toBe(true);
      expect(record.status?.phase, `${each}: ${done[at]}`).toBe('Unbind');
      expect(eni?.attachment, each).toBeUndefined();
    }
  }
}

test('whatever happens, the invariants hold at every step, and everything settles when the faults stop', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 120, size: 'max' }), (history) => {
      const world = new AllocationWorld();
      world.agents.add('node-1');
      for (const next of history) {
        take(world, next);
        expect(world.violations).toEqual([]);
      }
      expectSettled(world, settle(world));
      expect(world.violations).toEqual([]);

      // L2: a second look at a settled system does nothing, including the cloud.
      const before = JSON.stringify([...world.records]);
      const calls = world.cloud.model.counters().calls;
      for (const { spec } of world.records.values())
        for (const { eni } of spec.allocations ?? []) world.observe(eni.id);
      for (const did of [...work(world, 0), ...work(world, 0)]) expect(did).toMatch(/^(nothing|wait )/);
      expect(JSON.stringify([...world.records])).toBe(before);
      expect(world.cloud.model.counters().calls).toEqual(calls);
    }),
    { numRuns: Number(process.env['ALLOCATION_RUNS'] ?? 150) },
  );
}, 300_000);

test('a detach waits for the node to confirm that the sandbox is gone, but not forever', () => {
  const world = new AllocationWorld();
  world.agents.add('node-1');
  world.podComes('elastic-0', 0);
  world.podComes('fixed-0', 0);
  for (let round = 0; round < 12; round++) work(world, 500);
  expect(world.sandboxes.size).toBe(2);
  world.podGoes('elastic-0');
  world.podGoes('fixed-0');
  const did = [];
  for (let round = 0; round < 58; round++) {
    world.syncPods();
    for (const each of ['elastic-0', 'fixed-0']) did.push(world.reconcile(each));
    for (const each of ['elastic-0', 'fixed-0']) world.endCall(each, 'ok');
    world.answerQuestions(0);
    world.pass(500);
  }
  expect(did).toContain('waitForNode');
  expect(did).not.toContain('detach');
  // One node confirms; the other stays silent.
  world.nodeWorks('elastic-0');
  expect(world.reconcile('elastic-0')).toBe('observe');
  for (let round = 0; round < 30; round++) {
    for (const each of ['elastic-0', 'fixed-0']) did.push(world.reconcile(each));
    for (const each of ['elastic-0', 'fixed-0']) world.endCall(each, 'ok');
    world.answerQuestions(0);
    world.pass(500);
  }
  expect(did.filter((step) => step === 'detach')).toHaveLength(2);
  expect(world.records.get('fixed-0')?.status?.phase).toBe('Unbind');
  expect(world.records.has('elastic-0')).toBe(false);
  expect(world.violations).toEqual([]);
});

test('without faults every pod is bound in a few rounds, and released in a few more', () => {
  const world = new AllocationWorld();
  names.forEach((each, at) => {
    world.podComes(each, at);
  });
  for (let round = 0; round < 12; round++) work(world, 500);
  for (const each of names) expect(world.records.get(each)?.status?.phase, each).toBe('Bind');
  for (const each of names) world.podGoes(each);
  for (let round = 0; round < 20; round++) work(world, 500);
  expect([...world.records.keys()].sort()).toEqual(['fixed-0', 'fixed-1']);
  expect(world.cloud.ours()).toHaveLength(2);
  // Their TTL passes.
  world.pass(600_000);
  for (let round = 0; round < 20; round++) work(world, 500);
  expect(world.records.size).toBe(0);
  expect(world.cloud.ours()).toEqual([]);
  expect(world.violations).toEqual([]);
});
