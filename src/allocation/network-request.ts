import { z } from 'zod';
import { ANNOTATION_POD_NETWORKS_REQUEST } from '../crds/names.ts';
import { errorMessage } from '../util/errors.ts';
import { parseCidr } from '../util/ip.ts';

const requestSchema = z
  .array(
    z.object({
      interfaceName: z
        .string()
        .regex(/^[A-Za-z][A-Za-z0-9_.-]{0,14}$/, 'must be an interface name of at most 15 characters')
        .default('eth0'),
      network: z.string().min(1),
      defaultRoute: z.boolean().optional(),
      routes: z
        .array(z.object({ dst: z.string().refine((text) => parseCidr(text) !== undefined, 'must be a CIDR') }))
        .optional(),
    }),
  )
  .min(1)
  .max(8);

/** Interfaces that a pod asks for by PodNetworking. */
export type NetworkRequest = z.infer<typeof requestSchema>;

/**
 * Reads the annotation `k8s.aliyun.com/pod-networks-request` (reference 3.2, 4b).
 *
 * @returns the request, or one line that names field and rule.
 */
export function parseNetworkRequest(text: string): { request: NetworkRequest } | { error: string } {
  const where = `annotation ${ANNOTATION_POD_NETWORKS_REQUEST}`;
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    return { error: `${where}: is not JSON: ${errorMessage(error).replace(/\s+/g, ' ')}` };
  }
  const parsed = requestSchema.safeParse(raw);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const field = issue === undefined || issue.path.length === 0 ? 'top level' : issue.path.join('.');
    return { error: `${where}: ${field}: ${issue?.message ?? 'is invalid'}` };
  }
  const names = parsed.data.map(({ interfaceName }) => interfaceName);
  const twice = names.find((name, at) => names.indexOf(name) !== at);
  if (twice !== undefined) return { error: `${where}: interfaceName ${twice} is there twice` };
  if (!names.includes('eth0')) return { error: `${where}: no entry is for eth0, which every pod has` };
  if (parsed.data.filter(({ defaultRoute }) => defaultRoute === true).length > 1) {
    return { error: `${where}: defaultRoute is true for more than one interface` };
  }
  return { request: parsed.data };
}
