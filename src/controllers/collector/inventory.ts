import { isOurs } from '../../allocation/identity.ts';
import { parseTrunkIntent } from '../../allocation/trunk.ts';
import type { Informers } from '../../cluster/informers.ts';
import { ANNOTATION_TRUNK_INTENT, TAG_ATTEMPT } from '../../crds/names.ts';
import { type TerwayNode, terwayNodeResource } from '../../crds/node.ts';
import { type PodEni, podEniResource } from '../../crds/pod-eni.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Resource } from '../../kube/types.ts';
import type { EniSearch } from '../eni/eni-search.ts';

const PAGE = 500;

/** The ENIs of the cluster as the cloud has them, and who in the cluster names each. */
export interface Inventory {
  /** With the tags of this cluster. */
  enis: Eni[];
  /** Such as `PodENI default/web-0`, by ENI id; undefined for an ENI that nothing names. */
  ownerOf: (eniId: string) => string | undefined;
}

/** What an inventory is taken from. */
export interface InventoryContext {
  client: KubeClient;
  clusterId: string;
  /** Finds ENIs whose id is unknown. */
  search: EniSearch;
  /** Ends the term. */
  signal: AbortSignal;
  informers: Pick<Informers, 'podEnis' | 'nodes' | 'networkInterfaces'>;
}

/**
 * Lists the ENIs with our tags, and after that looks for what may own them. The stores may lag: that they name an ENI is
 * enough to leave it alone, that they do not is not enough to call it an orphan. So when one is left over, everything is read
 * from the API server: an ENI of the list has had its intent before (I2), so its owner is in this read.
 *
 * @throws CloudError, KubeApiError
 */
export async function takeInventory(context: InventoryContext): Promise<Inventory> {
  const { search, clusterId, signal } = context;
  const { enis } = await search.list(({ tags }) => isOurs(tags, clusterId), { signal, callClass: 'audit' });
  const stored = ownersInStores(context);
  const owners = enis.every((eni) => stored.of(eni) !== undefined) ? stored : await ownersNow(context);
  const byId = new Map(enis.map((eni) => [eni.id, eni]));
  return {
    enis,
    ownerOf: (eniId) => {
      const eni = byId.get(eniId);
      return eni === undefined ? owners.ofId(eniId) : owners.of(eni);
    },
  };
}

/** Who names an ENI id or a ClientToken; nothing else of the objects is kept. */
class Owners {
  readonly #ids = new Map<string, string>();
  readonly #tokens = new Map<string, string>();

  addPodEni(podEni: PodEni): void {
    const owner = `PodENI ${podEni.metadata.namespace}/${podEni.metadata.name}`;
    for (const { eni, intent } of podEni.spec.allocations ?? []) {
      if (eni.id !== '') this.#ids.set(eni.id, owner);
      if (intent !== undefined) this.#tokens.set(intent.clientToken, owner);
    }
  }

  addNode(node: TerwayNode): void {
    const owner = `Node ${node.metadata.name}`;
    for (const id of Object.keys(node.status?.networkInterfaces ?? {})) this.#ids.set(id, owner);
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined) return;
    this.#tokens.set(intent.clientToken, owner);
    if (intent.eniID !== '') this.#ids.set(intent.eniID, owner);
  }

  /** A mirror without a PodENI releases its ENI itself. */
  addMirror(name: string): void {
    if (!this.#ids.has(name)) this.#ids.set(name, `NetworkInterface ${name}`);
  }

  ofId(eniId: string): string | undefined {
    return this.#ids.get(eniId);
  }

  of({ id, tags }: Eni): string | undefined {
    return this.#ids.get(id) ?? this.#tokens.get(tags[TAG_ATTEMPT] ?? '');
  }
}

function ownersInStores({ informers }: InventoryContext): Owners {
  const owners = new Owners();
  for (const podEni of informers.podEnis.store.values()) owners.addPodEni(podEni);
  for (const node of informers.nodes.store.values()) owners.addNode(node);
  addMirrors(owners, informers);
  return owners;
}

async function ownersNow(context: InventoryContext): Promise<Owners> {
  const owners = new Owners();
  for await (const podEni of listed<PodEni>(context, podEniResource)) owners.addPodEni(podEni);
  for await (const node of listed<TerwayNode>(context, terwayNodeResource)) owners.addNode(node);
  addMirrors(owners, context.informers);
  return owners;
}

function addMirrors(owners: Owners, { networkInterfaces }: Pick<Informers, 'networkInterfaces'>) {
  const { store } = networkInterfaces;
  for (const name of [...store.keys(), ...store.unreadableKeys]) owners.addMirror(name);
}

/** One page at a time is in memory. */
async function* listed<T extends PodEni | TerwayNode>(
  { client, signal }: InventoryContext,
  resource: Resource<T>,
): AsyncGenerator<T> {
  let continueToken: string | undefined;
  do {
    const page = await client.list<T>(resource, { limit: PAGE, continueToken, signal, priority: 'background' });
    yield* page.items;
    continueToken = page.continueToken;
  } while (continueToken !== undefined);
}
