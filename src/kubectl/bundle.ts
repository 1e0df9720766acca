import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import * as z from 'zod';
import { ENI_CONFIG } from '../config/eni-config.ts';
import { LABEL_CONFIG } from '../crds/names.ts';
import { terwayNodeResource } from '../crds/node.ts';
import { nodeRuntimeResource } from '../crds/node-runtime.ts';
import { podEniResource } from '../crds/pod-eni.ts';
import { podNetworkingResource } from '../crds/pod-networking.ts';
import { errorMessage, fileProblem } from '../util/errors.ts';
import { type TarEntry, tarStream } from '../util/tar.ts';
import { count } from '../util/terminal/text.ts';
import type { CommandContext } from './command.ts';
import { PRODUCT_SELECTOR, type Question } from './control-plane.ts';
import { UsageError } from './errors.ts';
import { redact, redactText } from './redact.ts';
import { paragraph, type Report } from './report.ts';
import {
  configMapResource,
  coreNodeResource,
  eventResource,
  networkInterfaceResource,
  podResource,
  type RawObject,
  unread,
} from './resources.ts';

/** Our containers; the bundle leaves out the environment of others in the same pods. */
const OUR_CONTAINERS = ['controlplane', 'agent'];
const LOG_LINES = 5000;

const answerSchema = z.unknown();
/** Labels or annotations. */
const textsSchema = z.record(z.string(), z.string()).catch({});
const metricsSchema = z.looseObject({ text: z.string() });
const podSpecSchema = z.looseObject({
  containers: z.array(z.looseObject({ name: z.string() })).default([]),
  initContainers: z.array(z.looseObject({ name: z.string() })).optional(),
});

/**
 * `bundle`: everything that somebody else needs for a diagnosis, in one file. Secrets are not read, and what looks like one
 * is removed from everything else. What could not be collected is listed inside, and is not a failure.
 *
 * @throws UsageError when the file cannot be written.
 */
export async function bundleCommand(
  context: CommandContext,
  { output }: { output: string | undefined },
): Promise<Report> {
  const { clock } = context;
  const stamp = new Date(clock.now()).toISOString().replace(/[-:]|\.\d+/g, '');
  const path = output ?? `terway-bundle-${stamp}.tar.gz`;
  const bundle = new Bundle();
  await addObjects(bundle, context);
  await addPods(bundle, context);
  await addAnswers(bundle, context);
  bundle.json('errors.json', bundle.problems);
  const top = `terway-bundle-${stamp}`;
  const entries = bundle.entries.map((entry): TarEntry => ({ ...entry, path: `${top}/${entry.path}` }));
  // Readable by the user only: the content is about the whole cluster.
  const file = createWriteStream(path, { mode: 0o600 });
  await pipeline(Readable.from(tarStream(entries)), createGzip(), file).catch((error: unknown) => {
    throw new UsageError(`bundle -o ${path}: cannot be written: ${fileProblem(error)}`);
  });
  const { problems } = bundle;
  return {
    data: { path, files: entries.map((entry) => entry.path), problems },
    lines: (screen) => [
      `${path}: ${count(entries.length, 'file')}`,
      ...problems.flatMap((problem) => paragraph(`missing: ${problem}`, screen)),
      ...paragraph('Secrets were removed; still, review the file before you share it.', screen),
    ],
    exitCode: 0,
  };
}

/** Files of a bundle. Everything passes through here and is redacted. */
class Bundle {
  readonly entries: TarEntry[] = [];
  readonly problems: string[] = [];

  json(path: string, value: unknown): void {
    this.#add(path, `${JSON.stringify(redact(value), undefined, 2)}\n`);
  }

  text(path: string, text: string): void {
    this.#add(path, redactText(text));
  }

  /** Adds what `make` returns, or records why it failed. */
  async attempt(what: string, make: () => Promise<void>): Promise<void> {
    try {
      await make();
    } catch (error) {
      this.problems.push(`${what}: ${errorMessage(error)}`);
    }
  }

  #add(path: string, text: string): void {
    this.entries.push({ kind: 'file', path, mode: 0o600, content: Buffer.from(text) });
  }
}

