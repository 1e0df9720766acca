import * as z from 'zod';
import { allocationTypeSchema } from '../crds/common.ts';
import { ANNOTATION_POD_NETWORKS, ANNOTATION_POD_NETWORKS_REQUEST } from '../crds/names.ts';
import { type PodNetworking, podNetworkingSchema } from '../crds/pod-networking.ts';
import { errorMessage } from '../util/errors.ts';
import { parseCidr } from '../util/ip.ts';
import { firstIssue } from '../util/issues.ts';

/** The interface of a pod that requests none by name. */
export const DEFAULT_INTERFACE = 'eth0';

const MAX_INTERFACES = 8;
/** The most that one ENI accepts. */
const MAX_SECURITY_GROUPS = 10;

const interfaceName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_.-]{0,14}$/, 'must be an interface name of at most 15 characters');
const routes = z.array(z.object({ dst: z.string().refine((text) => parseCidr(text) !== undefined, 'must be a CIDR') }));

const requestSchema = z
  .array(
    z.object({
      interfaceName: interfaceName.default(DEFAULT_INTERFACE),
      network: z.string().min(1),
      defaultRoute: z.boolean().optional(),
      routes: routes.optional(),
    }),
  )
  .min(1)
  .max(MAX_INTERFACES);

const ids = z.array(z.string().min(1)).nullish();

/** Loose: keys that only other programs read are passed on. */
const podNetworksSchema = z.object({
  podNetworks: z
    .array(
      z.looseObject({
        interface: z
          .union([interfaceName, z.literal('').transform(() => DEFAULT_INTERFACE)])
          .default(DEFAULT_INTERFACE),
        network: z.string().min(1).optional(),
        vSwitchOptions: ids,
        securityGroupIDs: ids.refine((groups) => (groups?.length ?? 0) <= MAX_SECURITY_GROUPS, {
          error: `must name at most ${MAX_SECURITY_GROUPS} security groups, the limit of an ENI`,
        }),
        eniOptions: z.looseObject({ eniType: z.enum(['Default', 'ENI', 'Trunk']).optional() }).nullish(),
        vSwitchSelectOptions: z
          .looseObject({ vSwitchSelectionPolicy: z.enum(['ordered', 'random', 'most']).optional() })
          .nullish(),
        allocationType: allocationTypeSchema.nullish(),
        extraRoutes: routes.nullish(),
        defaultRoute: z.boolean().nullish(),
      }),
    )
    .max(MAX_INTERFACES)
    .nullish()
    .transform((entries) => entries ?? []),
});

/** Interfaces that a pod requests by PodNetworking. */
export type NetworkRequest = z.infer<typeof requestSchema>;
/** Interfaces as the annotation `k8s.aliyun.com/pod-networks` describes them. */
export type PodNetworks = z.infer<typeof podNetworksSchema>['podNetworks'];
export type PodNetworksEntry = PodNetworks[number];

/**
 * Reads the annotation `k8s.aliyun.com/pod-networks-request`.
 *
 * @returns the request, or one line that names the field and the rule.
 */
export function parseNetworkRequest(text: string): { request: NetworkRequest } | { error: string } {
  const where = `annotation ${ANNOTATION_POD_NETWORKS_REQUEST}`;
  const parsed = parseJson(text, requestSchema, where);
  if ('error' in parsed) return parsed;
  const problem = interfacesProblem(
    parsed.value.map((entry) => ({ name: entry.interfaceName, defaultRoute: entry.defaultRoute })),
    'interfaceName',
  );
  return problem === undefined ? { request: parsed.value } : { error: `${where}: ${problem}` };
}

/**
 * Reads the annotation `k8s.aliyun.com/pod-networks`, which either the user or the webhook wrote.
 *
 * @returns the entries, none when the list is empty; or one line that names the field and the rule.
 */
