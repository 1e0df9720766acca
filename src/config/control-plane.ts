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
  /** Without it the controller chooses the PodNetworking of each pod by itself. */
  enabled: z.boolean().default(true),
  bindHost: z.string().min(1).default('0.0.0.0'),
  port: z.int().min(1).max(65_535).default(4443),
  /** `self`: we make and rotate the certificate. `secret`: somebody else does, such as cert-manager, and injects the CA. */
  certificates: z.enum(['self', 'secret']).default('self'),
  certificateValidity: duration('8760h'),
  /** How long all API servers and replicas together may take to see a step of a rotation. */
  rotationStep: duration('2m'),
  /** DNS names and addresses by which the API server reaches us besides those of the Service. */
  hosts: z.array(z.string().min(1)).default([]),
  /** Pods get requests of `aliyun/member-eni` or `aliyun/eni`. */
  injectResources: z.boolean().default(true),
  /** A pod that a PodNetworking picks and that the webhook has not seen: kept without a network, or evicted. */
  escapedPods: z.enum(['hold', 'evict']).default('hold'),
  /** For one review; must be below `timeoutSeconds` of the webhook configuration, or the API server gives up first. */
  timeout: duration('4s'),
  /** After the signal to stop, how long requests are still answered: until no Service sends any more. */
  drain: duration('5s'),
});

/**
 * The configuration of the control plane. Keys that upstream has as well (reference 1.2) keep their name and meaning; a key
 * that is not known is an error, as a misspelt one would be ignored otherwise.
 */
export const controlPlaneConfigSchema = z
  .strictObject({
    /** Found by itself on ECS, from the instance's metadata. */
    regionID: z.string().min(1).optional(),
    /** Found by itself on ACK, from the cluster's profile. */
    clusterID: z.string().min(1).optional(),
    /** Found by itself on ACK and ECS, from the cluster's profile or the instance's metadata. */
    vpcID: z
      .string()
      .regex(/^vpc-[A-Za-z0-9-]+$/, 'must look like vpc-bp1…')
      .optional(),
    /** Where the instance's metadata is asked for; by default at its own address. */
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
    /** `true` lets nodes have a trunk where eni-config asks for one; `always` gives them one wherever the type takes it. */
    enableTrunk: z.union([z.boolean(), z.literal('always')], 'must be true, false or always').default(true),
    /** The key is upstream's; with `true` it alone would hand out the addresses of shared ENIs. */
    centralizedIPAM: z
      .literal(
        false,
        'only false is supported, as shared ENIs are not built yet: ordinary pods would get no address from anybody; keep Terway’s control plane in this cluster, or let its node daemon hand them out (ipam_type other than crd in eni-config) and set false here',
      )
      .default(false),
    /** With `dual` and `ipv6` the ENI of each pod has an IPv6 address besides its IPv4 one. */
    ipStack: z.enum(['ipv4', 'dual', 'ipv6']).default('ipv4'),
    podENIMaxConcurrent: concurrency(50),
    nodeMaxConcurrent: concurrency(10),
    eniMaxConcurrent: concurrency(4),
    /** Calls per minute by API. */
    rateLimit: z.record(z.string(), z.int().min(1)).default({}),
    /** Part of the limits that this control plane may use. */
    rateLimitShare: z.number().gt(0).max(1).default(1),
    logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info'),
    /** `l1`: no call that releases something is made; `l0`: no call at all (reference 1.9). */
    degradation: z.enum(['', 'l0', 'l1']).default(''),
    /** Upstream's legacy mode is not here; the key stays so that a configuration without it is understood. */
    ipamType: z
      .literal('', 'only "" is supported: instead of crd, use a PodNetworking with podSelector {} or exclusive nodes')
      .default(''),
    /** Only nodes that carry all of these labels are looked after. */
    nodeLabelWhiteList: z.record(z.string(), z.string()).default({}),
    /** ConfigMaps of kube-system that nodes may name by their label `terway-config`; the rights to watch them go with it. */
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
    /** Kinds of owners besides StatefulSet whose pods keep their names. */
    customStatefulWorkloadKinds: z.array(z.string().min(1)).default([]),
    endpoints: z
      .strictObject({
        network: z.enum(['vpc', 'public']).default('vpc'),
        ecs: endpoint.optional(),
        vpc: endpoint.optional(),
      })
      .prefault({}),
    /** A Ready PodNetworking is checked with the cloud this often, a failing one six times as often. */
    podNetworkingRecheck: duration('1m'),
    /**
     * How long after its pod is gone an ENI stays attached when the node agent does not say that the pod's sandbox is gone.
     */
    releaseConfirmation: duration('30s'),
    collector: z
      .strictObject({
        interval: duration('1m'),
        /** An ENI younger than this is never taken for an orphan. */
        minimumAge: duration('10m'),
      })
      .prefault({}),
    webhook: webhookSchema.prefault({}),
  })
  .check(({ value, issues }) => {
    // Else two replicas could lead at a time, or none could renew.
    const { leaseDuration, renewDeadline, retryPeriod } = value;
    const shorter = (field: string, than: string) =>
      issues.push({ code: 'custom', input: value, path: [field], message: `must be shorter than ${than}` });
    if (renewDeadline >= leaseDuration) shorter('renewDeadline', 'leaseDuration');
    if (retryPeriod >= renewDeadline) shorter('retryPeriod', 'renewDeadline');
  });

export type ControlPlaneConfig = z.infer<typeof controlPlaneConfigSchema>;

/** The credential file: exactly one way to get at credentials. */
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
