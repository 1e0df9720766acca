import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { createAgentMetrics } from '../../src/agent/metrics.ts';
import { closeServer, listen, telemetryServer } from '../../src/telemetry/http-server.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { pollUntil } from '../../tools/machine/poll.ts';
import { ensurePrometheus } from '../../tools/programs/prometheus.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { type LabNode, VPC } from '../harness/lab.ts';
import { ALERT_CASES, CASE_MINUTES } from './monitoring/alert-cases.ts';
import { alertsOf, namesIn, RULES, type Rules, readDashboards, readRules, runbookAnchors } from './monitoring/files.ts';
import { Prometheus } from './monitoring/prometheus.ts';
import { OperatorLab, ZONE_H } from './support.ts';

/** Metrics, alerts and dashboards with the real Prometheus, a control plane that works, and the agent's own metrics. */

const run = promisify(execFile);
let promtool: string;
let rules: Rules;

beforeAll(async () => {
  promtool = join(await ensurePrometheus(), 'promtool');
  rules = await readRules();
});

describe('the rules', () => {
  test('are what Prometheus understands', async () => {
    expect((await run(promtool, ['check', 'rules', RULES])).stdout).toContain('SUCCESS');
  });

  test('each name a part of the troubleshooting page that exists, and each have a case', async () => {
    const alerts = alertsOf(rules);
    const anchors = await runbookAnchors();
    for (const { alert, annotations } of alerts) {
      expect(anchors, alert).toContain(annotations.runbook.split('#')[1]);
    }
    expect(alerts.map(({ alert }) => alert).sort()).toEqual(Object.keys(ALERT_CASES).sort());
  });

  test('fire when they should, and only then', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'terway-rules-'));
    try {
      const files: string[] = [];
      // Each rule by itself: promtool evaluates all rules of its file in every case.
      for (const rule of alertsOf(rules)) {
        await writeFile(join(directory, rule.alert), stringify({ groups: [{ name: 'one', rules: [rule] }] }));
        const file = `${rule.alert}.cases`;
        const cases = { rule_files: [rule.alert], evaluation_interval: '1m', tests: unitTests(rule.alert) };
        await writeFile(join(directory, file), stringify(cases));
        files.push(file);
      }
      const { stdout } = await run(promtool, ['test', 'rules', ...files], { cwd: directory }).catch(
        (error: unknown) => {
          throw new Error(String(error));
        },
      );
      expect(stdout.match(/SUCCESS/g)).toHaveLength(files.length);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }, 120_000);
});

/** Firing cases fire at the end; quiet cases have not fired at any of a few moments. */
function unitTests(alert: string) {
  const input = (series: Readonly<Record<string, string>> = {}) =>
    Object.entries(series).map(([name, values]) => ({ series: name, values }));
  const expr = `sum by (alertname) (ALERTS{alertname="${alert}",alertstate="firing"} > bool 0)`;
  const fired = [{ labels: `{alertname="${alert}"}`, value: 1 }];
  const looks = [CASE_MINUTES / 2, CASE_MINUTES - 10, CASE_MINUTES - 1];
  return [
    {
      name: `${alert} fires`,
      interval: '1m',
      input_series: input(ALERT_CASES[alert]?.fires),
      promql_expr_test: [{ expr, eval_time: `${CASE_MINUTES - 1}m`, exp_samples: fired }],
    },
    {
      name: `${alert} is quiet`,
      interval: '1m',
      input_series: input(ALERT_CASES[alert]?.quiet),
      promql_expr_test: looks.map((minute) => ({ expr, eval_time: `${minute}m`, exp_samples: [] })),
    },
  ];
}

