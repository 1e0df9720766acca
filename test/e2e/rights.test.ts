import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import * as z from 'zod';
import { pollUntil } from '../../tools/machine/poll.ts';
import { chooseFreePorts } from '../../tools/machine/ports.ts';
import { ignoreMissing } from '../cluster/nodes.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { CLUSTER_ID, type LabNode } from '../harness/lab.ts';
import { applyWebhookConfigurations, removeWebhookConfigurations } from '../harness/webhook.ts';
import { API, chartRights, OperatorLab, SMALL_TYPE, ZONE_H } from './support.ts';

/*
 * config/rbac, with the rule that nodeConfigMaps adds, is exactly what the control plane needs: with all of it nothing is
 * refused, without any one of its rules something is, and no right in it goes unused.
 */

/** The chart's test holds that config/rbac is the same where no ConfigMap is named. */
const NODE_CONFIG_MAPS = ['special-nodes'];
const RBAC = await chartRights(NODE_CONFIG_MAPS);

const ruleSchema = z.object({
  apiGroups: z.array(z.string()),
  resources: z.array(z.string()),
  resourceNames: z.array(z.string()).optional(),
  verbs: z.array(z.string()),
});
const roleSchema = z.looseObject({
  kind: z.enum(['ClusterRole', 'Role']),
  metadata: z.looseObject({ name: z.string() }),
  rules: z.array(ruleSchema),
});
type Role = z.infer<typeof roleSchema>;
type Rule = z.infer<typeof ruleSchema>;

const ROLES: Role[] = parseAllDocuments(RBAC).flatMap((document) => {
  const parsed = roleSchema.safeParse(document.toJS());
  return parsed.success ? [parsed.data] : [];
});
const RULES = ROLES.flatMap((role) =>
  role.rules.map((rule, at) => ({ role, at, title: `${role.kind} ${role.metadata.name}: ${sentence(rule)}` })),
);

function sentence({ verbs, resources, resourceNames }: Rule): string {
  const names = resourceNames === undefined ? '' : ` named ${resourceNames.join(', ')}`;
  return `${verbs.join(', ')} ${resources.join(', ')}${names}`;
}

/** Rights for what does not happen in a quiet minute; the verb and what it is for. */
const OCCASIONAL: Readonly<Record<string, RegExp>> = {
  'an API server that cannot begin a watch with the present objects': /^list /,
  'an object that a store lacks or that was changed meanwhile': /^get /,
  'an event that repeats': /^patch events$/,
  'a node that is removed': /^delete nodes$/,
  'a certificate that is renewed': /^patch secrets$/,
};

let operator: OperatorLab;
let namespace: TestNamespace;
let ns: string;
let port: number;
let ownerUid: string;
let node: LabNode;
let visits = 0;

beforeAll(async () => {
  const cluster = await sharedCluster();
  [port = 0] = await chooseFreePorts(1);
  operator = await OperatorLab.start(cluster, {
    nodeConfigMaps: NODE_CONFIG_MAPS,
    webhook: { port, bindHost: '127.0.0.1', hosts: ['127.0.0.1'], drain: '100ms', escapedPods: 'evict' },
  });
  await operator.lab.apply(RBAC);
  namespace = await withNamespace(cluster, 'rights');
  ns = namespace.name;
  const configMap = (name: string, space: string, data: Record<string, string>) =>
    stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: space }, data });
  await operator.lab.apply(configMap('ack-cluster-profile', 'kube-system', { clusterid: CLUSTER_ID }));
  await operator.lab.apply(configMap('owner', ns, {}));
  const owner = await operator.lab.api.get(`/api/v1/namespaces/${ns}/configmaps/owner`);
  ownerUid = z.object({ metadata: z.object({ uid: z.string() }) }).parse(owner).metadata.uid;
  await operator.startControlPlane();
  await operator.readyNetworking('rights');
  await operator.stopControlPlane();
  // A pod that is hardly younger than its PodNetworking is no escaped one.
  const madeMs = Date.parse((await operator.networking('rights', () => true)).metadata.creationTimestamp ?? '');
  await pollUntil(async () => (Date.now() > madeMs + 7000 ? true : undefined), {
    what: 'the PodNetworking to be older than a moment',
    timeoutMs: 20_000,
  });
}, 120_000);

afterAll(async () => {
  if (operator !== undefined) {
    await removeWebhookConfigurations(operator.lab);
    await operator.lab.api.delete('/api/v1/namespaces/kube-system/configmaps/ack-cluster-profile');
  }
  await operator?.close();
  await namespace?.delete();
});

/**
 * As on the first day: no lease, no certificate, and nobody has told where the cluster is. One pod is there already: while there
 * was no webhook, it came past it.
 */
