import { parseTrunkIntent } from '../../allocation/trunk.ts';
import type { Eni } from '../../cloud/port.ts';
import { ANNOTATION_TRUNK_INTENT, TAG_ATTEMPT, TAG_CLUSTER, TAG_CREATOR, TAG_CREATOR_VALUE } from '../../crds/names.ts';
import type { TerwayNode } from '../../crds/node.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import type { Resource } from '../../kube/types.ts';
import type { ControllerContext } from '../context.ts';
import { podEniResource, terwayNodeResource } from '../resources.ts';

const PAGE = 500;

/** The ENIs of the cluster as the cloud has them, and who in the cluster names each. */
export interface Inventory {
  /** With the tags of this cluster. */
  enis: Eni[];
  /** Such as `PodENI default/web-0`, by ENI id; undefined for an ENI that nothing names. */
  ownerOf: (eniId: string) => string | undefined;
}

/**
 * Lists the ENIs with our tags, and after that everything that may own one: an ENI of the list has had its intent before
 * (I2), so its owner is in this read. Read from the API server, not from the stores.
 *
 * @throws CloudError, KubeApiError
 */
export async function takeInventory(context: ControllerContext): Promise<Inventory> {
  const { cloud, clusterId, signal } = context;
  const tags = { [TAG_CLUSTER]: clusterId, [TAG_CREATOR]: TAG_CREATOR_VALUE };
  const { enis } = await cloud.describeEnis({ tags }, { signal, callClass: 'audit' });
  const { ids, tokens } = await ownersNow(context);
  const tokenOf = new Map(enis.map((eni) => [eni.id, eni.tags[TAG_ATTEMPT] ?? '']));
  return { enis, ownerOf: (eniId) => ids.get(eniId) ?? tokens.get(tokenOf.get(eniId) ?? '') };
}

/** Who names an ENI id or a ClientToken. */
async function ownersNow(
  context: ControllerContext,
): Promise<{ ids: Map<string, string>; tokens: Map<string, string> }> {
  const ids = new Map<string, string>();
  const tokens = new Map<string, string>();
  for (const podEni of await listAll<PodEni>(context, podEniResource)) {
    const owner = `PodENI ${podEni.metadata.namespace}/${podEni.metadata.name}`;
    for (const { eni, intent } of podEni.spec.allocations ?? []) {
      if (eni.id !== '') ids.set(eni.id, owner);
      if (intent !== undefined) tokens.set(intent.clientToken, owner);
    }
  }
  for (const node of await listAll<TerwayNode>(context, terwayNodeResource)) {
    const owner = `Node ${node.metadata.name}`;
    for (const id of Object.keys(node.status?.networkInterfaces ?? {})) ids.set(id, owner);
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined) continue;
    tokens.set(intent.clientToken, owner);
    if (intent.eniID !== '') ids.set(intent.eniID, owner);
  }
  // A mirror without a PodENI releases its ENI itself.
  const mirrors = context.informers.networkInterfaces.store;
  for (const name of [...mirrors.keys(), ...mirrors.unreadableKeys]) {
    if (!ids.has(name)) ids.set(name, `NetworkInterface ${name}`);
  }
  return { ids, tokens };
}

async function listAll<T extends PodEni | TerwayNode>({ client, signal }: ControllerContext, resource: Resource<T>) {
  const all: T[] = [];
  let continueToken: string | undefined;
  do {
    const page = await client.list<T>(resource, { limit: PAGE, continueToken, signal, priority: 'background' });
    all.push(...page.items);
    continueToken = page.continueToken;
  } while (continueToken !== undefined);
  return all;
}
