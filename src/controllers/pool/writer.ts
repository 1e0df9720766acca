import type { PoolStatus } from '../../allocation/pool/plan-pool.ts';
import type { Informers } from '../../cluster/informers.ts';
import { type TerwayNode, terwayNodeResource } from '../../crds/node.ts';
import type { KubeClient } from '../../kube/client.ts';
import { patchObject } from '../../kube/patch.ts';

/** Writes of the pool in the Node CR. */
export class PoolWriter {
  readonly #client: KubeClient;
  readonly #nodes: Informers['nodes'];

  constructor(options: { client: KubeClient; informers: Pick<Informers, 'nodes'> }) {
    this.#client = options.client;
    this.#nodes = options.informers.nodes;
  }

  /**
   * Writes ENIs, addresses, intents and times; nothing if they are as they were. A record that somebody else has written since it was
   * read is refused, so that no address is given twice.
   *
   * @returns the node as it is now
   */
  async status(node: TerwayNode, status: PoolStatus, signal: AbortSignal): Promise<TerwayNode> {
    const written = await patchObject(
      this.#client,
      terwayNodeResource,
      node,
      (draft) => {
        draft.status = status;
      },
      { signal, subresource: 'status' },
    );
    this.#nodes.store.noteWritten(written);
    return written;
  }
}
