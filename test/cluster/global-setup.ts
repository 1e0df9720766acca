import type { TestProject } from 'vitest/node';
import { acquireSharedCluster, type SharedCluster } from './shared.ts';

let shared: SharedCluster | undefined;

/** Vitest calls this once before the tests of a project. Tests then get the cluster from `sharedCluster()`. */
export async function setup(project: TestProject): Promise<void> {
  shared = await acquireSharedCluster({ log: (line) => project.vitest.logger.log(`[cluster] ${line}`) });
  project.provide('testClusterStateDir', shared.access.stateDir);
  project.provide('testClusterKubeconfig', shared.access.kubeconfigPath);
}

export async function teardown(): Promise<void> {
  await shared?.release();
  shared = undefined;
}
