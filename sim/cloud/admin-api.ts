import * as z from 'zod';
import { ACTIONS } from './model/actions/registry.ts';

/**
 * Operations of the control channel: everything that a test or demo can do to the account besides calling the API. Client and
 * server share these schemas.
 */

const id = z.string().min(1).max(64);
const name = z.string().max(128).optional();
const milliseconds = z.number().min(0).max(3_600_000);

export const latenciesSchema = z.strictObject({
  createMs: milliseconds.optional(),
  attachMs: milliseconds.optional(),
  detachMs: milliseconds.optional(),
  deleteMs: milliseconds.optional(),
  answerMs: milliseconds.optional(),
});

const rateWindow = z.strictObject({
  limit: z.number().int().min(0).max(1_000_000),
  windowMs: z.union([z.literal(60_000), z.literal(1000)], 'must be 60000 or 1000'),
  code: z.enum(['Throttling', 'Throttling.User', 'Throttling.Api']).optional(),
});

/** A limit for an unknown API would silently have no effect. */
const rateWindows = z.record(z.string(), rateWindow).superRefine((windows, context) => {
  for (const name of Object.keys(windows)) {
    if (name === 'default' || ACTIONS.some((action) => action.name === name)) continue;
    context.addIssue({ code: 'custom', path: [name], message: 'the simulator has no such API' });
  }
});

export const behaviourSchema = z.strictObject({
  rateWindows: rateWindows.optional(),
  tagFilterMaxResources: z.number().int().min(0).max(1_000_000).optional(),
  listLag: z.strictObject({ createdMs: milliseconds.default(0), deletedMs: milliseconds.default(0) }).optional(),
  attachFaults: z
    .array(
      z.strictObject({
        outcome: z.enum(['fails', 'hangs']),
        instanceId: id.optional(),
        eniId: id.optional(),
        count: z.number().int().min(1).max(1_000_000).optional(),
      }),
    )
    .max(100)
    .optional(),
  instanceFilterReturnsMembers: z.boolean().optional(),
});

export const vpcSchema = z.strictObject({
  vpcId: id.optional(),
  name,
  cidrBlock: z.string(),
  ipv6CidrBlock: z.string().optional(),
});

export const vSwitchSchema = z.strictObject({
  vSwitchId: id.optional(),
  name,
  vpcId: id,
  zoneId: z.string().min(1),
  cidrBlock: z.string(),
  ipv6CidrBlock: z.string().optional(),
});

export const securityGroupSchema = z.strictObject({
  securityGroupId: id.optional(),
  name,
  vpcId: id,
  type: z.enum(['normal', 'enterprise']).optional(),
  innerAccessPolicy: z.enum(['Accept', 'Drop']).optional(),
});

export const instanceSchema = z.strictObject({
  instanceId: id.optional(),
  name,
  instanceType: z.string().min(1),
  vSwitchId: id,
  securityGroupIds: z.array(id).min(1),
  primaryIpAddress: z.string().optional(),
  ipv6AddressCount: z.number().int().min(0).max(10).optional(),
  httpTokens: z.enum(['optional', 'required']).optional(),
  tags: z.record(z.string(), z.string()).optional(),
});

const eniId = z.strictObject({ eniId: id });
const instanceId = z.strictObject({ instanceId: id });
const instanceStatus = z.enum(['Pending', 'Starting', 'Running', 'Stopping', 'Stopped']);

const changedIds = z.array(z.string());
const latencies = z.object({
  createMs: z.number(),
  attachMs: z.number(),
  detachMs: z.number(),
  deleteMs: z.number(),
  answerMs: z.number(),
});
const behaviour = z.object({
  rateWindows: z.record(z.string(), rateWindow),
  tagFilterMaxResources: z.number(),
  listLag: z.object({ createdMs: z.number(), deletedMs: z.number() }),
  attachFaults: behaviourSchema.shape.attachFaults.unwrap(),
  instanceFilterReturnsMembers: z.boolean(),
});
const runInstanceResult = z.object({
  instanceId: z.string(),
  primaryEniId: z.string(),
  primaryIpAddress: z.string(),
  macAddress: z.string(),
});

/** Operation → request and result. Operations on single objects return the ids of all objects that changed. */
export const adminOperations = {
  createVpc: { request: vpcSchema, result: z.string() },
  createVSwitch: { request: vSwitchSchema, result: z.string() },
  createSecurityGroup: { request: securityGroupSchema, result: z.string() },
  runInstance: { request: instanceSchema, result: runInstanceResult },
  releaseInstance: { request: instanceId, result: changedIds },
  setInstanceStatus: { request: z.strictObject({ instanceId: id, status: instanceStatus }), result: changedIds },
  deleteEniByHand: { request: eniId, result: changedIds },
  detachEniByHand: { request: eniId, result: changedIds },
  deleteSecurityGroup: { request: z.strictObject({ securityGroupId: id }), result: changedIds },
  deleteVSwitch: { request: z.strictObject({ vSwitchId: id }), result: changedIds },
  deleteVpc: { request: z.strictObject({ vpcId: id }), result: changedIds },
  setLatencies: { request: latenciesSchema, result: latencies },
  setBehaviour: { request: behaviourSchema, result: behaviour },
  completeAll: { request: z.strictObject({}), result: changedIds },
};
