import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import * as z from 'zod';
import { pollUntil } from '../../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../../tools/machine/ports.ts';
import { Component } from '../../../tools/machine/process.ts';
import { ensurePrometheus } from '../../../tools/programs/prometheus.ts';

/** How long it may take to close its database. */
const STOP_MS = 10_000;

const resultSchema = z.object({
  data: z.object({ result: z.array(z.object({ metric: z.record(z.string(), z.string()) })) }),
});
const alertsSchema = z.object({
  data: z.object({ alerts: z.array(z.object({ labels: z.record(z.string(), z.string()), state: z.string() })) }),
});
const targetsSchema = z.object({
  data: z.object({ activeTargets: z.array(z.object({ health: z.string(), lastError: z.string() })) }),
});

/** A Prometheus of its own on loopback, with a temporary folder. */
export class Prometheus implements AsyncDisposable {
  readonly #process: Component;
  readonly #stateDir: string;
  readonly #url: string;

  private constructor(process: Component, stateDir: string, url: string) {
    this.#process = process;
    this.#stateDir = stateDir;
    this.#url = url;
  }

  /**
   * Starts it and waits until every target was scraped.
   *
   * @param options.targets addresses `host:port` by job.
   * @param options.rules text of a file of rules.
   */
  static async start(options: { targets: Readonly<Record<string, string>>; rules: string }): Promise<Prometheus> {
    const programs = await ensurePrometheus();
    const stateDir = await mkdtemp(join(tmpdir(), 'terway-prometheus-'));
    const [port] = await chooseFreePorts(1);
    const config = join(stateDir, 'prometheus.yml');
    await writeFile(join(stateDir, 'rules.yaml'), options.rules);
    await writeFile(
      config,
      stringify({
        global: { scrape_interval: '1s', evaluation_interval: '1s' },
        rule_files: ['rules.yaml'],
        scrape_configs: Object.entries(options.targets).map(([job, target]) => ({
          job_name: job,
          static_configs: [{ targets: [target] }],
        })),
      }),
    );
    await mkdir(join(stateDir, 'data'));
    const address = `127.0.0.1:${port}`;
    const component = await Component.start({
      name: 'prometheus',
      command: 'setpriv',
      args: [
        ...['--pdeathsig', 'KILL', '--', join(programs, 'prometheus'), `--config.file=${config}`],
        ...[`--storage.tsdb.path=${join(stateDir, 'data')}`, `--web.listen-address=${address}`],
      ],
      logPath: join(stateDir, 'prometheus.log'),
      homeDirectory: stateDir,
    });
    const prometheus = new Prometheus(component, stateDir, `http://${address}`);
    try {
      await pollUntil(() => prometheus.#scraped(Object.keys(options.targets).length), {
        what: 'Prometheus to scrape its targets',
        timeoutMs: 60_000,
      });
    } catch (error) {
      await prometheus.close();
      throw error;
    }
    return prometheus;
  }

  /** The labels of each series that an expression gives now. @throws when Prometheus does not understand it. */
  async query(expression: string): Promise<Record<string, string>[]> {
    const answer = await this.#get(`/api/v1/query?query=${encodeURIComponent(expression)}`);
    return resultSchema.parse(answer).data.result.map(({ metric }) => metric);
  }

  /** Names of the alerts that fire now. */
  async firing(): Promise<string[]> {
    const { alerts } = alertsSchema.parse(await this.#get('/api/v1/alerts')).data;
    return alerts.filter(({ state }) => state === 'firing').map(({ labels }) => labels['alertname'] ?? '');
  }

  async close(): Promise<void> {
    await this.#process.stop(STOP_MS);
    await rm(this.#stateDir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #scraped(count: number): Promise<true | undefined> {
    const answer = await this.#get('/api/v1/targets').catch(() => undefined);
    const targets = answer === undefined ? [] : targetsSchema.parse(answer).data.activeTargets;
    return targets.filter(({ health }) => health === 'up').length === count ? true : undefined;
  }

  async #get(path: string): Promise<unknown> {
    const response = await fetch(`${this.#url}${path}`);
    if (!response.ok) throw new Error(`Prometheus answers ${response.status}: ${await response.text()}`);
    return response.json();
  }
}
