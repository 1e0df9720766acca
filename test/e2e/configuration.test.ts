import { readFile, rename, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import * as z from 'zod';
import { pollUntil } from '../../tools/machine/poll.ts';
import { ignoreMissing } from '../cluster/nodes.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import { type LabNode, NODE_SECURITY_GROUP, NODE_VSWITCH, POD_SECURITY_GROUP, POD_VSWITCH } from '../harness/lab.ts';
import { API, chartRights, conditionOf, idOf, isEmpty, OperatorLab, SMALL_TYPE, ZONE_H } from './support.ts';

/* Configuration changes at run time, and how an invalid file is reported. */

const NODE_CONFIG_MAPS = ['special', 'absent'];

let operator: OperatorLab;
let namespace: TestNamespace;
let ns: string;
let node: LabNode;

beforeAll(async () => {
  const cluster = await sharedCluster();
  operator = await OperatorLab.start(cluster, {
    nodeLabelWhiteList: { pool: 'eni' },
    nodeConfigMaps: NODE_CONFIG_MAPS,
    customStatefulWorkloadKinds: ['CloneSet'],
    // Reports about the file must not wait for it.
    podNetworkingRecheck: '1h',
  });
  await operator.lab.apply(await chartRights(NODE_CONFIG_MAPS));
  namespace = await withNamespace(cluster, 'configuration');
  ns = namespace.name;
  await operator.startControlPlane();
  node = await operator.lab.addNode(ZONE_H, undefined, { pool: 'eni' });
  await operator.trunkOf(node.name);
  await operator.readyNetworking('plain');
});

afterAll(async () => {
  if (operator !== undefined) await ignoreMissing(operator.lab.api.delete(`${CONFIG_MAPS}/special`));
  await operator?.close();
  await namespace?.delete();
});

/** Changes the configuration file as an editor does: a new file in place of the old one. */
async function edit(change: Record<string, unknown> | string): Promise<void> {
  const path = operator.controlPlane.configPath;
  const text =
    typeof change === 'string'
      ? change
      : stringify({ ...z.record(z.string(), z.unknown()).parse(parse(await readFile(path, 'utf8'))), ...change });
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

const CONFIG_MAPS = '/api/v1/namespaces/kube-system/configmaps';

/** Writes `eni_conf` of a ConfigMap in kube-system. */
async function writeEniConf(name: string, conf: Record<string, unknown> | string): Promise<void> {
  const data = { eni_conf: typeof conf === 'string' ? conf : JSON.stringify(conf) };
  const metadata = { name, namespace: 'kube-system' };
  await operator.lab.apply(stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data }));
}

/** A node that is served, with these labels besides. */
const addNode = (labels: Record<string, string> = {}) =>
  operator.lab.addNode(ZONE_H, SMALL_TYPE, { pool: 'eni', ...labels });

const label = (name: string, labels: Record<string, string | null>) =>
  operator.lab.api.patch(`/api/v1/nodes/${name}`, 'merge', { metadata: { labels } });

const conditionOfNode = async (name: string, type: string) =>
  conditionOf((await operator.terwayNode(name)) ?? {}, type);

/** Waits until a condition of the Node CR is this. */
const nodeSays = (name: string, words: string) =>
  pollUntil(
    async () => {
      const [type = ''] = words.split('=');
      return (await conditionOfNode(name, type)).startsWith(words) ? true : undefined;
    },
    { what: `the Node CR of ${name} to say "${words}"`, timeoutMs: 20_000 },
  );

/** What the trunk of a node was created with. */
async function trunkOf(name: string) {
  const eni = await operator.eni(await operator.trunkOf(name));
  return { vSwitchId: eni?.vSwitchId, securityGroupIds: eni?.securityGroupIds, tags: eni?.tags };
}

