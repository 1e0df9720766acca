import { AlibabaCloud } from '../cloud/alibaba-cloud.ts';
import { CredentialCache, type CredentialConfig, credentialSource } from '../cloud/credentials.ts';
import { METADATA_ENDPOINT, openMetadata } from '../cloud/metadata.ts';
import { QuotaScheduler } from '../cloud/quota.ts';
import { RpcContext } from '../cloud/rpc.ts';
import { regionalEndpoints, rpcSenders } from '../cloud/rpc-sender.ts';
import { configMapResource } from '../cluster/resources.ts';
import type { ControlPlaneConfig, CredentialFile } from '../config/control-plane.ts';
import { CLUSTER_PROFILE, type Identity, type IdentitySources } from '../config/identity.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound, isOutage } from '../kube/errors.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { systemClock } from '../util/clock.ts';

/** Delay between attempts while the API server does not respond; the client retries each one itself. */
const OUTAGE_RETRY_MS = 2000;

/**
 * Sources for what the configuration leaves out. Retries until the API server responds or the signal aborts.
 *
 * @param onOutage called each time it does not respond
 */
export function identitySources(
  config: ControlPlaneConfig,
  client: KubeClient,
  signal: AbortSignal,
  onOutage: (error: unknown) => void,
): IdentitySources {
  return {
    metadata: async (path) =>
      (await openMetadata(config.metadataEndpoint ?? METADATA_ENDPOINT, systemClock, signal))(path),
    clusterProfile: async () => {
      for (;;) {
        try {
          return (await client.get(configMapResource, CLUSTER_PROFILE, { signal })).data;
        } catch (error) {
          if (isNotFound(error)) return undefined;
          if (signal.aborted || !isOutage(error)) throw error;
          onOutage(error);
        }
        await systemClock.sleep(OUTAGE_RETRY_MS, signal);
      }
    },
  };
}

/** Creates the cloud and its quota scheduler from the configuration. */
export function connectCloud(
  config: ControlPlaneConfig,
  { regionID }: Identity,
  credential: CredentialFile,
  metrics: Metrics,
  signal: AbortSignal,
) {
  const quota = new QuotaScheduler({ clock: systemClock, limits: config.rateLimit, share: config.rateLimitShare });
  const source = credentialSource(toCredentialConfig(credential), regionID, systemClock);
  const defaults = regionalEndpoints(regionID, config.endpoints.network);
  const cloud = new AlibabaCloud(
    new RpcContext({
      quota,
      clock: systemClock,
      regionId: regionID,
      onCall: ({ action, code, durationMs, waitedMs, throttled }) => {
        metrics.cloudCalls.inc({ action, code });
        metrics.cloudCallSeconds.observe({ action }, durationMs / 1000);
        metrics.cloudWaitSeconds.observe({ action }, waitedMs / 1000);
        if (throttled) metrics.cloudThrottles.inc({ action });
      },
    }),
    rpcSenders(
      { ecs: config.endpoints.ecs ?? defaults.ecs, vpc: config.endpoints.vpc ?? defaults.vpc },
      { credentials: new CredentialCache({ source, clock: systemClock, signal }), clock: systemClock },
    ),
  );
  return { quota, cloud };
}

function toCredentialConfig(file: CredentialFile): CredentialConfig {
  if ('accessKey' in file) {
    const key = { accessKeyId: file.accessKey, accessKeySecret: file.accessSecret };
    return file.securityToken === undefined
      ? { type: 'accessKey', ...key }
      : { type: 'sts', ...key, securityToken: file.securityToken };
  }
  if ('ecsRamRole' in file) return { type: 'ecsRamRole', ...file.ecsRamRole };
  const { roleARN, oidcProviderARN, ...rest } = file.rrsa;
  return { type: 'oidc', roleArn: roleARN, oidcProviderArn: oidcProviderARN, ...rest };
}
