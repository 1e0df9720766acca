import { parse as parseYaml } from 'yaml';
import * as z from 'zod';
import { errorMessage } from '../../src/util/errors.ts';
import {
  behaviourSchema,
  instanceSchema,
  latenciesSchema,
  securityGroupSchema,
  vpcSchema,
  vSwitchSchema,
} from './admin-api.ts';
import type { CloudModel } from './model/model.ts';
import type { CloudSimulatorOptions } from './server.ts';

/** The configuration file of the simulator, YAML or JSON. Unknown keys are refused. */

const positive = z.number().int().positive().max(1_000_000_000);
const count = z.number().int().min(0).max(4096);
const identifier = z.string().min(1).max(64);

const accessKeySchema = z.strictObject({
  accessKeyId: z.string().min(1).max(128),
  accessKeySecret: z.string().min(1).max(256),
  securityToken: z.string().min(1).max(4096).optional(),
});

const instanceTypeSchema = z.strictObject({
  instanceTypeId: identifier.regex(/^[a-z0-9.-]+\.[a-z0-9.-]+$/, 'like ecs.g7.xlarge'),
  cpuCoreCount: positive.optional(),
  memorySizeGiB: positive.optional(),
  eniQuantity: count.min(1).optional(),
  eniTotalQuantity: count.min(1).optional(),
  eniTrunkSupported: z.boolean().optional(),
  eniPrivateIpAddressQuantity: count.min(1).optional(),
  eniIpv6AddressQuantity: count.optional(),
  eriQuantity: count.optional(),
  instanceBandwidthKbps: positive.optional(),
  instancePps: positive.optional(),
  queuesPerEni: positive.optional(),
  source: z.string().max(256).optional(),
});

const configSchema = z.strictObject({
  region: identifier.default('cn-hangzhou'),
  zones: z.array(identifier).min(1).max(20).optional(),
  ownerId: z
    .string()
    .regex(/^\d{1,16}$/, 'digits')
    .optional(),
  resourceGroupId: identifier.optional(),
  seed: z.number().int().min(0).optional(),
  clientTokenTtlMs: positive.optional(),
  journalCapacity: z.number().int().min(1).max(10_000_000).optional(),
  accessKeys: z.array(accessKeySchema).min(1).optional(),
  latencies: latenciesSchema.optional(),
  behaviour: behaviourSchema.optional(),
  instanceTypes: z.array(instanceTypeSchema).optional(),
  vpcs: z.array(vpcSchema).default([]),
  vSwitches: z.array(vSwitchSchema).default([]),
  securityGroups: z.array(securityGroupSchema).default([]),
  instances: z.array(instanceSchema).default([]),
});

export type SimulatorConfig = z.output<typeof configSchema>;

/** The configuration is unusable. The message names field and rule in one line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Checks the text of a configuration file. Throws ConfigError. */
export function parseSimulatorConfig(text: string): SimulatorConfig {
  let document: unknown;
  try {
    document = parseYaml(text);
  } catch (cause) {
    throw new ConfigError(`not YAML: ${oneLine(errorMessage(cause))}`, { cause });
  }
  const parsed = configSchema.safeParse(document ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`)).join('');
  throw new ConfigError(
    `${path === undefined || path === '' ? 'file' : path.replace(/^\./, '')}: ${oneLine(issue?.message ?? '')}`,
  );
}

/** The configuration's options for `startCloudSimulator`. */
export function simulatorOptions(config: SimulatorConfig): Pick<CloudSimulatorOptions, 'accessKeys' | 'account'> {
  return {
    accessKeys: config.accessKeys,
    account: {
      regionId: config.region,
      zoneIds: config.zones,
      ownerId: config.ownerId,
      resourceGroupId: config.resourceGroupId,
      seed: config.seed,
      clientTokenTtlMs: config.clientTokenTtlMs,
      journalCapacity: config.journalCapacity,
      latencies: config.latencies,
      behaviour: config.behaviour,
      instanceTypes: config.instanceTypes,
    },
  };
}

/** Creates the configured network and instances. Throws ConfigError, which names the entry. */
export function seedAccount(model: CloudModel, config: SimulatorConfig, nowMs: number): void {
  each('vpcs', config.vpcs, (vpc) => model.createVpc(vpc, nowMs));
  each('vSwitches', config.vSwitches, (vSwitch) => model.createVSwitch(vSwitch, nowMs));
  each('securityGroups', config.securityGroups, (group) => model.createSecurityGroup(group, nowMs));
  each('instances', config.instances, (instance) => model.runInstance(instance, nowMs));
}

function each<T>(field: string, items: readonly T[], create: (item: T) => unknown): void {
  for (const [index, item] of items.entries()) {
    try {
      create(item);
    } catch (cause) {
      throw new ConfigError(`${field}[${index}]: ${oneLine(errorMessage(cause))}`, { cause });
    }
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}
