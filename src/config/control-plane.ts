import * as z from 'zod';
import { bindAddress, duration } from './fields.ts';

const concurrency = (fallback: number) => z.int().min(1).max(10_000).default(fallback);

const endpoint = z
  .string()
  .regex(/^https?:\/\/[^/]+$/, 'must be http://HOST[:PORT] or https://HOST[:PORT]')
  .transform((url): { host: string; protocol: 'HTTP' | 'HTTPS' } => ({
    host: url.replace(/^https?:\/\//, ''),
    protocol: url.startsWith('https:') ? 'HTTPS' : 'HTTP',
  }));

/** The admission webhooks (docs/design/operators.md, "Admission"). */
const webhookSchema = z.strictObject({
  /** When it is off, the controller chooses the PodNetworking of each pod itself. */
  enabled: z.boolean().default(true),
  bindHost: z.string().min(1).default('0.0.0.0'),
  port: z.int().min(1).max(65_535).default(4443),
  /** `self`: we create and rotate the certificate. `secret`: something else does, such as cert-manager, and injects the CA. */
  certificates: z.enum(['self', 'secret']).default('self'),
  certificateValidity: duration('8760h'),
  /** How long every API server and replica may take to see a step of a rotation. */
  rotationStep: duration('2m'),
  /** DNS names and addresses, besides those of the Service, at which the API server reaches us. */
  hosts: z.array(z.string().min(1)).default([]),
  /** Pods get requests of `aliyun/member-eni` or `aliyun/eni`. */
  injectResources: z.boolean().default(true),
  /** What to do with a pod that a PodNetworking selects but the webhook has not seen: give it no network, or evict it. */
  escapedPods: z.enum(['hold', 'evict']).default('hold'),
  /** Time limit of one review; must be below `timeoutSeconds` of the webhook configuration, or the API server gives up first. */
  timeout: duration('4s'),
  /** How long requests are still answered after the stop signal, until no Service routes them here. */
  drain: duration('5s'),
});

/**
 * The configuration of the control plane. Keys that upstream has too keep their name and meaning. Unknown keys are errors;
 * otherwise a misspelt key would be silently ignored.
 */
export const controlPlaneConfigSchema = z
  .strictObject({
    /** On ECS, found in the instance's metadata. */
    regionID: z.string().min(1).optional(),
    /** On ACK, found in the cluster's profile. */
    clusterID: z.string().min(1).optional(),
    /** On ACK and ECS, found in the cluster's profile or the instance's metadata. */
    vpcID: z
      .string()
      .regex(/^vpc-[A-Za-z0-9-]+$/, 'must look like vpc-bp1…')
      .optional(),
    /** URL of the instance's metadata service; by default its well-known address. */
    metadataEndpoint: z
      .url({ protocol: /^https?$/, error: 'must be http://HOST[:PORT] or https://HOST[:PORT]' })
      .optional(),
    controllerNamespace: z.string().min(1).default('kube-system'),
    controllerName: z.string().min(1).default('terway-controlplane'),
    leaderElection: z.boolean().default(true),
    leaseDuration: duration('15s'),
    renewDeadline: duration('10s'),
    retryPeriod: duration('2s'),
    healthzBindAddress: bindAddress.prefault('0.0.0.0:8080'),
    metricsBindAddress: bindAddress.prefault('0.0.0.0:9090'),
    /** Unix socket at which this replica answers `terway-controlplane admin`; empty for none. */
    adminSocket: z
      .string()
      .regex(/^(|\/.{1,100})$/, 'must be an absolute path, or empty to turn it off')
      .default('/run/terway-controlplane/admin.sock'),
    /** `true`: nodes get a trunk if eni-config asks for one; `always`: they get one if the instance type supports it. */
    enableTrunk: z.union([z.boolean(), z.literal('always')], 'must be true, false or always').default(true),
    /** Upstream's key: the control plane gives ordinary pods their addresses, as `ipam_type: crd` in eni-config says, too. */
    centralizedIPAM: z.boolean().default(false),
    /** With `dual` and `ipv6` the ENI of each pod also has an IPv6 address. */
    ipStack: z.enum(['ipv4', 'dual', 'ipv6']).default('ipv4'),
    podENIMaxConcurrent: concurrency(50),
    nodeMaxConcurrent: concurrency(10),
    eniMaxConcurrent: concurrency(4),
    /** Calls per minute by API. */
    rateLimit: z.record(z.string(), z.int().min(1)).default({}),
    /** Fraction of the limits that this control plane may use. */
    rateLimitShare: z.number().gt(0).max(1).default(1),
    logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
    /** `l1`: nothing is released; `l0`: the cloud is not called. */
    degradation: z.enum(['', 'l0', 'l1']).default(''),
    /** Upstream's key: `ip_pool_sync_period` where eni-config has none. */
    multiIPGCPeriod: duration('2m'),
    /** `false`: pools of shared ENIs ask for nothing more, and end what they have asked for. */
    poolGrowth: z.boolean().default(true),
    /** Upstream's legacy mode is not supported; the key is accepted so that a configuration that leaves it empty works. */
    ipamType: z
      .literal('', 'only "" is supported: where ordinary pods are to share ENIs, set ipam_type: crd in eni-config')
      .default(''),
    /** Only nodes with all of these labels are managed. */
    nodeLabelWhiteList: z.record(z.string(), z.string()).default({}),
    /** ConfigMaps of kube-system that nodes may name in their label `terway-config`; RBAC must allow watching each of them. */
    nodeConfigMaps: z
      .array(
        z
          .string()
          .regex(
            /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/,
            'must be the name of a ConfigMap that fits a label: at most 63 of a-z, 0-9, - and .',
          ),
      )
      .default([]),
    /** Owner kinds, besides StatefulSet, whose pods keep their names. */
    customStatefulWorkloadKinds: z.array(z.string().min(1)).default([]),
    endpoints: z
      .strictObject({
        network: z.enum(['vpc', 'public']).default('vpc'),
        ecs: endpoint.optional(),
        vpc: endpoint.optional(),
      })
      .prefault({}),
    /** How often a Ready PodNetworking is checked against the cloud; a failing one is checked six times as often. */
    podNetworkingRecheck: duration('1m'),
    /**
     * How long an ENI stays attached after its pod is gone while the node agent has not confirmed that the sandbox is gone.
     */
    releaseConfirmation: duration('30s'),
    collector: z
      .strictObject({
        interval: duration('1m'),
        /** An ENI younger than this is never treated as an orphan. */
        minimumAge: duration('10m'),
      })
      .prefault({}),
    webhook: webhookSchema.prefault({}),
  })
  .check(({ value, issues }) => {
    // Otherwise two replicas could lead at once, or none could renew.
    const { leaseDuration, renewDeadline, retryPeriod } = value;
    const shorter = (field: string, than: string) =>
      issues.push({ code: 'custom', input: value, path: [field], message: `must be shorter than ${than}` });
    if (renewDeadline >= leaseDuration) shorter('renewDeadline', 'leaseDuration');
    if (retryPeriod >= renewDeadline) shorter('retryPeriod', 'renewDeadline');
  });

export type ControlPlaneConfig = z.infer<typeof controlPlaneConfigSchema>;

/** The credential file: exactly one source of credentials. */
export const credentialFileSchema = z.union(
  [
    z.strictObject({
      accessKey: z.string().min(1),
      accessSecret: z.string().min(1),
      securityToken: z.string().min(1).optional(),
    }),
    z.strictObject({
      ecsRamRole: z.strictObject({ roleName: z.string().min(1).optional(), metadataEndpoint: z.url().optional() }),
    }),
    z.strictObject({
      rrsa: z.strictObject({
        roleARN: z.string().min(1),
        oidcProviderARN: z.string().min(1),
        oidcTokenFile: z.string().min(1),
        roleSessionName: z.string().min(1).optional(),
        stsEndpoint: z.url().optional(),
      }),
    }),
  ],
  {
    error:
      'must hold accessKey and accessSecret (securityToken if temporary), or ecsRamRole, or rrsa with roleARN, oidcProviderARN and oidcTokenFile',
  },
);

export type CredentialFile = z.infer<typeof credentialFileSchema>;