/** Value of a metric of the control plane, by name and labels as they are exposed. */
async function metric(name: string): Promise<number | undefined> {
  const text = await (await fetch(`${operator.controlPlane.telemetryUrl}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

const becomes = (name: string, value: number) =>
  pollUntil(async () => ((await metric(name)) === value ? true : undefined), {
    what: `${name} to be ${value}`,
    timeoutMs: 20_000,
  });

const logged = (words: string) =>
  pollUntil(async () => ((await operator.controlPlane.process.output()).includes(words) ? true : undefined), {
    what: `the log to say "${words}"`,
    timeoutMs: 20_000,
  });

describe('#19: the degradation switch', () => {
  test('l1 creates and attaches, but gives nothing up until it is lifted', async () => {
    await edit({ degradation: 'l1' });
    await becomes('terway_degradation_level{level="l1"}', 1);
    await operator.createPod(ns, 'kept', { node: node.name, networking: 'plain' });
    const podEni = await operator.bound(ns, 'kept');
    const eniId = podEni.spec.allocations?.[0]?.eni.id ?? '';
    const before = (await operator.lab.cloud.counters()).calls;
    await operator.deletePod(ns, 'kept');
    await operator.podEni(ns, 'kept', ({ metadata, status }) => {
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      return metadata.deletionTimestamp !== undefined && ready?.reason === 'CloudDegraded';
    });
    const { calls } = await operator.lab.cloud.counters();
    expect([calls['DetachNetworkInterface'], calls['DeleteNetworkInterface']]).toEqual([
      before['DetachNetworkInterface'],
      before['DeleteNetworkInterface'],
    ]);
    expect((await operator.eni(eniId))?.status).toBe('InUse');

    await edit({ degradation: '' });
    await becomes('terway_degradation_level{level="none"}', 1);
    await operator.settled(isEmpty);
  });

  test('l0 makes no calls: a pod waits, and says for what', async () => {
    await edit({ degradation: 'l0' });
    await becomes('terway_degradation_level{level="l0"}', 1);
    const mutations = await operator.mutations();
    await operator.createPod(ns, 'waits', { node: node.name, networking: 'plain' });
    expect((await operator.podEvent(ns, 'waits', 'CloudDegraded')).note).toContain('with degradation l0');
    expect(await operator.mutations()).toEqual(mutations);
    // The next leader finds the pod waiting.
    await operator.stopControlPlane();
    await operator.startControlPlane();
    await operator.bound(ns, 'waits');
    await becomes('terway_pod_network_ready_seconds_count{path="adopted"}', 1);
    await operator.deletePod(ns, 'waits');
    await operator.settled(isEmpty);
  });
});

describe('the configuration file', () => {
  test('that becomes invalid changes nothing, and log, metric and condition say so', async () => {
    const good = await readFile(operator.controlPlane.configPath, 'utf8');
    await edit({ rateLimit: { CreateNetworkInterface: 0 } });
    await becomes('terway_config_reload_failed', 1);
    await logged('the configuration file is invalid; the previous one stays in force');
    const networking = await operator.networking(
      'plain',
      ({ status }) => status?.conditions?.some(({ type }) => type === 'ConfigurationValid') === true,
    );
    const condition = networking.status?.conditions?.find(({ type }) => type === 'ConfigurationValid');
    expect(condition).toMatchObject({ status: 'False', reason: 'ConfigurationRefused' });
    expect(condition?.message).toContain('rateLimit.CreateNetworkInterface: ');

    await edit('this: [is no YAML');
    await logged('is not YAML');
    await edit(good);
    await becomes('terway_config_reload_failed', 0);
    await operator.networking(
      'plain',
      ({ status }) =>
        status?.conditions?.some(({ type, status: is }) => type === 'ConfigurationValid' && is === 'True') === true,
    );
  });

  test('whose change needs a restart says so', async () => {
    await edit({ ipStack: 'dual' });
    await logged('these changes need a restart to take effect');
    await edit({ ipStack: 'ipv4' });
  });

  test('may bring a lower log level at once', async () => {
    await edit({ logLevel: 'trace' });
    await logged('"keys":["logLevel"]');
  });
});

test('nodeLabelWhiteList: a node without the labels is ignored', async () => {
  const { name } = await operator.lab.addNode(ZONE_H, SMALL_TYPE);
  // Something that happens after it was looked at: another node that is served.
  const served = await operator.lab.addNode(ZONE_H, SMALL_TYPE, { pool: 'eni' });
  await operator.trunkOf(served.name);
  expect(await operator.terwayNode(name)).toBeUndefined();
});

test('customStatefulWorkloadKinds: pods of such an owner may have fixed addresses', async () => {
  await operator.readyNetworking('fixed', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
  const owner = (kind: string) => ({
    ownerReferences: [{ apiVersion: 'apps.kruise.io/v1alpha1', kind, name: 'o', uid: 'u', controller: true }],
  });
  await operator.createPod(ns, 'of-clone-set', { node: node.name, networking: 'fixed', ...owner('CloneSet') });
  await operator.bound(ns, 'of-clone-set');
  await operator.createPod(ns, 'of-other', { node: node.name, networking: 'fixed', ...owner('OtherSet') });
  await operator.podEvent(ns, 'of-other', 'FixedNeedsStableName');
  // The next pod of the name gets the address that was kept.
  await operator.deletePod(ns, 'of-clone-set');
  await operator.podEni(ns, 'of-clone-set', ({ status }) => status?.phase === 'Unbind');
  const next = { node: node.name, networking: 'fixed', ...owner('CloneSet') };
  await operator.bound(ns, 'of-clone-set', await operator.createPod(ns, 'of-clone-set', next));
  await becomes('terway_pod_network_ready_seconds_count{path="fixed"}', 1);
  for (const name of ['of-clone-set', 'of-other']) await operator.deletePod(ns, name);
  await operator.lab.api.delete(`${API}/namespaces/${ns}/podenis/of-clone-set`);
  await operator.settled(isEmpty);
});

describe('a node whose label terway-config names a ConfigMap', () => {
  const base = {
    vswitches: { [ZONE_H]: [NODE_VSWITCH[ZONE_H]] },
    security_group: NODE_SECURITY_GROUP,
    enable_eni_trunking: true,
    eni_tags: { team: 'base', cost: '1', creator: 'somebody' },
  };
  const special = {
    vswitches: { [ZONE_H]: [POD_VSWITCH[ZONE_H]] },
    security_group: POD_SECURITY_GROUP,
    eni_tags: { team: 'special', cost: null },
    vswitch: 'misspelt',
  };
  const ofBase = { vSwitchId: NODE_VSWITCH[ZONE_H], securityGroupIds: [NODE_SECURITY_GROUP] };
  const ofSpecial = { vSwitchId: POD_VSWITCH[ZONE_H], securityGroupIds: [POD_SECURITY_GROUP] };
  const REFUSED = 'TrunkReady=False CloudError: CreateNetworkInterface: InvalidSecurityGroupId';
  const SPECIAL = { 'terway-config': 'special' };
  const IN_FORCE =
    'ConfigurationValid=True ConfigurationInForce: ConfigMap kube-system/special over eni-config is in force';

  beforeAll(async () => {
    await writeEniConf('eni-config', base);
    await writeEniConf('special', special);
  });

  test('gets its trunk from the merged configuration; others use eni-config alone', async () => {
    const [own, other] = [await addNode(SPECIAL), await addNode()];
    const { tags, ...rest } = await trunkOf(own.name);
    expect(rest).toEqual(ofSpecial);
    expect(tags).toMatchObject({ team: 'special', creator: 'terway-controller' });
    expect(tags).not.toHaveProperty('cost');
    expect(await trunkOf(other.name)).toMatchObject({
      ...ofBase,
      tags: { team: 'base', cost: '1', creator: 'terway-controller' },
    });
    expect(await conditionOfNode(own.name, 'ConfigurationValid')).toBe(
      'ConfigurationValid=True ConfigurationInForce: ConfigMap kube-system/special over eni-config is in force',
    );
    expect(await conditionOfNode(other.name, 'ConfigurationValid')).toBe('absent');
  });

  test('keeps the last valid configuration when the ConfigMap becomes invalid, and says so until it is corrected', async () => {
    const { name } = await addNode(SPECIAL);
    await nodeSays(name, IN_FORCE);
    await writeEniConf('special', { ...special, security_group: [POD_SECURITY_GROUP] });
    const words = `ConfigMap kube-system/special over eni-config, key eni_conf: security_group: must be of type string, not array (it is ["${POD_SECURITY_GROUP}"]); its previous content stays in force`;
    await nodeSays(name, `ConfigurationValid=False ConfigError: ${words}`);
    await pollUntil(async () => (await operator.events('Node', 'default', name)).find(({ note }) => note === words), {
      what: 'the event of the node',
      timeoutMs: 20_000,
    });
    const later = await addNode(SPECIAL);
    expect(await trunkOf(later.name)).toMatchObject(ofSpecial);
    await writeEniConf('special', '{');
    await nodeSays(
      name,
      'ConfigurationValid=False ConfigError: ConfigMap kube-system/special, key eni_conf: is not JSON',
    );
    await writeEniConf('special', special);
    await nodeSays(name, IN_FORCE);
  });

  test.each([
    ['absent', 'ConfigMap kube-system/absent does not exist; using eni-config alone'],
    ['stranger', 'label terway-config is stranger, which is not among nodeConfigMaps'],
  ])('that counts for nothing (%s) is served by eni-config, and says so', async (configMap, words) => {
    const { name } = await addNode({ 'terway-config': configMap });
    expect(await trunkOf(name)).toMatchObject(ofBase);
    await nodeSays(name, `ConfigurationValid=False ConfigError: ${words}`);
    await label(name, { 'terway-config': null });
    await nodeSays(name, 'ConfigurationValid=True ConfigurationInForce: ConfigMap kube-system/eni-config is in force');
  });

  test('may be configured without a trunk; an existing one stays', async () => {
    const before = await addNode(SPECIAL);
    const trunk = await operator.trunkOf(before.name);
    await writeEniConf('special', { ...special, enable_eni_trunking: false });
    const { name } = await addNode(SPECIAL);
    await nodeSays(
      name,
      'TrunkReady=False TrunkNotSupported: enable_eni_trunking is false in ConfigMap kube-system/special over eni-config',
    );
    expect(await conditionOfNode(before.name, 'TrunkReady')).toContain('TrunkReady=True');
    expect(await operator.trunkOf(before.name)).toBe(trunk);
    // Where nothing is said, nothing is wanted: enableTrunk merely permits it.
    await writeEniConf('special', { ...special, enable_eni_trunking: null });
    await nodeSays(
      name,
      'TrunkReady=False TrunkNotSupported: enable_eni_trunking is not set in ConfigMap kube-system/special',
    );
    expect(await operator.trunkOf(before.name)).toBe(trunk);
    await writeEniConf('special', special);
    expect(await trunkOf(name)).toMatchObject(ofSpecial);
  });

  test('gets the trunk that the cloud has refused once the configuration is corrected', async () => {
    await writeEniConf('special', { ...special, security_group: 'sg-bp1nowhere' });
    const { name } = await addNode(SPECIAL);
    await nodeSays(name, REFUSED);
    await writeEniConf('special', special);
    expect(await trunkOf(name)).toMatchObject(ofSpecial);
  });

  test('of whole ENIs gives them to pods by it, from the moment it has the label', async () => {
    const { name } = await addNode({ 'k8s.aliyun.com/exclusive-mode-eni-type': 'eniOnly' });
    const eniOf = async (pod: string) => {
      await operator.createPod(ns, pod, { node: name });
      return operator.eni(idOf(await operator.bound(ns, pod)));
    };
    expect(await eniOf('of-base')).toMatchObject(ofBase);
    await label(name, SPECIAL);
    await nodeSays(name, IN_FORCE);
    expect(await eniOf('of-special')).toMatchObject(ofSpecial);

    for (const pod of ['of-base', 'of-special']) await operator.deletePod(ns, pod);
    await writeEniConf('special', { ...special, security_group: 'sg-bp1nowhere' });
    // A node that was added later has seen it.
    await nodeSays((await addNode(SPECIAL)).name, REFUSED);
    await operator.createPod(ns, 'refused', { node: name });
    await operator.podEvent(ns, 'refused', 'CloudError');
    await writeEniConf('special', special);
    expect(await operator.eni(idOf(await operator.bound(ns, 'refused')))).toMatchObject(ofSpecial);
    await operator.deletePod(ns, 'refused');
  });

  test('gets one report of unknown keys, however often the ConfigMap changes', async () => {
    const lines = (await operator.controlPlane.process.output())
      .split('\n')
      .filter((line) => line.includes('eni_conf has unknown keys'));
    expect(lines.filter((line) => line.includes('"configMap":"kube-system/special","keys":["vswitch"]'))).toHaveLength(
      1,
    );
  });
});
