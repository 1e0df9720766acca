import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ensureHelm } from '../programs/helm.ts';

const chart = join(import.meta.dirname, '..', '..', 'charts', 'terway-controlplane');

/** The Kubernetes version to render for, because no cluster is queried. */
const KUBERNETES = 'v1.36.3';

const NOTICE = '# Made from charts/terway-controlplane by `make manifests`; do not edit.\n';

/** Placeholders for values that users fill in by hand. */
const PLACEHOLDERS = {
  controlPlane: { config: { regionID: '<region>', clusterID: '<cluster id>', vpcID: 'vpc-0000' } },
};

/** Files below config/, and the templates of each. */
const FILES: Readonly<Record<string, { about: string; templates: readonly string[] }>> = {
  'rbac/control-plane.yaml': { about: '', templates: ['control-plane/rbac'] },
  'rbac/agent.yaml': { about: '', templates: ['agent/rbac', 'agent/own-node'] },
  'rbac/users.yaml': { about: '# Roles for people; they become part of view, edit and admin.\n', templates: ['users'] },
  'deploy/control-plane.yaml': {
    about:
      '# The control plane. Apply config/crd and config/rbac first, fill in the configuration and the credential\n' +
      '# (docs/configuration.md), and take <cluster id> with care: ENIs with this tag belong to this cluster.\n',
    templates: ['control-plane/config', 'control-plane/service', 'control-plane/deployment'],
  },
  'deploy/webhook.yaml': {
    about: '# The webhooks; the control plane fills in caBundle. Apply it last.\n',
    templates: ['control-plane/webhook'],
  },
  'deploy/agent.yaml': {
    about: '# The node agent, for clusters without Terway’s own daemon.\n',
    templates: ['agent/daemonset'],
  },
};

export const MANIFEST_FILES = Object.keys(FILES);

/**
 * Renders the chart with `helm template`.
 *
 * @param values merged over the chart's own
 * @returns what Helm prints
 * @throws Error with Helm's message when it rejects values or a template fails
 */
export async function renderChart(values: Record<string, unknown>, args: readonly string[] = []): Promise<string> {
  const helm = await ensureHelm();
  const run = promisify(execFile)(helm, [
    ...['template', 'terway-controlplane', chart, '--namespace', 'kube-system', '--kube-version', KUBERNETES],
    ...Object.entries(values).flatMap(([key, value]) => ['--set-json', `${key}=${JSON.stringify(value)}`]),
    ...args,
  ]);
  return (await run).stdout;
}

/** The files below config/, rendered from the chart. */
export async function chartManifests(): Promise<Map<string, string>> {
  const sources = bySource(await renderChart(PLACEHOLDERS));
  return new Map(
    Object.entries(FILES).map(([path, { about, templates }]) => [
      path,
      `${NOTICE}${about}${templates
        .flatMap((name) => sources.get(name) ?? [])
        .map(withoutHelm)
        .join('---\n')}`,
    ]),
  );
}

/** Documents by the name of their template, without the chart's name and the extension. */
function bySource(text: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const part of text.split(/^---\n/m)) {
    const [, source = ''] = /^# Source: [^/]+\/templates\/(.*)\.yaml\n/.exec(part) ?? [];
    if (source !== '') found.set(source, [...(found.get(source) ?? []), part.replace(/^# Source: .*\n/, '')]);
  }
  return found;
}

/** Removes Helm's labels, which would be wrong without Helm. */
function withoutHelm(text: string): string {
  return text
    .replaceAll(/^ *(app\.kubernetes\.io\/managed-by|helm\.sh\/chart): .*\n/gm, '')
    .replaceAll(/^ *checksum\/\w+: .*\n/gm, '')
    .replaceAll(/^ *annotations:\n(?: *#.*\n)*(?! *[\w./-]+: )/gm, '')
    .trim()
    .concat('\n');
}