export function parsePodNetworks(text: string): { entries: PodNetworks } | { error: string } {
  const where = `annotation ${ANNOTATION_POD_NETWORKS}`;
  const parsed = parseJson(text, podNetworksSchema, where);
  if ('error' in parsed) return parsed;
  const entries = parsed.value.podNetworks;
  if (entries.length === 0) return { entries };
  const problem = interfacesProblem(
    entries.map((entry) => ({ name: entry.interface, defaultRoute: entry.defaultRoute })),
    'interface',
  );
  return problem === undefined ? { entries } : { error: `${where}: ${problem}` };
}

/** The text of the annotation `k8s.aliyun.com/pod-networks`; {@link parsePodNetworks} reads it. */
export function formatPodNetworks(entries: PodNetworks): string {
  return JSON.stringify({ podNetworks: entries });
}

/**
 * The entry that the webhook writes for an interface of a PodNetworking. Only `network` is binding; the other fields
 * are for readers.
 */
export function entryOf(wanted: {
  name: string;
  networking: PodNetworking;
  defaultRoute?: boolean | undefined;
  extraRoutes?: { dst: string }[] | undefined;
}): PodNetworksEntry {
  const { name, networking, defaultRoute, extraRoutes } = wanted;
  const { vSwitchOptions, securityGroupIDs, eniOptions, vSwitchSelectOptions, allocationType } = networking.spec;
  return {
    interface: name,
    network: networking.metadata.name,
    vSwitchOptions,
    securityGroupIDs,
    eniOptions,
    vSwitchSelectOptions,
    allocationType,
    ...(defaultRoute === undefined ? {} : { defaultRoute }),
    ...(extraRoutes === undefined ? {} : { extraRoutes }),
  };
}

const INLINE_PREFIX = 'pod:';

/**
 * Turns an entry that names no PodNetworking into one of its own. It is Ready because only its pod uses it. Records
 * store its name, which leads back to the pod ({@link inlineOwner}); a real PodNetworking has no colon in its name.
 *
 * @param podKey `namespace/name`
 */
export function inlineNetworking(podKey: string, entry: PodNetworksEntry): PodNetworking {
  const { vSwitchOptions, securityGroupIDs, eniOptions, vSwitchSelectOptions, allocationType } = entry;
  return podNetworkingSchema.parse({
    metadata: { name: `${INLINE_PREFIX}${podKey}:${entry.interface}` },
    spec: {
      vSwitchOptions: vSwitchOptions ?? [],
      securityGroupIDs: securityGroupIDs ?? [],
      ...(eniOptions?.eniType === undefined ? {} : { eniOptions: { eniType: eniOptions.eniType } }),
      ...(vSwitchSelectOptions?.vSwitchSelectionPolicy === undefined
        ? {}
        : { vSwitchSelectOptions: { vSwitchSelectionPolicy: vSwitchSelectOptions.vSwitchSelectionPolicy } }),
      ...(allocationType === null || allocationType === undefined ? {} : { allocationType }),
    },
    status: { status: 'Ready' },
  });
}

/** Pod and interface encoded in the name of an {@link inlineNetworking}; undefined for any other name. */
export function inlineOwner(networkingName: string): { podKey: string; interfaceName: string } | undefined {
  const [, podKey, interfaceName] = /^pod:([^:]+):([^:]+)$/.exec(networkingName) ?? [];
  return podKey === undefined || interfaceName === undefined ? undefined : { podKey, interfaceName };
}

function parseJson<T>(text: string, schema: z.ZodType<T>, where: string): { value: T } | { error: string } {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    return { error: `${where}: is not JSON: ${errorMessage(error).replace(/\s+/g, ' ')}` };
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return { value: parsed.data };
  const { field, rule } = firstIssue(parsed.error);
  return { error: `${where}: ${field}: ${rule}` };
}

function interfacesProblem(
  interfaces: { name: string; defaultRoute: boolean | null | undefined }[],
  field: string,
): string | undefined {
  const names = interfaces.map(({ name }) => name);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return `${field} ${twice} appears twice`;
  if (!names.includes(DEFAULT_INTERFACE)) return `no entry for ${DEFAULT_INTERFACE}, which every pod needs`;
  if (interfaces.filter(({ defaultRoute }) => defaultRoute === true).length > 1) {
    return 'defaultRoute is true for more than one interface';
  }
  return undefined;
}
