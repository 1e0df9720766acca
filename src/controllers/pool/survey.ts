import type { Eni } from '../../ecs/eni.ts';
import type { Log } from '../../telemetry/log.ts';
import { errorMessage } from '../../util/errors.ts';
import type { EniSearch } from '../eni/eni-search.ts';

interface Question {
  instanceId: string;
  /** Absent while the cloud is asked. */
  enis?: readonly Eni[];
}

export interface PoolSurveyOptions {
  search: Pick<EniSearch, 'ask'>;
  log: Log;
  /** Ends with the term. */
  signal: AbortSignal;
  wakePool: (nodeName: string) => void;
}

/**
 * Asks once, for a node whose record names no ENI, what the cloud has for its instance. No worker waits for the answer, so that nodes
 * that ask together share requests.
 */
export class PoolSurvey {
  readonly #options: PoolSurveyOptions;
  /** By node. */
  readonly #questions = new Map<string, Question>();

  constructor(options: PoolSurveyOptions) {
    this.#options = options;
  }

  /** Nodes about which the cloud was asked, and whose answer was not recorded yet. */
  get size(): number {
    return this.#questions.size;
  }

  /** The secondary ENIs of the instance; undefined while the answer is awaited, which wakes the node. */
  of(nodeName: string, instanceId: string): readonly Eni[] | undefined {
    const known = this.#questions.get(nodeName);
    if (known?.instanceId === instanceId) return known.enis;
    const question: Question = { instanceId };
    this.#questions.set(nodeName, question);
    const { search, log, signal, wakePool } = this.#options;
    search.ask({ secondariesOf: instanceId }, { signal, callClass: 'pod' }).then(
      ({ enis }) => {
        question.enis = enis;
        wakePool(nodeName);
      },
      (error: unknown) => {
        // It is asked again.
        if (this.#questions.get(nodeName) === question) this.#questions.delete(nodeName);
        if (signal.aborted) return;
        log.warn({ node: nodeName, err: errorMessage(error) }, 'the ENIs of a node are not known yet');
        wakePool(nodeName);
      },
    );
    return undefined;
  }

  /** The answer is recorded, or the node is gone. */
  forget(nodeName: string): void {
    this.#questions.delete(nodeName);
  }
}
