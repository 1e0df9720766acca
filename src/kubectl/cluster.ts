import type { KubeClient } from '../kube/client.ts';
import { isNotFound } from '../kube/errors.ts';
import type { HasMetadata, ObjectKey, Resource } from '../kube/types.ts';

const PAGE = 500;

/** Read-only access to the API server. */
export class ClusterReader {
  readonly #client: KubeClient;
  readonly #signal: AbortSignal;

  constructor(client: KubeClient, signal: AbortSignal) {
    this.#client = client;
    this.#signal = signal;
  }

  /**
   * Every object, or those of a namespace or selector; an empty list for a kind that the cluster does not have.
   *
   * @throws KubeApiError, TransportError
   */
  async list<T extends HasMetadata>(
    resource: Resource<T>,
    options: { namespace?: string; labelSelector?: string; fieldSelector?: string } = {},
  ): Promise<T[]> {
    const all: T[] = [];
    let continueToken: string | undefined;
    do {
      try {
        const page = await this.#client.list(resource, {
          ...options,
          limit: PAGE,
          continueToken,
          signal: this.#signal,
        });
        all.push(...page.items);
        continueToken = page.continueToken;
      } catch (error) {
        if (isNotFound(error)) return all;
        throw error;
      }
    } while (continueToken !== undefined);
    return all;
  }

  /** The object; undefined when there is none. @throws KubeApiError, TransportError */
  async find<T extends HasMetadata>(resource: Resource<T>, key: ObjectKey): Promise<T | undefined> {
    return this.#client.get(resource, key, { signal: this.#signal }).catch((error: unknown) => {
      if (isNotFound(error)) return undefined;
      throw error;
    });
  }

  /** A path that returns no objects, such as `/version`. */
  async path(path: string): Promise<unknown> {
    return this.#client.getPath(path, { signal: this.#signal });
  }
}
