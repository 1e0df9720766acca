import { issueWithNewAuthority } from '../admission/issue-certificate.ts';
import type { ReviewSources } from '../admission/reviewer.ts';
import { Webhook } from '../admission/webhook.ts';
import { networkDefaults } from '../cluster/cluster-network.ts';
import type { EniConfigs } from '../cluster/eni-configs.ts';
import type { Informers } from '../cluster/informers.ts';
import { namespaceResource } from '../cluster/resources.ts';
import type { ControlPlaneConfig } from '../config/control-plane.ts';
import type { Replica } from '../controllers/replica.ts';
import { podNetworkingResource } from '../crds/pod-networking.ts';
import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { systemClock } from '../util/clock.ts';
import { systemRandom } from '../util/random.ts';

/** A valid API name; anything else must not become part of a path. */
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Creates the webhook; undefined when it is disabled. */
export function createWebhook(
  config: ControlPlaneConfig,
  client: KubeClient,
  { informers, eniConfigs }: Pick<Replica, 'informers' | 'eniConfigs'>,
  log: Log,
  metrics: Metrics,
): Webhook | undefined {
  const { webhook, enableTrunk, controllerNamespace: namespace, controllerName: name } = config;
  if (!webhook.enabled) return undefined;
  return new Webhook({
    client,
    log,
    metrics,
    clock: systemClock,
    random: systemRandom,
    issue: issueWithNewAuthority,
    sources: sourcesOf(client, informers, eniConfigs),
    rules: {
      enableTrunk: enableTrunk !== false,
      injectResources: webhook.injectResources,
      stableNameKinds: config.customStatefulWorkloadKinds,
    },
    address: { host: webhook.bindHost, port: webhook.port },
    timeoutMs: webhook.timeout,
    drainMs: webhook.drain,
    certificates: {
      namespace,
      name,
      mode: webhook.certificates,
      policy: {
        validityMs: webhook.certificateValidity,
        settleMs: webhook.rotationStep,
        furtherHosts: webhook.hosts,
      },
    },
  });
}

function sourcesOf(client: KubeClient, informers: Informers, eniConfigs: EniConfigs): ReviewSources {
  return {
    networkings: () => informers.podNetworkings.store.list(),
    podEni: (namespace, name) => informers.podEnis.store.get(`${namespace}/${name}`),
    defaults: () => networkDefaults(eniConfigs),
    namespaceLabels: async (name, signal) => {
      const known = informers.namespaces.store.get(name);
      const namespace = known ?? (await client.get(namespaceResource, { name }, { signal }));
      return namespace.metadata.labels ?? {};
    },
    findNetworking: async (name, signal) => {
      if (!OBJECT_NAME.test(name)) return undefined;
      try {
        return await client.get(podNetworkingResource, { name }, { signal });
      } catch (error) {
        if (isNotFound(error)) return undefined;
        throw error;
      }
    },
  };
}
