import type { DaemonSpec } from '../../allocation/pool/node-spec.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import type { Informers } from '../../cluster/informers.ts';
import { DAEMON_FIELDS } from '../../crds/field-owners.ts';
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

  /** Writes what the node may have, except where somebody else did. @returns the node as it is now */
  async spec(node: TerwayNode, spec: DaemonSpec, signal: AbortSignal): Promise<TerwayNode> {
    const foreign = node.metadata.managedFields?.all ?? [];
    const ours = DAEMON_FIELDS.filter((field) => !foreign.includes(field));
    const written = await patchObject(
      this.#client,
      terwayNodeResource,
      node,
      (draft) => {
        for (const field of ours) Object.assign(draft.spec, { [field]: spec[field] });
      },
      { signal },
    );
    this.#nodes.store.noteWritten(written);
    return written;
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
