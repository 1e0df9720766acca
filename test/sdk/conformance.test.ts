import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACTIONS } from '../../sim/cloud/model/actions/registry.ts';
import { type CloudSimulator, startCloudSimulator } from '../../sim/cloud/server.ts';
import { REGION, seedNetwork } from '../../sim/cloud/test-network.ts';
import { systemClock } from '../../src/util/clock.ts';
import { CASES } from './cases.ts';
import { type ConnectSdk, pythonSdk, type SdkClient, typescriptSdk } from './clients.ts';

/** The simulator against SDKs that this project did not write, both generations of signatures among them. */

const SDKS: readonly [name: string, connect: ConnectSdk][] = [
  ['the older Python SDK', pythonSdk('core')],
  ['the newer Python SDK', pythonSdk('tea')],
  ['the TypeScript SDK', typescriptSdk],
];

const NAMED = CASES.map((each) => [`${each.action}: ${each.title}`, each] as const);

describe.each(SDKS)('%s', (_name, connect) => {
  let simulator: CloudSimulator;
  let sdk: SdkClient;
  let aheadMs = 0;
  const values = new Map<string, string>();

  beforeAll(async () => {
    // SDKs sign with the machine's time; that of the cloud stands still a second into the minute, near enough to accept it.
    const startMs = Math.floor(systemClock.now() / 60_000) * 60_000 + 1000;
    const clock = { ...systemClock, now: () => startMs + aheadMs };
    simulator = await startCloudSimulator({
      clock,
      account: { latencies: { createMs: 0, attachMs: 0, detachMs: 0, deleteMs: 0 } },
    });
    const network = seedNetwork(simulator.model, clock.now());
    values.set('vpc', network.vpcId).set('vSwitch', network.vSwitchId).set('otherVSwitch', network.otherZoneVSwitchId);
    values.set('group', network.securityGroupId).set('otherGroup', network.otherSecurityGroupId);
    values.set('instance', network.instanceId).set('primary', network.primaryEniId);
    sdk = await connect(simulator);
  });

  afterAll(async () => {
    await sdk?.[Symbol.asyncDispose]();
    await simulator?.close();
  });

  test.each(NAMED)('%s', async (_title, { product = 'Ecs', action, params, save, behaviour, advanceMs, ...wanted }) => {
    if (behaviour !== undefined) simulator.model.setBehaviour(behaviour, simulator.clock.now());
    aheadMs += advanceMs ?? 0;
    const answer = await sdk.call(product, action, filledIn({ RegionId: REGION, ...params }, values));
    const expected = filledIn(wanted.expect, values);
    expect(answer).toMatchObject('code' in wanted.expect ? expected : { body: expected });
    for (const [name, path] of Object.entries(save ?? {})) {
      values.set(name, String(at('body' in answer ? answer.body : {}, path)));
    }
  });
});

test('the table has every API of the simulator', () => {
  const tried = new Set(CASES.map(({ product = 'Ecs', action }) => `${product} ${action}`));
  expect(ACTIONS.map(({ product, name }) => `${product} ${name}`).filter((api) => !tried.has(api))).toEqual([]);
});

/** Replaces `$name` in every text. What is no plain object or list, as a matcher of vitest, stays unless it holds a sample. */
function filledIn<T>(value: T, values: ReadonlyMap<string, string>): T;
function filledIn(value: unknown, values: ReadonlyMap<string, string>): unknown {
  if (typeof value === 'string') {
    return value.replaceAll(/\$(\w+)/g, (_all, name: string) => {
      const known = values.get(name);
      if (known === undefined) throw new Error(`no case before this one has saved ${name}`);
      return known;
    });
  }
  if (Array.isArray(value)) return value.map((item) => filledIn(item, values));
  if (typeof value !== 'object' || value === null) return value;
  const copy: object = Object.create(Object.getPrototypeOf(value));
  for (const key of Reflect.ownKeys(value)) {
    const own: unknown = Reflect.get(value, key);
    // The pattern of a matcher is compared, not filled in.
    Reflect.set(copy, key, own instanceof RegExp || typeof own === 'function' ? own : filledIn(own, values));
  }
  return copy;
}

function at(value: unknown, path: string): unknown {
  let found = value;
  for (const part of path.split('.'))
    found = typeof found === 'object' && found !== null ? Reflect.get(found, part) : undefined;
  return found;
}
