import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';

const root = join(import.meta.dirname, '..', '..', '..');
const files = join(root, 'charts', 'terway-controlplane', 'files');
export const RULES = join(files, 'prometheus', 'rules.yaml');

/** Strict, so that a key which Prometheus or Grafana would ignore is seen. */
const rulesSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^Terway[A-Z]\w+$/),
          expr: z.string(),
          for: z.string(),
          labels: z.strictObject({ severity: z.enum(['critical', 'warning']) }),
          annotations: z.strictObject({
            summary: z.string().min(10),
            description: z.string().min(40),
            runbook: z.string().regex(/^docs\/troubleshooting\.md#[\w-]+$/),
          }),
        }),
      ),
    }),
  ),
});

const panelSchema = z.strictObject({
  id: z.int(),
  type: z.literal('timeseries'),
  title: z.string().min(1),
  description: z.string().startsWith('Empty while ').optional(),
  gridPos: z.strictObject({ x: z.int().max(23), y: z.int(), w: z.int().max(24), h: z.int() }),
  datasource: z.strictObject({ type: z.literal('prometheus'), uid: z.literal('$datasource') }),
  fieldConfig: z.strictObject({
    defaults: z.strictObject({ unit: z.string(), min: z.number() }),
    overrides: z.tuple([]),
  }),
  targets: z
    .array(z.strictObject({ refId: z.string().regex(/^[A-Z]$/), expr: z.string(), legendFormat: z.string() }))
    .min(1),
});

const dashboardSchema = z.strictObject({
  uid: z.string().max(40),
  title: z.string(),
  tags: z.array(z.string()),
  schemaVersion: z.int(),
  version: z.int(),
  editable: z.boolean(),
  refresh: z.string(),
  time: z.strictObject({ from: z.string(), to: z.string() }),
  templating: z.strictObject({
    list: z.tuple([
      z.strictObject({
        name: z.literal('datasource'),
        type: z.literal('datasource'),
        query: z.literal('prometheus'),
        label: z.string(),
      }),
    ]),
  }),
  panels: z.array(panelSchema).min(1),
});

export type Rules = z.infer<typeof rulesSchema>;

export async function readRules(): Promise<Rules> {
  return rulesSchema.parse(parse(await readFile(RULES, 'utf8')));
}

export function alertsOf({ groups }: Rules): Rules['groups'][number]['rules'] {
  return groups.flatMap(({ rules }) => rules);
}

/** By file name. */
export async function readDashboards(): Promise<[string, z.infer<typeof dashboardSchema>][]> {
  const directory = join(files, 'dashboards');
  const names = (await readdir(directory)).sort();
  return Promise.all(
    names.map(
      async (name): Promise<[string, z.infer<typeof dashboardSchema>]> => [
        name,
        dashboardSchema.parse(JSON.parse(await readFile(join(directory, name), 'utf8'))),
      ],
    ),
  );
}

/** Anchors of the headings of docs/troubleshooting.md. */
export async function runbookAnchors(): Promise<string[]> {
  const text = await readFile(join(root, 'docs', 'troubleshooting.md'), 'utf8');
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** What an expression asks for: metric names with the labels of their selectors, and the labels of `by` and `on`. */
export function namesIn(expression: string): { metrics: Map<string, string[]>; grouping: string[] } {
  const metrics = new Map<string, string[]>();
  for (const [, name = '', selector = ''] of expression.matchAll(
    /\b((?:terway|nodejs|process)_\w+)(?:\{([^}]*)\})?/g,
  )) {
    const labels = [...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = '']) => label);
    metrics.set(name, [...(metrics.get(name) ?? []), ...labels]);
  }
  const grouping = [...expression.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)].flatMap(([, list = '']) =>
    list.split(',').map((label) => label.trim()),
  );
  return { metrics, grouping };
}
