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

/** The specs of the suite to run. */
export interface SpecSelection {
  /** Go regular expressions. A spec that matches one of them runs. */
  focus: readonly string[];
  /** Go regular expressions. A spec that matches one of them does not run, whatever `focus` says. */
  skip?: readonly string[];
}

export interface SpecResult {
  /** Includes the containers, as the suite prints it. */
  name: string;
  state: 'passed' | 'failed' | 'skipped';
  seconds: number;
  /** Why the spec failed or skipped itself. */
  message: string;
}

/** What every pod of the cluster has: a member ENI, or an address of an ENI that its node shares. */
export type PodNetwork = 'members' | 'shared';

export interface SuiteOptions {
  /** Default: members. */
  pods?: PodNetwork;
  signal?: AbortSignal | undefined;
  /** Called with each line of progress. */
  log?: (line: string) => void;
  /** Default: 3. */
  nodeCount?: number;
}

const NODE_COUNT = 3;
/** Specs mostly wait, and each has its own namespace. */
const PROCESSES = 3;
/** Name of the PodNetworking that gives every pod of every namespace a member ENI. */
const EVERY_POD = 'every-pod';

/**
 * A lab in which Kubernetes' own e2e suite runs. All pods have member ENIs, or share ENIs, and have addresses of both families. CoreDNS is installed,
 * and the nodes have the images that the specs name. The suite runs on a VPC machine outside the cluster, from which it reaches
 * nodes and pods.
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

  /** Builds the suite if it is not cached, and starts the cluster. */
  static async start(options: SuiteOptions = {}): Promise<ConformanceCluster> {
    const { signal, log = () => undefined, nodeCount = NODE_COUNT, pods = 'members' } = options;
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
      ...(pods === 'shared' ? { eniConf: { ipam_type: 'crd', ip_stack: 'dual', max_pool_size: 10 } } : {}),
      latencies: { createMs: 100, attachMs: 300, detachMs: 300, deleteMs: 100 },
      log,
      ...(signal === undefined ? {} : { signal }),
    });
    try {
      log('installing the product and CoreDNS');
      await lab.install();
      await lab.installDns(pods === 'shared' ? 'shared' : 'selected');
      if (pods === 'members') {
        await lab.lab.apply(everyPodNetworking());
        await lab.lab.networkingReady(EVERY_POD);
      }
      log('importing the images of the specs on the nodes');
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
   * Runs the specs, a few at a time. Creates `reportDir` and writes the logs and JUnit files there.
   *
   * @returns the specs that ran or skipped themselves; a failed spec is a result, not an error.
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

  /** Names of the selected specs. Runs none of them. */
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
        // The suite's kubectl leaves settings files behind.
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

/** A Go regular expression that matches only the spec with this name. */
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

/** Before each spec Ginkgo prints a line of dashes and then its name. How the spec ended is on a line with a bullet. */
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

/** Ginkgo's JSON report. It also has the specs that were not selected. */
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
      // Specs that were not selected have no message. Hooks of the suite count only when they fail.
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
