import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACTIONS } from '../../sim/cloud/model/actions/registry.ts';
import { type CloudSimulator, startCloudSimulator } from '../../sim/cloud/server.ts';
import { REGION, seedNetwork } from '../../sim/cloud/test-network.ts';
import { systemClock } from '../../src/util/clock.ts';
import { ADAPTER_ACTIONS, fitsAdapter, ownAdapter } from './adapter.ts';
import { CASES, type Case } from './cases.ts';
import { type ConnectSdk, pythonSdk, type SdkClient, typescriptSdk } from './clients.ts';

/**
 * Tests the simulator with SDKs that this project did not write, which together use both signature schemes, and with the adapter
 * of the product.
 */

const SDKS: readonly [name: string, connect: ConnectSdk][] = [
  ['the older Python SDK', pythonSdk('core')],
  ['the newer Python SDK', pythonSdk('tea')],
  ['the TypeScript SDK', typescriptSdk],
];

interface Step {
  case: Case;
  /** Earlier cases that this one depends on and that the client under test cannot express. */
  before: readonly Case[];
}

const EVERY: readonly Step[] = CASES.map((each) => ({ case: each, before: [] }));

/** The cases that fit the port of our adapter. The official SDK makes the other calls, so that the account is the same. */
const FITTING = CASES.reduce<{ steps: Step[]; before: Case[] }>(
  ({ steps, before }, each) =>
    fitsAdapter(each.action, each.params ?? {})
      ? { steps: [...steps, { case: each, before }], before: [] }
      : { steps, before: [...before, each] },
  { steps: [], before: [] },
).steps;

describe.each(SDKS)('%s', (_name, connect) => {
  holdToTable(connect, EVERY, (each) => each.expect);
});

describe('our own adapter', () => {
  holdToTable(ownAdapter, FITTING, (each) => each.expectOfAdapter ?? each.expect);

  test('has these APIs, each with a case that it can express', () => {
    expect(new Set(FITTING.map((step) => step.case.action))).toEqual(new Set(ADAPTER_ACTIONS));
  });

  test('lacks these APIs of the simulator, which its other users need', () => {
    const lacking = ACTIONS.map(({ name }) => name).filter((name) => !ADAPTER_ACTIONS.includes(name));
    expect([...new Set(lacking)].sort()).toEqual([
      'AuthorizeSecurityGroup',
      'AuthorizeSecurityGroupEgress',
      'DescribeInstanceAttribute',
      'DescribeNetworkInterfaceAttribute',
      'DescribeRegions',
      'DescribeSecurityGroupAttribute',
      'DescribeVSwitchAttributes',
      'DescribeVpcAttribute',
      'DescribeVpcs',
      'DescribeZones',
      'JoinSecurityGroup',
      'LeaveSecurityGroup',
      'ListTagResources',
      'RevokeSecurityGroup',
      'RevokeSecurityGroupEgress',
      'TagResources',
      'UntagResources',
    ]);
  });
});

function holdToTable(connect: ConnectSdk, steps: readonly Step[], expectedOf: (each: Case) => object): void {
  let simulator: CloudSimulator;
  let sdk: SdkClient;
  let helper: SdkClient;
  let aheadMs = 0;
  const values = new Map<string, string>();

  beforeAll(async () => {
    // SDKs sign with the machine's time. The cloud's clock stands one second into the current minute, near enough to accept that.
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
    helper = await typescriptSdk(simulator);
  });

  afterAll(async () => {
    await sdk?.[Symbol.asyncDispose]();
    await helper?.[Symbol.asyncDispose]();
    await simulator?.close();
  });

  async function run(client: SdkClient, each: Case, wanted: object): Promise<void> {
    const { product = 'Ecs', action, params, save, behaviour, advanceMs } = each;
    if (behaviour !== undefined) simulator.model.setBehaviour(behaviour, simulator.clock.now());
    aheadMs += advanceMs ?? 0;
    const response = await client.call(product, action, filledIn({ RegionId: REGION, ...params }, values));
    const expected = filledIn(wanted, values);
    expect(response).toMatchObject('code' in wanted ? expected : { body: expected });
    for (const [name, path] of Object.entries(save ?? {})) {
      values.set(name, String(at('body' in response ? response.body : {}, path)));
    }
  }

  test.each(steps.map((step) => [`${step.case.action}: ${step.case.title}`, step] as const))(
    '%s',
    async (_title, step) => {
      for (const each of step.before) await run(helper, each, each.expect);
      await run(sdk, step.case, expectedOf(step.case));
    },
  );
}

test('the table has every API of the simulator', () => {
  const tried = new Set(CASES.map(({ product = 'Ecs', action }) => `${product} ${action}`));
  expect(ACTIONS.map(({ product, name }) => `${product} ${name}`).filter((api) => !tried.has(api))).toEqual([]);
});

/** Replaces `$name` in every text, including texts in lists, objects and vitest's matchers. */
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
    // Patterns and functions of matchers stay as they are.
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
