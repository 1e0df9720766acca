import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';

const directory = join(import.meta.dirname, '..', '..', 'config', 'samples');

const workloadSchema = z.object({ metadata: z.object({ name: z.string() }), spec: z.object({ replicas: z.int() }) });

/** A Deployment or StatefulSet of the samples: its name, which is also its pods' label `app`, and its size. */
export interface Workload {
  name: string;
  replicas: number;
}

/** The manifests of config/samples, networkings first: a pod that comes before its networking has to wait for it. */
export async function readSamples(): Promise<{ manifests: string[]; elastic: Workload; fixed: Workload }> {
  const read = (file: string) => readFile(join(directory, file), 'utf8');
  const networkings = await Promise.all(['podnetworking-elastic.yaml', 'podnetworking-fixed.yaml'].map(read));
  const [deployment, statefulSet] = await Promise.all([read('deployment.yaml'), read('statefulset.yaml')]);
  return {
    manifests: [...networkings, deployment, statefulSet],
    elastic: workload(deployment),
    fixed: workload(statefulSet),
  };
}

function workload(manifest: string): Workload {
  const { metadata, spec } = workloadSchema.parse(parse(manifest));
  return { name: metadata.name, replicas: spec.replicas };
}
