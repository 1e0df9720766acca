import { type Clock, systemClock } from '../../util/clock.ts';
import { AlibabaCloud } from '../alibaba-cloud.ts';
import { CredentialCache } from '../credentials.ts';
import { QuotaScheduler } from '../quota.ts';
import { type CallReport, RpcContext } from '../rpc.ts';
import { rpcSenders } from '../rpc-sender.ts';

const REGION = 'cn-hangzhou';

/** An adapter for ECS and VPC at one address, without a call limit unless given. */
export function connectCloud(
  address: string,
  options: {
    accessKey?: { accessKeyId: string; accessKeySecret: string };
    readMs?: number;
    limit?: number;
    clock?: Clock;
    quota?: QuotaScheduler;
    onCall?: (report: CallReport) => void;
  } = {},
): AlibabaCloud {
  const {
    accessKey = { accessKeyId: 'id', accessKeySecret: 'secret' },
    clock = systemClock,
    limit = 100_000,
  } = options;
  const limits = { default: limit, CreateNetworkInterface: limit, DescribeNetworkInterfaces: limit };
  const context = new RpcContext({
    quota: options.quota ?? new QuotaScheduler({ clock, limits }),
    clock,
    regionId: REGION,
    ...(options.onCall === undefined ? {} : { onCall: options.onCall }),
  });
  const endpoint = { host: address, protocol: 'HTTP' } as const;
  const senders = rpcSenders(
    { ecs: endpoint, vpc: endpoint },
    {
      clock,
      credentials: new CredentialCache({ source: async () => accessKey, clock, signal: new AbortController().signal }),
      timeouts: { connectMs: 10_000, readMs: options.readMs ?? 10_000 },
    },
  );
  return new AlibabaCloud(context, senders);
}

/** The error of a call that must fail. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('should have failed');
}
