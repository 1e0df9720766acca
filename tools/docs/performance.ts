import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { markdownTable } from './markdown-table.ts';

/**
 * Tables of the figures in docs/performance.json, which `make bench` writes. The pages have no other source, so they agree.
 */

export const PERFORMANCE_FILE = 'docs/performance.json';

const measureSchema = z.strictObject({
  name: z.string(),
  unit: z.string(),
  /** One figure per run, in order. */
  runs: z.array(z.number()).min(1).max(9),
  median: z.number(),
  /** Absent for figures without a budget. */
  budget: z.number().optional(),
  verdict: z.enum(['met', 'missed', 'none']),
  upstream: z.string(),
  commit: z.string().regex(/^[0-9a-f]{7,40}$/),
  date: z.iso.date(),
  cores: z.int().min(1),
});
export const performanceSchema = z.strictObject({ measures: z.array(measureSchema) });
export type MeasuredFigure = z.infer<typeof measureSchema>;

/** Rows of the limits pages. */
const SPEED: readonly Row[] = [
  { name: 'cold trunk pod, idle, created → Bind (median of 7)', en: 'one cold pod, idle', zh: '空闲时创建 1 个 Pod' },
  { name: '100 pods at once, first POST → last Bind', en: '100 pods at once', zh: '同时创建 100 个 Pod' },
  { name: '200 pods at once, first POST → last Bind', en: '200 pods at once', zh: '同时创建 200 个 Pod' },
  {
    name: '1,000 cold pods (budget: rest of the running minute + 5 s)',
    en: '1,000 pods at once',
    zh: '同时创建 1,000 个 Pod',
  },
  {
    name: '1,000 pods deleted, all ENIs gone (budget: what the detach quota allows + 5 s)',
    en: '1,000 pods deleted, ENIs gone',
    zh: '删除 1,000 个 Pod，网卡全部释放',
  },
  {
    name: 'restart to ready with 10,000 PodENIs',
    en: 'restart with 10,000 PodENIs, ready',
    zh: '有 10,000 个 PodENI 时重启至就绪',
  },
];
const WORK: readonly Row[] = [
  { name: 'cloud calls per pod, create', en: 'calls to the cloud, pod comes', zh: '云 API 调用，Pod 创建' },
  { name: 'cloud calls per pod, life cycle', en: 'calls to the cloud, whole life', zh: '云 API 调用，整个生命周期' },
  {
    name: 'API-server writes per pod, create',
    en: 'writes to the API server, pod comes',
    zh: 'API Server 写入，Pod 创建',
  },
  {
    name: 'API-server writes per pod, life cycle',
    en: 'writes to the API server, whole life',
    zh: 'API Server 写入，整个生命周期',
  },
];
const MEMORY: readonly Row[] = [
  { name: 'resident memory at 1,000 pods', en: 'control plane, 1,000 pods', zh: '控制面，1,000 个 Pod' },
  {
    name: 'node: resident memory of the agent, all its processes, 100 pods there',
    en: 'node agent, all its processes, 100 pods on the node',
    zh: '节点代理的所有进程，节点上 100 个 Pod',
  },
];

interface Row {
  name: string;
  en: string;
  zh: string;
}

/**
 * The pages, with the tables between `<!-- performance: NAME -->` and `<!-- performance: end -->` updated.
 *
 * @throws Error when a page lacks a marker or the file lacks a figure
 */
export async function performancePages(root: string): Promise<[path: string, text: string][]> {
  const { measures } = performanceSchema.parse(JSON.parse(await readFile(join(root, PERFORMANCE_FILE), 'utf8')));
  const page = async (path: string, tables: Readonly<Record<string, string>>): Promise<[string, string]> => {
    let text = await readFile(join(root, path), 'utf8');
    for (const [name, table] of Object.entries(tables)) {
      const place = new RegExp(`(<!-- performance: ${name} -->\n\n)[^]*?(\n<!-- performance: end -->)`);
      if (!place.test(text)) throw new Error(`${path} has no marker for the table ${name}`);
      text = text.replace(place, (_all, begin: string, end: string) => `${begin}${table}${end}`);
    }
    return [path, text];
  };
  const limits = (language: 'en' | 'zh', head: string[]) => ({
    work: someOf(measures, WORK, language, head),
    speed: someOf(measures, SPEED, language, head),
    memory: someOf(measures, MEMORY, language, head),
  });
  return [
    await page('README.md', { all: everything(measures) }),
    await page('docs/limits.md', limits('en', ['what', 'measured'])),
    await page('docs/zh/limits.md', limits('zh', ['项目', '实测'])),
  ];
}

function everything(measures: readonly MeasuredFigure[]): string {
  const rows = measures.map((measure) => [
    measure.name,
    figure(measure.median, measure.unit),
    measure.budget === undefined ? '–' : `≤ ${figure(measure.budget, measure.unit)}`,
    measure.verdict === 'none' ? '' : measure.verdict,
    measure.upstream,
  ]);
  return `${markdownTable([['measure', 'measured', 'budget', '', 'upstream (default / tuned)'], ...rows])}\n${origin(measures)}\n`;
}

/** Names each machine and commit once. There may be several after `--only`. */
function origin(measures: readonly MeasuredFigure[]): string {
  const origins = new Map<string, number>();
  for (const { commit, date, cores, runs } of measures) {
    const statistic = runs.length === 1 ? 'one run' : `the median of ${runs.length} runs`;
    const text = `commit ${commit.slice(0, 8)} of ${date} on ${cores} cores, ${statistic}`;
    origins.set(text, (origins.get(text) ?? 0) + 1);
  }
  const list = [...origins].map(([text, count]) => (origins.size === 1 ? text : `${count} of ${text}`));
  return `Measured: ${list.join('; ')} ([performance.json](${PERFORMANCE_FILE})).`;
}

function someOf(
  measures: readonly MeasuredFigure[],
  rows: readonly Row[],
  language: 'en' | 'zh',
  head: string[],
): string {
  const cells = rows.map((row) => {
    const measure = measures.find(({ name }) => name === row.name);
    if (measure === undefined) throw new Error(`${PERFORMANCE_FILE} lacks ${row.name}`);
    return [row[language], figure(measure.median, measure.unit)];
  });
  return markdownTable([head, ...cells]);
}

/** Rounds to the significant digits. */
export function figure(value: number, unit: string): string {
  const digits = unit === 'MB' || value >= 100 || value === 0 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit}`.trim();
}
