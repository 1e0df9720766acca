import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';

const directory = join(import.meta.dirname, '..', 'config', 'samples');

const workloadSchema = z.object({ metadata: z.object({ name: z.string() }), spec: z.object({ replicas: z.int() }) });

/** A Deployment, StatefulSet or pod: its name, which is also its pods' label `app`, and its size. */
export interface Workload {
  name: string;
  replicas: number;
}

/** What the demo deploys. */
export interface Samples {
  /** Networkings first: a pod that comes before its networking has to wait for it. */
  manifests: readonly string[];
  /** The Deployment, with addresses that live as long as its pods. */
  elastic: Workload;
  /** The StatefulSet, with fixed addresses. */
  fixed: Workload;
  /** These and all others. */
  workloads: readonly Workload[];
}

/** The manifests of config/samples, each as `adapt` makes it. */
export async function readSamples(adapt: (manifest: string) => string = (manifest) => manifest): Promise<Samples> {
  const read = async (file: string) => adapt(await readFile(join(directory, file), 'utf8'));
  const networkings = await Promise.all(['podnetworking-elastic.yaml', 'podnetworking-fixed.yaml'].map(read));
  const [deployment, statefulSet] = await Promise.all([read('deployment.yaml'), read('statefulset.yaml')]);
  const [elastic, fixed] = [workload(deployment), workload(statefulSet)];
  return { manifests: [...networkings, deployment, statefulSet], elastic, fixed, workloads: [elastic, fixed] };
}

function workload(manifest: string): Workload {
  const { metadata, spec } = workloadSchema.parse(parse(manifest));
  return { name: metadata.name, replicas: spec.replicas };
}
