import { join } from 'node:path';
import { startCluster } from '../test/cluster/cluster.ts';
import { startNodeLoop } from '../test/cluster/node-loop.ts';
import { createStateDir, removeStateDir } from '../test/cluster/shared.ts';
import { type ControlPlane, ControlPlaneLab, type Zone } from '../test/harness/lab.ts';
import { applyWebhookConfigurations } from '../test/harness/webhook.ts';
import { chooseFreePorts } from '../tools/machine/ports.ts';
import { ensureKubeBinaries } from '../tools/programs/kubernetes.ts';
import type { Closers } from './closers.ts';
import { DemoError } from './errors.ts';
import { readableLog } from './log-tail.ts';
import type { Narrator } from './narrator.ts';
import { readSamples } from './samples.ts';
import { Stage } from './stage.ts';

const NODE_ZONES: readonly Zone[] = [
  ...(['cn-hangzhou-h', 'cn-hangzhou-h', 'cn-hangzhou-h'] as const),
  ...(['cn-hangzhou-i', 'cn-hangzhou-i'] as const),
];
const INSTANCE_TYPE = 'ecs.g7.4xlarge';

/** More than are shown: a stack trace may be the end of it. */
const LOG_TAIL_LINES = 60;

/** A cluster whose nodes are objects without a machine: pods that are bound to them are said to run. */
export class PlainStage extends Stage {
  #controlPlane: ControlPlane | undefined;

  /**
   * Starts cluster, simulator, nodes and control plane, in this order, and tells about it.
   *
   * @param closers gets what has to be done at the end, however far the start comes.
   * @throws MissingToolError and others whose message says what to do; the signal's reason.
   */
  static async start(narrator: Narrator, closers: Closers, stop: AbortSignal): Promise<PlainStage> {
    narrator.chapter(
      'A cluster on this machine',
      'Programs of Kubernetes as processes, on free ports of 127.0.0.1, with all state in one temporary folder.',
    );
    const broken = new AbortController();
    const signal = AbortSignal.any([stop, broken.signal]);
    const stateDir = await createStateDir();
    closers.add(() => removeStateDir(stateDir));
    await narrator.step('Kubernetes and etcd, built from source once and kept in a cache', (log) =>
      ensureKubeBinaries({ signal, log }),
    );
    const cluster = await narrator.step('etcd, kube-apiserver, kube-controller-manager, kube-scheduler', (log) =>
      whileStarting(signal, (starting) =>
        startCluster({ stateDir, signal: starting, log, features: { scheduler: true, controllerManager: true } }),
      ),
    );
    closers.add(() => cluster.stop());
    const lab = await narrator.step('the simulated cloud; CRDs, RBAC and eni-config in the cluster', (log) =>
      ControlPlaneLab.start({ cluster, signal, log, stateDir: join(stateDir, 'lab') }),
    );
    closers.add(() => lab.close());
    const samples = await readSamples();
    const common = { cluster, lab, samples, nodeCount: NODE_ZONES.length, goal: 'Bind' as const };
    const stage = new PlainStage({ ...common, signal, broken, closers });
    stage.follow();
    await stage.#addNodes(narrator, closers);
    await narrator.step('the control plane and its webhook, with the rights of config/rbac and no others', () =>
      stage.#startControlPlane(),
    );
    return stage;
  }

  /** Base URL of the control plane's /readyz and /metrics. */
  get telemetryUrl(): string {
    return this.#controlPlane?.telemetryUrl ?? '';
  }

  async #addNodes(narrator: Narrator, closers: Closers): Promise<void> {
    const zones = [...new Set(NODE_ZONES)].map(
      (zone) => `${NODE_ZONES.filter((each) => each === zone).length} in ${zone}`,
    );
    await narrator.step(`${NODE_ZONES.length} nodes ${INSTANCE_TYPE}: ${zones.join(', ')}`, async (log) => {
      const loop = await startNodeLoop(this.cluster, {
        log,
        // What the CNI plugin of a real node does: the pod has no network before its PodENI is in Bind.
        podReady: async ({ metadata }, signal) => ({
          ip: await this.pods.untilAddress(metadata.name, metadata.uid, signal),
        }),
      });
      closers.add(() => loop.stop());
      for (const zone of NODE_ZONES) {
        this.signal.throwIfAborted();
        await this.lab.addNode(zone, INSTANCE_TYPE);
      }
    });
  }

  async #startControlPlane(): Promise<void> {
    const [port = 0] = await chooseFreePorts(1);
    const controlPlane = await this.lab.startControlPlane({
      config: { webhook: { port, bindHost: '127.0.0.1', hosts: ['127.0.0.1'] } },
    });
    await applyWebhookConfigurations(this.lab, port);
    this.#controlPlane = controlPlane;
    void controlPlane.process.exited().then(async (how) => {
      const log = readableLog(await controlPlane.process.tail(LOG_TAIL_LINES));
      this.break(new DemoError(`the control plane has ended (${how}); the last lines of its log:`, log));
    });
  }
}

/**
 * Runs a start with a signal that ends the start, but not what was started: at the end of the demo that goes in its own
 * order.
 */
async function whileStarting<T>(signal: AbortSignal, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const starting = new AbortController();
  const onAbort = () => starting.abort(signal.reason);
  signal.throwIfAborted();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await start(starting.signal);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
