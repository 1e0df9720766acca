import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, isScalar, parseDocument, type YAMLMap } from 'yaml';
import * as z from 'zod';
import { agentConfigSchema } from '../src/config/agent.ts';
import { controlPlaneConfigSchema, credentialFileSchema } from '../src/config/control-plane.ts';

const root = join(import.meta.dirname, '..');
const CHART = 'charts/terway-controlplane';

const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

/** The schema of user input. The program itself checks what JSON Schema cannot express. */
function schemaOf(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _draft, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

const DRAFT = 'https://json-schema.org/draft/2020-12/schema';

/** No key is required in the chart: it sets defaults, and the program finds or demands the rest. */
function optional(schema: Record<string, unknown>): Record<string, unknown> {
  const { required: _required, ...rest } = schema;
  return rest;
}

/** A schema derived from values.yaml: known keys only, with the type of their default. */
function schemaOfValues(value: unknown, path: string): Record<string, unknown> {
  const known = VALUE_SCHEMAS[path];
  if (known !== undefined) return known;
  if (Array.isArray(value)) return { type: 'array' };
  if (typeof value !== 'object' || value === null) return { type: typeof value };
  return {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, schemaOfValues(inner, path === '' ? key : `${path}.${key}`)]),
    ),
  };
}

const anyObject = { type: 'object' };
const strings = { type: 'object', additionalProperties: { type: 'string' } };
const VALUE_SCHEMAS: Readonly<Record<string, Record<string, unknown>>> = {
  'image.pullPolicy': { enum: ['Always', 'IfNotPresent', 'Never'] },
  'image.digest': { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' },
  imagePullSecrets: { type: 'array', items: { type: 'object', required: ['name'] } },
  fullnameOverride: { type: 'string', pattern: '^([a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?)?$' },
  'controlPlane.replicas': { type: 'integer', minimum: 1 },
  'controlPlane.config': optional(schemaOf(controlPlaneConfigSchema)),
  'controlPlane.credential.file': { anyOf: [{ type: 'object', maxProperties: 0 }, schemaOf(credentialFileSchema)] },
  'controlPlane.podDisruptionBudget.minAvailable': { type: ['integer', 'string'] },
  'webhook.failurePolicy': { enum: ['Ignore', 'Fail'] },
  'webhook.port': { type: 'integer', minimum: 1, maximum: 65_535 },
  'metrics.podMonitor.port': { type: 'integer', minimum: 1, maximum: 65_535 },
  'rbac.operator.subjects': { type: 'array', items: { type: 'object', required: ['kind', 'name'] } },
  'webhook.timeoutSeconds': { type: 'integer', minimum: 1, maximum: 30 },
  'agent.config': schemaOf(agentConfigSchema),
  ...Object.fromEntries(
    [
      ...['controlPlane.resources', 'controlPlane.affinity', 'webhook.certManager.issuerRef'],
      ...['agent.resources', 'agent.updateStrategy', 'eniConfig.eni_conf'],
    ].map((path) => [path, anyObject]),
  ),
  ...Object.fromEntries(
    [
      ...['controlPlane.nodeSelector', 'controlPlane.podAnnotations', 'controlPlane.podLabels'],
      ...['agent.nodeSelector', 'agent.podAnnotations', 'agent.podLabels'],
      ...['metrics.serviceMonitor.labels', 'metrics.prometheusRule.labels', 'metrics.dashboards.labels'],
      'metrics.podMonitor.labels',
    ].map((path) => [path, strings]),
  ),
};

interface Row {
  key: string;
  value: string;
  about: string;
}

/** A row per value that has a description (`# -- …`) or is a plain value. */
function rowsOf(map: YAMLMap, path: string): Row[] {
  return map.items.flatMap(({ key, value }) => {
    if (!isScalar(key)) return [];
    const name = path === '' ? String(key.value) : `${path}.${String(key.value)}`;
    const comment = key.commentBefore ?? (map.items[0]?.key === key ? (map.commentBefore ?? '') : '');
    const about = /(?:^|\n) ?-- (.*)$/s.exec(comment)?.[1]?.replaceAll(/\n /g, ' ') ?? '';
    if (about === '' && isMap(value)) return rowsOf(value, name);
    const shown = JSON.stringify(isScalar(value) ? value.value : z.unknown().parse(JSON.parse(JSON.stringify(value))));
    return [{ key: name, value: shown, about }];
  });
}

function readme(values: YAMLMap): string {
  const rows = rowsOf(values, '').map(({ key, value, about }) => [
    `\`${key}\``,
    `\`${value.length > 60 ? '…' : value}\``,
    about,
  ]);
  const header = ['value', 'default', 'meaning'];
  const widths = header.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  return `# terway-controlplane

Control plane and node agent that give Kubernetes pods their own network interfaces on Alibaba Cloud.

\`\`\`
helm install terway-controlplane charts/terway-controlplane --namespace kube-system
\`\`\`

On ACK, the cluster's id, region and VPC are found automatically; elsewhere set \`controlPlane.config.clusterID\`.

CRDs are part of the release and stay when it is uninstalled. \`helm test terway-controlplane -n kube-system\` asks the control
plane whether it is ready.

## Values

${line(header)}
${line(widths.map((width) => '-'.repeat(width)))}
${rows.map(line).join('\n')}

This page is made from values.yaml by \`make generate\`.
`;
}

/**
 * Files generated from the configuration schemas and the CRDs: JSON Schemas for editors, and the chart's CRDs,
 * values.schema.json and README.md.
 *
 * @param crds manifests by file name
 * @returns text by path below the root
 */
export async function chartFiles(crds: ReadonlyMap<string, string>): Promise<[path: string, text: string][]> {
  const document = parseDocument(await readFile(join(root, CHART, 'values.yaml'), 'utf8'));
  if (!isMap(document.contents)) throw new Error('values.yaml is no map');
  return [
    [
      'docs/reference/ctrl-config.schema.json',
      json({ $schema: DRAFT, title: 'ctrl-config.yaml', ...schemaOf(controlPlaneConfigSchema) }),
    ],
    [
      'docs/reference/agent-config.schema.json',
      json({ $schema: DRAFT, title: 'agent.yaml', ...schemaOf(agentConfigSchema) }),
    ],
    ...[...crds].map(([name, text]): [string, string] => [`${CHART}/files/crd/${name}`, text]),
    [`${CHART}/values.schema.json`, json({ $schema: DRAFT, title: 'Values', ...schemaOfValues(document.toJS(), '') })],
    [`${CHART}/README.md`, readme(document.contents)],
  ];
}
