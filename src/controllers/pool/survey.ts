import type { OperationFailure } from '../../allocation/operation.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { Log } from '../../telemetry/log.ts';
import type { Clock } from '../../util/clock.ts';
import { errorMessage } from '../../util/errors.ts';
import type { EniSearch } from '../eni/eni-search.ts';
import { failureOf } from '../eni/pending-calls.ts';

interface Question {
  instanceId: string;
  /** Absent while the cloud is asked. */
  enis?: readonly Eni[];
  /** Why there is no answer; it is asked again after a while. */
  failure?: OperationFailure;
  /** How often it was asked in vain. */
  failures: number;
}

const BACKOFF_FIRST_MS = 1000;
const BACKOFF_MAX_MS = 60_000;

export interface PoolSurveyOptions {
  search: Pick<EniSearch, 'ask'>;
  clock: Clock;
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

  /** The secondary ENIs of the instance, or why they are not known; neither while the answer is awaited. Both wake the node. */
  of(nodeName: string, instanceId: string): Pick<Question, 'enis' | 'failure'> {
    const known = this.#questions.get(nodeName);
    if (known?.instanceId === instanceId) return known;
    const question: Question = { instanceId, failures: 0 };
    this.#questions.set(nodeName, question);
    this.#ask(nodeName, question);
    return question;
  }

  #ask(nodeName: string, question: Question): void {
    const { search, clock, log, signal, wakePool } = this.#options;
    const { instanceId } = question;
    search.ask({ secondariesOf: instanceId }, { signal, callClass: 'pod' }).then(
      ({ enis }) => {
        question.enis = enis;
        delete question.failure;
        wakePool(nodeName);
      },
      (error: unknown) => {
        if (signal.aborted) return;
        if (question.failures === 0) {
          log.warn({ node: nodeName, err: errorMessage(error) }, 'the ENIs of a node are not known yet');
        }
        question.failure = failureOf(error);
        question.failures += 1;
        const delayMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** (question.failures - 1));
        clock.sleep(delayMs, signal).then(
          () => {
            if (this.#questions.get(nodeName) === question) this.#ask(nodeName, question);
          },
          // The term has ended.
          () => undefined,
        );
        wakePool(nodeName);
      },
    );
  }

  /** The answer is recorded, or the node is gone. */
  forget(nodeName: string): void {
    this.#questions.delete(nodeName);
  }
}