async function start(): Promise<void> {
  visits += 1;
  node = await operator.lab.addNode(ZONE_H, SMALL_TYPE);
  await removeWebhookConfigurations(operator.lab);
  await operator.createPod(ns, `escaped-${visits}`, {
    node: node.name,
    annotations: { 'k8s.aliyun.com/pod-networking': 'rights' },
    ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'owner', uid: ownerUid, controller: true }],
  });
  await operator.lab.api.patch(`${API}/podnetworkings/rights`, 'merge', { spec: { priority: visits } });
  // Without its rights the one before may never have had it.
  await ignoreMissing(
    operator.lab.api.delete('/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/terway-controlplane'),
  );
  await applyWebhookConfigurations(operator.lab, port);
  await operator.startControlPlane({ clusterID: undefined }, { waitReady: false });
}

/** Has everything done that the control plane does: a trunk, a pod that is bound and released, and one that is evicted. */
async function everything(): Promise<{ end: () => Promise<void>; done: () => Promise<boolean> }> {
  const [served, escaped] = [`served-${visits}`, `escaped-${visits}`];
  await operator.createPod(ns, served, { node: node.name, networking: 'rights' });
  const pods = async () => {
    const { objects } = await operator.lab.api.list(`/api/v1/namespaces/${ns}/pods`);
    return objects.map((object) => z.object({ metadata: z.looseObject({ name: z.string() }) }).parse(object).metadata);
  };
  return {
    done: async () => {
      const found = await pods();
      const evicted = found.find(({ name }) => name === escaped);
      if (evicted !== undefined && evicted['deletionTimestamp'] === undefined) return false;
      return (await operator.findPodEni(ns, served))?.status?.phase === 'Bind';
    },
    end: async () => {
      for (const { name } of await pods()) await operator.deletePod(ns, name);
    },
  };
}

/** Requests by `verb resource/subresource` and HTTP status. */
async function requests(): Promise<{ what: string; code: string }[]> {
  const response = await fetch(`${operator.controlPlane.telemetryUrl}/metrics`).catch(() => undefined);
  const lines = (await response?.text())?.split('\n') ?? [];
  return lines.flatMap((line) => {
    const found = /^terway_kube_requests_total\{verb="(\w+)",resource="(\w+)",subresource="(\w*)",code="(\d+)"\}/.exec(
      line,
    );
    if (found === null) return [];
    const [, verb = '', resource = '', subresource = '', code = ''] = found;
    return [{ what: `${verb} ${subresource === '' ? resource : `${resource}/${subresource}`}`, code }];
  });
}

const refused = async () => (await requests()).filter(({ code }) => code === '403').map(({ what }) => what);

async function setRole(role: Role): Promise<void> {
  await operator.lab.apply(stringify(role));
}

describe('with all rules', () => {
  test('#54: everything is done, events among it, nothing is refused, and every right is used', async () => {
    await start();
    let used: Set<string>;
    try {
      const world = await everything();
      await pollUntil(async () => ((await world.done()) ? true : undefined), {
        what: 'everything to be done',
        timeoutMs: 45_000,
      });
      await world.end();
      await operator.settled(({ podEnis }) => podEnis.length === 0);
      used = new Set((await requests()).map(({ what }) => what));
      expect(await refused()).toEqual([]);
    } finally {
      await operator.stopControlPlane();
    }
    const granted = ROLES.flatMap(({ rules }) =>
      rules.flatMap(({ verbs, resources }) =>
        verbs.flatMap((verb) => resources.map((resource) => `${verb} ${resource}`)),
      ),
    );
    const isOccasional = (right: string) => Object.values(OCCASIONAL).some((pattern) => pattern.test(right));
    expect([...new Set(granted)].filter((right) => !used.has(right) && !isOccasional(right))).toEqual([]);
  });
});

describe('without', () => {
  test.each(RULES)('$title', async ({ role, at }) => {
    await setRole({ ...role, rules: role.rules.filter((_rule, index) => index !== at) });
    try {
      await start();
      const world = await everything();
      const resources = role.rules[at]?.resources ?? [];
      await pollUntil(
        async () => {
          const { process } = operator.controlPlane;
          // What it needs to start at all ends it with a word.
          if (!process.isRunning) return /is forbidden|cannot (get|list)/.test(await process.tail()) ? true : undefined;
          return (await refused()).some((what) => resources.includes(what.split(' ')[1] ?? '')) ? true : undefined;
        },
        { what: 'something to be refused', timeoutMs: 45_000 },
      );
      await world.end();
    } finally {
      await operator.stopControlPlane();
      await setRole(role);
    }
  });
});
