import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { stringify } from 'yaml';
import * as z from 'zod';
import { type ConformancePrograms, ensureConformancePrograms } from '../../tools/programs/conformance.ts';
import { formatKubeconfig, readKubeconfig } from '../cluster/kubeconfig.ts';
import { POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from '../harness/lab.ts';
import { NodeLab } from '../harness/node-lab.ts';
import type { VpcHost } from '../harness/vpc-host.ts';
import { writeConformanceImages } from './images.ts';

/** What specs of the suite are run. */
export interface SpecSelection {
  /** Regular expressions (Go's); a spec that one of them matches is run. */
  focus: readonly string[];
  /** One that matches keeps a spec from being run all the same. */
  skip?: readonly string[];
}

export interface SpecResult {
  /** With its containers, as the suite prints it. */
  name: string;
  state: 'passed' | 'failed' | 'skipped';
  seconds: number;
  /** Why it failed or was skipped by itself. */
  message: string;
}

export interface SuiteOptions {
  signal?: AbortSignal | undefined;
  /** Told, line by line, what goes on. */
  log?: (line: string) => void;
  /** How many nodes, 3 by default. */
  nodeCount?: number;
}

const NODE_COUNT = 3;
/** Specs mostly wait; each has a namespace of its own. */
const PROCESSES = 3;
/** Every pod of every namespace gets a member ENI. */
const EVERY_POD = 'every-pod';

/**
 * A cluster of the laboratory on which Kubernetes' own e2e suite runs: all pods on member ENIs, both address families,
 * CoreDNS, the images that the specs name; and a machine of the VPC beside it from which the suite speaks to nodes and pods.
 */
export class ConformanceCluster implements AsyncDisposable {
  readonly lab: NodeLab;
  readonly #programs: ConformancePrograms;
  readonly #host: VpcHost;
  readonly #kubeconfig: string;
  readonly #options: SuiteOptions;
  #runs = 0;

  private constructor(
    parts: { lab: NodeLab; programs: ConformancePrograms; host: VpcHost; kubeconfig: string },
    options: SuiteOptions,
  ) {
    this.lab = parts.lab;
    this.#programs = parts.programs;
    this.#host = parts.host;
    this.#kubeconfig = parts.kubeconfig;
    this.#options = options;
  }

  /** Builds the suite if the cache lacks it, and brings the cluster up. */
  static async start(options: SuiteOptions = {}): Promise<ConformanceCluster> {
    const { signal, log = () => undefined, nodeCount = NODE_COUNT } = options;
    const programs = await ensureConformancePrograms({ signal, log });
    log(`starting ${nodeCount} nodes`);
    const lab = await NodeLab.start({
      nodes: Array.from({ length: nodeCount }, (_, at) => ({
        zone: ZONES[at % ZONES.length] ?? ZONES[0],
        // 112 member slots.
        instanceType: 'ecs.g7.16xlarge',
      })),
      installer: 'helm',
      dualStack: true,
      controlPlaneConfig: { ipStack: 'dual' },
      latencies: { createMs: 100, attachMs: 300, detachMs: 300, deleteMs: 100 },
      log,
      ...(signal === undefined ? {} : { signal }),
    });
    try {
      log('installing the product and CoreDNS');
      await lab.install();
      await lab.installDns();
      await lab.lab.apply(everyPodNetworking());
      await lab.lab.networkingReady(EVERY_POD);
      log('giving the images of the specs to the nodes');
      const images = join(lab.stateDir, 'conformance-images.tar');
      await writeConformanceImages(images, programs);
      for (const { real } of lab.nodes) await real.importImage(images);
      const host = await lab.startHost('e2e');
      const kubeconfig = join(lab.stateDir, 'e2e.kubeconfig');
      const admin = await readKubeconfig(lab.cluster.kubeconfigPath);
      const serverUrl = lab.cluster.hub?.serverUrl ?? admin.serverUrl;
      await writeFile(kubeconfig, formatKubeconfig({ ...admin, serverUrl }), { mode: 0o600 });
      return new ConformanceCluster({ lab, programs, host, kubeconfig }, options);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /**
   * Runs the specs, a few at a time. Logs and JUnit files are in `reportDir`, which is made.
   *
   * @returns those that were run, or skipped themselves; a spec that fails is a result.
   * @throws Error with the end of the log when the suite itself fails.
   */
  async run(selection: SpecSelection, reportDir: string): Promise<SpecResult[]> {
    const names = await this.list(selection, reportDir);
    const processes = Array.from({ length: PROCESSES }, (_, at) => names.filter((_name, of) => of % PROCESSES === at))
      .filter((share) => share.length > 0)
      .map((share) => this.#suite({ focus: share.map(exactly) }, reportDir, { isDryRun: false }));
    const results = (await Promise.all(processes)).flat();
    return results.sort((left, right) => left.name.localeCompare(right.name));
  }

  /** Names of the specs that are selected, without running any. */
  async list(selection: SpecSelection, reportDir: string): Promise<string[]> {
    const results = await this.#suite(selection, reportDir, { isDryRun: true });
    return results.filter(({ state }) => state === 'passed').map(({ name }) => name);
  }

  async #suite(
    { focus, skip = [] }: SpecSelection,
    reportDir: string,
    { isDryRun }: { isDryRun: boolean },
  ): Promise<SpecResult[]> {
    const { signal, log = () => undefined } = this.#options;
    await mkdir(reportDir, { recursive: true });
    this.#runs += 1;
    const run = this.#runs;
    const report = join(reportDir, `specs-${run}.json`);
    const { code, stdout, stderr } = await this.#host.exec(
      this.#programs.suite,
      [
        `--kubeconfig=${this.#kubeconfig}`,
        `--kubectl-path=${this.lab.cluster.binaries.path('kubectl')}`,
        ...['--provider=skeleton', '--allowed-not-ready-nodes=0', `--num-nodes=${this.lab.nodes.length}`],
        ...focus.map((pattern) => `--ginkgo.focus=${pattern}`),
        ...skip.map((pattern) => `--ginkgo.skip=${pattern}`),
        ...['--ginkgo.v', '--ginkgo.no-color', '--ginkgo.silence-skips', '--ginkgo.timeout=2h'],
        ...(isDryRun ? ['--ginkgo.dry-run'] : []),
        ...[`--report-dir=${reportDir}`, `--report-prefix=run${run}-`, `--ginkgo.json-report=${report}`],
      ],
      {
        signal,
        // Its kubectl leaves files of settings behind.
        env: { PATH: process.env['PATH'] ?? '', HOME: this.lab.stateDir, TMPDIR: this.lab.stateDir },
        ...(isDryRun ? {} : { stdout: progressOf(log) }),
      },
    );
    await writeFile(join(reportDir, `run${run}.log`), stdout + stderr);
    const text = await readFile(report, 'utf8').catch(() => undefined);
    if (text === undefined) {
      throw new Error(`the e2e suite ended with code ${code} and without a report:\n${(stdout + stderr).slice(-2000)}`);
    }
    return specResults(JSON.parse(text));
  }

  async close(): Promise<void> {
    await this.lab.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A pattern of Go's that matches the spec of this name and no other. */
function exactly(name: string): string {
  return `${name.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')}$`;
}

function everyPodNetworking(): string {
  return stringify({
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata: { name: EVERY_POD },
    spec: {
      selector: { namespaceSelector: {} },
      vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
      securityGroupIDs: [POD_SECURITY_GROUP],
    },
  });
}

/** Ginkgo draws a line before each spec, whose name comes next, and says in a line with a bullet how it ended. */
function progressOf(log: (line: string) => void): NodeJS.WritableStream {
  const stream = new PassThrough();
  let name = '';
  let isNameNext = false;
  createInterface({ input: stream }).on('line', (line) => {
    if (isNameNext) name = line;
    isNameNext = /^-+$/.test(line);
    const verdict = /^• (?:\[FAILED\] )?\[[\d.]+ seconds\]/.exec(line)?.[0];
    if (verdict !== undefined) log(`${verdict} ${name}`);
  });
  return stream;
}

/** Of Ginkgo's JSON report; specs that were not selected are in it, too. */
const reportSchema = z.array(
  z.object({
    SpecReports: z
      .array(
        z.object({
          ContainerHierarchyTexts: z.array(z.string()).nullable(),
          LeafNodeType: z.string(),
          LeafNodeText: z.string(),
          State: z.string(),
          /** Nanoseconds. */
          RunTime: z.number(),
          Failure: z.object({ Message: z.string().default('') }).optional(),
        }),
      )
      .nullable(),
  }),
);

function specResults(report: unknown): SpecResult[] {
  return reportSchema
    .parse(report)
    .flatMap(({ SpecReports }) => SpecReports ?? [])
    .flatMap((spec): SpecResult[] => {
      const message = spec.Failure?.Message ?? '';
      const isSkipped = spec.State === 'skipped' || spec.State === 'pending';
      // Those that were not selected have no message; hooks of the suite count when they fail.
      if (isSkipped && message === '') return [];
      if (spec.LeafNodeType !== 'It' && spec.State === 'passed') return [];
      return [
        {
          name: [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText || spec.LeafNodeType].join(' '),
          state: spec.State === 'passed' ? 'passed' : isSkipped ? 'skipped' : 'failed',
          seconds: spec.RunTime / 1e9,
          message,
        },
      ];
    });
}