/** The real metrics of an agent, after some work. */
function workedAgent() {
  const metrics = createAgentMetrics({
    ready: () => true,
    waiting: () => 0,
    sandboxes: () => 1,
    held: () => ({ records: 1 }),
    podDeviations: () => [{ labels: { object: 'route' }, value: 1 }],
    verdicts: async () => ({
      tagged: 10,
      untagged: 10,
      passed: 1,
      droppedNoEntry: 0,
      droppedWrongVlan: 0,
      droppedDoubleTag: 0,
      droppedMissingTag: 0,
      droppedSpoofedSource: 0,
    }),
  });
  metrics.cniRequests.inc({ command: 'ADD', code: '0' });
  metrics.cniSeconds.observe({ command: 'ADD' }, 0.1);
  metrics.syncs.inc({ result: 'success' });
  metrics.syncSeconds.observe(0.1);
  return metrics;
}

describe('with a control plane that works', () => {
  const agent = workedAgent();
  const server = telemetryServer({ ready: () => undefined, registry: agent.registry });
  let operator: OperatorLab;
  let node: LabNode;
  let namespace: TestNamespace;
  let prometheus: Prometheus;

  beforeAll(async () => {
    const cluster = await sharedCluster();
    operator = await OperatorLab.start(cluster);
    namespace = await withNamespace(cluster, 'monitoring');
    await operator.startControlPlane();
    const port = await listen(server, { host: '127.0.0.1', port: 0 });
    prometheus = await Prometheus.start({
      targets: {
        'terway-controlplane': new URL(operator.controlPlane.telemetryUrl).host,
        'terway-agent': `127.0.0.1:${port}`,
      },
      rules: stringify({
        groups: rules.groups.map((group) => ({
          ...group,
          rules: group.rules.map((rule) => ({ ...rule, for: '1s' })),
        })),
      }),
    });
    node = await operator.addNode(ZONE_H);
    await operator.lab.cloud.createVSwitch({
      vSwitchId: 'vsw-bp1one',
      vpcId: VPC,
      zoneId: ZONE_H,
      cidrBlock: '10.68.0.0/29',
    });
    await operator.readyNetworking('plain');
    await operator.readyNetworking('small', { vSwitchOptions: ['vsw-bp1one'] });
    // A failure: this one has no vSwitch.
    await operator.createNetworking('broken', { vSwitchOptions: ['vsw-bp1nowhere'] });
    await operator.networking('broken', ({ status }) => status?.status === 'Fail');
    await operator.createPod(namespace.name, 'plain-0', { node: node.name, networking: 'plain' });
    await operator.bound(namespace.name, 'plain-0');
  });

  afterAll(async () => {
    await prometheus?.close();
    await closeServer(server);
    await operator?.close();
    await namespace?.delete();
  });

  const exported = async () =>
    (
      await Promise.all([
        fetch(`${operator.controlPlane.telemetryUrl}/metrics`).then((answer) => answer.text()),
        agent.registry.metrics(),
      ])
    ).join('\n');

  test('every metric and label of rules and dashboards is one that is exported and defined', async () => {
    const text = await exported();
    const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type]));
    const definitions = new Map(
      [...createMetrics().definitions, ...agent.definitions].map((definition) => [definition.name, definition]),
    );
    const dashboards = await readDashboards();
    const expressions = [
      ...alertsOf(rules).map(({ expr }) => expr),
      ...dashboards.flatMap(([, { panels }]) => panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))),
    ];
    for (const expression of expressions) {
      const { metrics, grouping } = namesIn(expression);
      expect(metrics.size, expression).toBeGreaterThan(0);
      const known = new Set(['instance', 'job', 'le', '']);
      for (const [name, labels] of metrics) {
        const base = types.has(name) ? name : name.replace(/_(bucket|count|sum)$/, '');
        expect(types.has(base), `${name} is exported`).toBe(true);
        if (base !== name) expect(types.get(base), name).toBe('histogram');
        const own = Object.keys(definitions.get(base)?.labels ?? {});
        for (const label of own) known.add(label);
        for (const label of labels) expect(own, `${name}{${label}}`).toContain(label);
      }
      for (const label of grouping) expect([...known], expression).toContain(label);
    }
  });

  test('help states the stability of a metric, and no label holds a node or a pod', async () => {
    const text = await exported();
    const helps = [...text.matchAll(/^# HELP (terway_\S+) (.*)$/gm)];
    expect(helps.length).toBeGreaterThan(40);
    for (const [, name, help] of helps) expect(help, name).toMatch(/^\[(STABLE|BETA|ALPHA)\] /);
    const labels = [...createMetrics().definitions, ...agent.definitions].flatMap((row) => Object.keys(row.labels));
    for (const label of labels) expect(label).not.toMatch(/^(node|pod|namespace|instance_id|eni)$/);
    for (const line of text.split('\n')) {
      if (line.startsWith('terway_'))
        expect(line).not.toMatch(new RegExp(`"(${node.name}|plain-0|${node.instanceId})"`));
    }
  });

  test('each panel shows something, or says when it may be empty', async () => {
    for (const [file, { panels }] of await readDashboards()) {
      for (const panel of panels) {
        for (const { expr } of panel.targets) {
          if (panel.description !== undefined) {
            await prometheus.query(withInterval(expr));
            continue;
          }
          await pollUntil(async () => ((await prometheus.query(withInterval(expr))).length > 0 ? true : undefined), {
            what: `${file}: ${panel.title}: ${expr}`,
            timeoutMs: 30_000,
          });
        }
      }
    }
  }, 120_000);

  test('a pod that got its network was measured', async () => {
    const text = await exported();
    expect(text).toMatch(/^terway_pod_network_ready_seconds_count\{path="cold"\} 1$/m);
    expect(text).toMatch(/^terway_podnetworking_pods\{podnetworking="plain",progress="bound"\} 1$/m);
    expect(text).toMatch(
      /^terway_podnetworking_condition\{podnetworking="broken",condition="Ready",status="False"\} 1$/m,
    );
    expect(text).toMatch(/^terway_pod_oldest_wait_seconds 0$/m);
    expect(text).toMatch(/^terway_leader 1$/m);
  });

  test('a vSwitch that is full, a broken PodNetworking and a refused configuration fire', async () => {
    await firing('TerwayPodNetworkingNotReady');
    for (let at = 0; at < 5; at += 1) {
      await operator.createPod(namespace.name, `small-${at}`, { node: node.name, networking: 'small' });
    }
    await firing('TerwayVSwitchFull');
    const { configPath } = operator.controlPlane;
    const before = await readFile(configPath, 'utf8');
    await writeFile(configPath, `${before}\nnoSuchKey: 1\n`);
    await firing('TerwayConfigurationRefused');
    await writeFile(configPath, before);
    await pollUntil(
      async () => ((await prometheus.firing()).includes('TerwayConfigurationRefused') ? undefined : true),
      { what: 'the alert to end', timeoutMs: 60_000 },
    );
  }, 180_000);

  test('a vSwitch that no PodNetworking names any more has no series', async () => {
    expect(await exported()).toContain('vswitch="vsw-bp1one"');
    for (let at = 0; at < 5; at += 1) await operator.deletePod(namespace.name, `small-${at}`);
    await operator.lab.api.delete('/apis/network.alibabacloud.com/v1beta1/podnetworkings/small');
    await pollUntil(async () => ((await exported()).includes('vsw-bp1one') ? undefined : true), {
      what: 'the series to go',
      timeoutMs: 30_000,
    });
  });

  async function firing(alert: string): Promise<void> {
    await pollUntil(async () => ((await prometheus.firing()).includes(alert) ? true : undefined), {
      what: `${alert} to fire`,
      timeoutMs: 60_000,
    });
  }
});

/** Grafana fills in an interval that holds a few scrapes. */
function withInterval(expression: string): string {
  return expression.replaceAll('$__rate_interval', '5m');
}
