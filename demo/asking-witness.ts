import { formatDuration } from '../src/util/terminal/text.ts';
import type { Witness } from './chapter-fixed-address.ts';
import { DemoError } from './errors.ts';
import type { Narrator } from './narrator.ts';
import { PageClient } from './page-client.ts';
import type { PodRow } from './pod-record.ts';
import type { RealStage } from './real-stage.ts';
import { describeResponses, longestSilenceMs, responseProblems } from './responses.ts';

const ANSWER_TIMEOUT_MS = 30_000;
const ENOUGH_ANSWERS = 3;

/** A pod that keeps asking the one that moves for its page, always at the same address. */
export class AskingWitness implements Witness, AsyncDisposable {
  readonly why: string;
  /** The longest time that the client was without an answer, in ms. */
  silenceMs = 0;
  readonly #narrator: Narrator;
  readonly #stage: RealStage;
  readonly #client: PodRow;
  #before: PodRow | undefined;
  #asking: PageClient | undefined;

  constructor(narrator: Narrator, stage: RealStage, client: PodRow) {
    this.#narrator = narrator;
    this.#stage = stage;
    this.#client = client;
    this.why = `Meanwhile ${client.name} on ${client.node} keeps asking it for its page.`;
  }

  async begin(before: PodRow): Promise<void> {
    this.#before = before;
    this.#asking = PageClient.start(this.#stage, this.#client.name, before.address);
    await this.#answered(this.#asking, before);
  }

  progress(): string {
    const responses = describeResponses(this.#asking?.responses ?? [], performance.now());
    return `${this.#client.name} asks ${this.#before?.address ?? ''} and gets: ${responses}`;
  }

  async end(after: PodRow): Promise<void> {
    const asking = this.#asking;
    const before = this.#before;
    if (asking === undefined || before === undefined) throw new DemoError('nobody has asked');
    await this.#answered(asking, after);
    await asking[Symbol.asyncDispose]();
    const { responses } = asking;
    const problems = responseProblems(responses, pageOf(before), pageOf(after));
    if (problems.length > 0) throw new DemoError(problems.join('; '));
    this.silenceMs = longestSilenceMs(responses);
    this.#narrator.done(
      `${this.#client.name} asked ${before.address} all the time and got ${describeResponses(responses, performance.now())}; ` +
        `at most ${formatDuration(this.silenceMs)} without an answer`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#asking?.[Symbol.asyncDispose]();
  }

  #answered(asking: PageClient, pod: PodRow): Promise<void> {
    return asking.until(pageOf(pod), ENOUGH_ANSWERS, {
      signal: this.#stage.signal,
      timeoutMs: ANSWER_TIMEOUT_MS,
      problem: () => `${this.#client.name} has no answer of ${pageOf(pod)}: ${this.progress()}`,
    });
  }
}

function pageOf({ name, node }: PodRow): string {
  return `${name} on ${node}`;
}
