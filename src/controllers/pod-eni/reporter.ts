import type { PodEni } from '../../crds/pod-eni.ts';
import type { Clock } from '../../util/clock.ts';
import type { ControllerEvents } from '../events.ts';
import { ProgressPacer } from './progress.ts';
import type { PodEniWriter } from './writer.ts';

/** What a PodENI waits for, in words for its condition and the pod's events. */
export interface Report {
  key: string;
  podEni: PodEni;
  /** CamelCase. */
  reason: string;
  message: string;
  signal: AbortSignal;
}

/** Says why a PodENI is not ready. Each method tells after how long the same word should be said again, if at all. */
export class Reporter {
  readonly #writer: PodEniWriter;
  readonly #events: ControllerEvents;
  readonly #pacer: ProgressPacer;

  constructor(options: { writer: PodEniWriter; events: ControllerEvents; clock: Clock }) {
    this.#writer = options.writer;
    this.#events = options.events;
    this.#pacer = new ProgressPacer(options.clock);
  }

  /** An ordinary wait: written only when it lasts. */
  async waiting(report: Report): Promise<{ requeueAfterMs?: number }> {
    return this.#say(report, false);
  }

  /** Something that a person should know: an event on the pod, and the condition at once. */
  async problem(report: Report): Promise<{ requeueAfterMs?: number }> {
    this.#events.podWarning(report.key, report.reason, report.message);
    return this.#say(report, true);
  }

  /** The wait is over. */
  forget(key: string): void {
    this.#pacer.forget(key);
  }

  async #say({ key, podEni, reason, message, signal }: Report, urgent: boolean): Promise<{ requeueAfterMs?: number }> {
    const verdict = this.#pacer.judge(key, `${reason}: ${message}`, urgent);
    if (verdict.write) await this.#writer.notReady(podEni, reason, message, signal);
    else if (verdict.againAfterMs !== undefined) return { requeueAfterMs: verdict.againAfterMs };
    return {};
  }
}
