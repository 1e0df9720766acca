import { ANNOTATION_POD_IPS } from '../crds/names.ts';
import type { PodAttachment } from '../datapath/types.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Pod, podResource } from './resources.ts';

/** The interface whose addresses are the pod's. */
const PRIMARY_INTERFACE = 'eth0';

/**
 * Says on the pod which addresses it has, unless it says so already. By the status subresource, whose right does not include the pod's
 * specification.
 *
 * @throws KubeApiError also when the API server has another pod of the name by now
 */
export async function annotatePodIps(
  client: KubeClient,
  pods: { get(key: string): Pod | undefined },
  { namespace, name, uid, interfaces }: PodAttachment,
): Promise<void> {
  const primary = interfaces.find((candidate) => candidate.name === PRIMARY_INTERFACE);
  const addresses = [primary?.ipv4?.address, primary?.ipv6?.address].filter((address) => address !== undefined);
  const value = addresses.join(',');
  const known = pods.get(`${namespace}/${name}`)?.metadata;
  if (value === '' || (known?.uid === uid && known.annotations?.[ANNOTATION_POD_IPS] === value)) return;
  const metadata = { uid, annotations: { [ANNOTATION_POD_IPS]: value } };
  await client.patchStatus(podResource, { namespace, name }, { type: 'merge', body: { metadata } });
}
