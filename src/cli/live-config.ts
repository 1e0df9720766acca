import type { ControlPlaneConfig } from '../config/control-plane.ts';
import { watchConfig } from '../config/reload.ts';
import { applied, changedKeys, type Settings, settingsOf } from '../config/settings.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Clock } from '../util/clock.ts';

/** The settings in force, and whether the file on disk was refused. */
export class LiveConfig {
  #config: ControlPlaneConfig;
  #problem: string | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(config: ControlPlaneConfig) {
    this.#config = config;
  }

  get settings(): Settings {
    return settingsOf(this.#config);
  }

  /** The configuration in force: that of the start with the current settings. */
  get config(): ControlPlaneConfig {
    return this.#config;
  }

  /** Why the configuration file is not in force, in one line; undefined when it is. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** @param listener called after the file was accepted or refused. @returns a function that removes the listener */
  onVerdict(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Follows the file until the signal aborts. A change is logged and counted; an invalid file changes nothing.
   *
   * @param options.text the text that the process started with
   * @param options.apply called with the settings when they changed
   */
  async follow(
    options: {
      path: string;
      text: string;
      clock: Clock;
      log: Log;
      metrics: Metrics;
      apply: (settings: Settings) => void;
    },
    signal: AbortSignal,
  ): Promise<void> {
    const { path, text, clock, log, metrics } = options;
    showLevel(metrics, this.settings);
    await watchConfig(
      {
        path,
        text,
        clock,
        onReload: (reload) => {
          if (reload.kind === 'refused') {
            this.#problem = reload.message;
            metrics.configReloads.inc({ result: 'refused' });
            metrics.configReloadFailed.set(1);
            log.error({ err: reload.message }, 'the configuration file is invalid; the previous one stays in force');
            for (const listener of this.#listeners) listener();
            return;
          }
          const { live, atNextStart } = changedKeys(this.#config, reload.read.config);
          // Keys that need a restart are not in force, so the next comparison is against those that are.
          this.#config = applied(this.#config, reload.read.config);
          this.#problem = undefined;
          metrics.configReloads.inc({ result: 'applied' });
          metrics.configReloadFailed.set(0);
          showLevel(metrics, this.settings);
          options.apply(this.settings);
          for (const listener of this.#listeners) listener();
          log.info({ keys: live }, 'the configuration was read again');
          if (atNextStart.length > 0) log.warn({ keys: atNextStart }, 'these changes need a restart to take effect');
        },
      },
      signal,
    );
  }
}

function showLevel({ degradationLevel }: Metrics, { degradation }: Settings): void {
  for (const level of ['none', 'l0', 'l1']) {
    degradationLevel.set({ level }, level === (degradation === '' ? 'none' : degradation) ? 1 : 0);
  }
}
