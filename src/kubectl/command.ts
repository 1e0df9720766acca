import type { Clock } from '../util/clock.ts';
import type { ClusterReader } from './cluster.ts';
import type { ControlPlaneChannel, Kubectl } from './control-plane.ts';
import { NoControlPlaneError } from './errors.ts';

/** What every command works with. */
export interface CommandContext {
  cluster: ClusterReader;
  controlPlane: ControlPlaneChannel;
  kubectl: Kubectl;
  clock: Clock;
  /** Of the control plane. */
  systemNamespace: string;
  /** Name of the control plane. */
  controlPlaneName: () => Promise<string>;
  /** Of the kubeconfig's context, or of `-n`. */
  namespace: string;
  /** Of the plugin. */
  version: string;
}

/** An answer, or one line on why there is none; for commands that are useful without it. */
export async function orProblem<T>(answer: Promise<T>): Promise<{ answer: T } | { problem: string }> {
  try {
    return { answer: await answer };
  } catch (error) {
    if (error instanceof NoControlPlaneError) return { problem: error.message };
    throw error;
  }
}