async function addObjects(
  bundle: Bundle,
  { cluster, systemNamespace, controlPlaneName, version }: CommandContext,
): Promise<void> {
  for (const resource of [
    podNetworkingResource,
    podEniResource,
    networkInterfaceResource,
    terwayNodeResource,
    nodeRuntimeResource,
  ]) {
    await bundle.attempt(resource.plural, async () => {
      const objects = await cluster.list(unread(resource));
      bundle.json(`objects/${resource.plural}.json`, objects.map(tidy));
    });
  }
  /** ConfigMaps that node labels name. */
  const ofNodes = new Set<string>();
  await bundle.attempt('nodes of Kubernetes', async () => {
    const nodes = await cluster.list(unread(coreNodeResource));
    for (const { metadata } of nodes) {
      ofNodes.add(textsSchema.parse(metadata['labels'])[LABEL_CONFIG] ?? '');
    }
    bundle.json('objects/kubernetes-nodes.json', nodes.map(tidy));
  });
  await bundle.attempt('events', async () => {
    const events = await cluster.list(unread(eventResource));
    bundle.json('events.json', events.filter(isAboutUs).map(tidy));
  });
  const addConfigMap = async ({ namespace, name }: { namespace: string; name: string }) => {
    const found = await cluster.find(configMapResource, { namespace, name });
    if (found !== undefined) bundle.json(`configuration/${name}.json`, tidy(found));
  };
  await bundle.attempt(`ConfigMap of the control plane in ${systemNamespace}`, async () =>
    addConfigMap({ namespace: systemNamespace, name: await controlPlaneName() }),
  );
  for (const name of [ENI_CONFIG.name, ...ofNodes].filter((name) => name !== '')) {
    const key = { namespace: ENI_CONFIG.namespace, name };
    await bundle.attempt(`ConfigMap ${key.namespace}/${name}`, () => addConfigMap(key));
  }
  await bundle.attempt('version of Kubernetes', async () => {
    bundle.json('versions.json', { plugin: version, kubernetes: await cluster.path('/version') });
  });
}

async function addPods(bundle: Bundle, { cluster, kubectl, systemNamespace }: CommandContext): Promise<void> {
  await bundle.attempt('pods of the product', async () => {
    const selected = { namespace: systemNamespace, labelSelector: PRODUCT_SELECTOR };
    for (const pod of await cluster.list(unread(podResource), selected)) {
      const { name } = pod.metadata;
      const spec = podSpecSchema.parse(pod['spec'] ?? {});
      bundle.json(`pods/${name}/pod.json`, tidy({ ...pod, spec: withoutForeignEnvironment(spec) }));
      for (const container of spec.containers) {
        await bundle.attempt(`log of ${name}/${container.name}`, async () => {
          const args = ['logs', '--namespace', systemNamespace, name, '--container', container.name];
          const { stdout, stderr, code } = await kubectl([...args, `--tail=${LOG_LINES}`]);
          if (code !== 0) throw new Error(stderr.trim());
          bundle.text(`pods/${name}/${container.name}.log`, stdout);
        });
      }
    }
  });
}

async function addAnswers(bundle: Bundle, { controlPlane }: CommandContext): Promise<void> {
  const commands: Question['command'][] = ['status', 'quota', 'orphans', 'adopt', 'enis', 'configuration'];
  for (const command of commands) {
    await bundle.attempt(`control plane, ${command}`, async () => {
      bundle.json(`control-plane/${command}.json`, await controlPlane.ask({ command }, answerSchema));
    });
  }
  await bundle.attempt('control plane, metrics', async () => {
    bundle.text('control-plane/metrics.txt', (await controlPlane.ask({ command: 'metrics' }, metricsSchema)).text);
  });
}

/** Drops what only the API server and kubectl need. */
function tidy(object: RawObject): RawObject {
  const { managedFields: _fields, ...metadata } = object.metadata;
  const annotations = textsSchema.parse(metadata['annotations']);
  const { 'kubectl.kubernetes.io/last-applied-configuration': _applied, ...kept } = annotations;
  return { ...object, metadata: { ...metadata, annotations: kept } };
}

function isAboutUs(event: RawObject): boolean {
  const text = JSON.stringify([event['reportingController'], event['regarding']]);
  return text.includes('terway') || text.includes('network.alibabacloud.com');
}

function withoutForeignEnvironment(spec: z.infer<typeof podSpecSchema>) {
  const strip = (containers: typeof spec.containers) =>
    containers.map(({ env, envFrom, ...container }) =>
      OUR_CONTAINERS.includes(container.name) ? { ...container, env, envFrom } : container,
    );
  const { initContainers, containers } = spec;
  return {
    ...spec,
    containers: strip(containers),
    ...(initContainers === undefined ? {} : { initContainers: strip(initContainers) }),
  };
}
