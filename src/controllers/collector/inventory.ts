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

/** The ENIs of the cluster in the cloud, and the object that names each. */
export interface Inventory {
  /** ENIs with the tags of this cluster. */
  enis: Eni[];
  /** These, and those of Terway that the record of a node names, by id. */
  listed: ReadonlyMap<string, Eni>;
  /** For example `PodENI default/web-0`, by ENI id; undefined when no object names the ENI. */
  ownerOf: (eniId: string) => string | undefined;
}

export interface InventoryContext {
  client: KubeClient;
  clusterId: string;
  /** Finds ENIs whose id is unknown. */
  search: EniSearch;
  /** Ends with the term. */
  signal: AbortSignal;
  informers: Pick<Informers, 'podEnis' | 'nodes' | 'networkInterfaces'>;
}

/**
 * Lists the ENIs with our tags, then looks for their owners. The stores may lag: an ENI that they name is left alone,
 * but an ENI that they do not name is not yet an orphan. If any is left over, everything is read from the API server. A
 * listed ENI had a persisted intent before it existed (I2), so this read contains its owner.
 *
 * @throws CloudError, KubeApiError
 */
export async function takeInventory(context: InventoryContext): Promise<Inventory> {
  const { search, clusterId, signal } = context;
  const { nodes } = context.informers;
  const inPools = new Set(nodes.store.list().flatMap(({ status }) => Object.keys(status?.networkInterfaces ?? {})));
  const isKept = ({ id, tags }: Eni) => isOurs(tags, clusterId) || inPools.has(id);
  const { enis: kept } = await search.list(isKept, { signal, callClass: 'audit' });
  const enis = kept.filter(({ tags }) => isOurs(tags, clusterId));
  const stored = ownersInStores(context);
  const owners = enis.every((eni) => stored.of(eni) !== undefined) ? stored : await ownersNow(context);
  const byId = new Map(enis.map((eni) => [eni.id, eni]));
  return {
    enis,
    listed: new Map(kept.map((eni) => [eni.id, eni])),
    ownerOf: (eniId) => {
      const eni = byId.get(eniId);
      return eni === undefined ? owners.ofId(eniId) : owners.of(eni);
    },
  };
}

/** Maps ENI ids and ClientTokens to the objects that name them; keeps nothing else of the objects. */
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
    const { networkInterfaces = {}, poolIntents = [] } = node.status ?? {};
    for (const id of Object.keys(networkInterfaces)) this.#ids.set(id, owner);
    for (const { clientToken, eniID } of poolIntents) {
      this.#tokens.set(clientToken, owner);
      if (eniID !== '') this.#ids.set(eniID, owner);
    }
    const intent = parseTrunkIntent(node.metadata.annotations?.[ANNOTATION_TRUNK_INTENT]);
    if (intent === undefined) return;
    this.#tokens.set(intent.clientToken, owner);
    if (intent.eniID !== '') this.#ids.set(intent.eniID, owner);
  }

  /** A mirror without a PodENI releases its own ENI. */
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

/** Holds one page at a time in memory. */
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
