import type { PodEni } from '../../crds/pod-eni.ts';
import type { Reason } from '../../crds/reasons/catalogue.ts';
import type { Clock } from '../../util/clock.ts';
import { withoutRequestId } from '../../util/same-failure.ts';
import type { ControllerEvents } from '../events.ts';
import { ProgressPacer } from './progress.ts';
import type { PodEniWriter } from './writer.ts';

/** What a PodENI waits for, for its condition and the pod's events. */
export interface Report {
  key: string;
  podEni: PodEni;
  reason: Reason;
  message: string;
  /** Only for the event: what changes without a reconcile of the pod, such as its place in line, would be out of date in the condition. */
  place?: string | undefined;
  signal: AbortSignal;
}

/** Reports why a PodENI is not ready. Each method returns after how long the report should be repeated, if at all. */
export class Reporter {
  readonly #writer: PodEniWriter;
  readonly #events: ControllerEvents;
  readonly #pacer: ProgressPacer;

  constructor(options: { writer: PodEniWriter; events: ControllerEvents; clock: Clock }) {
    this.#writer = options.writer;
    this.#events = options.events;
    this.#pacer = new ProgressPacer(options.clock);
  }

  /** Waits that were reported or will be. */
  get size(): number {
    return this.#pacer.size;
  }

  /** An ordinary wait: written only when it takes long. */
  async waiting(report: Report): Promise<{ requeueAfterMs?: number }> {
    return this.#say(report, false);
  }

  /** A problem that a person should know about: an event on the pod, and the condition at once. */
  async problem(report: Report): Promise<{ requeueAfterMs?: number }> {
    this.#events.podWarning(report.key, report.reason, report.message, () => report.place);
    return this.#say(report, true);
  }

  /** The wait is over. */
  forget(key: string): void {
    this.#pacer.forget(key);
  }

  async #say(report: Report, urgent: boolean): Promise<{ requeueAfterMs?: number }> {
    const { key, podEni, reason, message, signal } = report;
    // A repeated failure with another request id is not news.
    const verdict = this.#pacer.judge(key, { stage: reason, text: withoutRequestId(`${reason}: ${message}`) }, urgent);
    if (verdict.write) await this.#writer.notReady(podEni, reason, message, signal);
    else if (verdict.againAfterMs !== undefined) return { requeueAfterMs: verdict.againAfterMs };
    return {};
  }
}
