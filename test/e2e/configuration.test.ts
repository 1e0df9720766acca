import { readFile, rename, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { pollUntil } from '../cluster/poll.ts';
import { sharedCluster, type TestNamespace, withNamespace } from '../cluster/shared.ts';
import type { LabNode } from '../lab/lab.ts';
import { API, Bed, isEmpty, SMALL_TYPE, ZONE_H } from './support.ts';

/* What can be changed while the control plane runs, and what it says of a file that is wrong. */

let bed: Bed;
let namespace: TestNamespace;
let ns: string;
let node: LabNode;

beforeAll(async () => {
  const cluster = await sharedCluster();
  bed = await Bed.start(cluster, { nodeLabelWhiteList: { pool: 'eni' }, customStatefulWorkloadKinds: ['CloneSet'] });
  namespace = await withNamespace(cluster, 'configuration');
  ns = namespace.name;
  await bed.startControlPlane();
  node = await bed.lab.addNode(ZONE_H, undefined, { pool: 'eni' });
  await bed.trunkOf(node.name);
  await bed.readyNetworking('plain');
});

afterAll(async () => {
  await bed?.close();
  await namespace?.delete();
});

/** Changes the configuration file as an editor does: a new file in place of the old one. */
async function edit(change: Record<string, unknown> | string): Promise<void> {
  const path = bed.controlPlane.configPath;
  const text =
    typeof change === 'string'
      ? change
      : stringify({ ...z.record(z.string(), z.unknown()).parse(parse(await readFile(path, 'utf8'))), ...change });
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

/** Value of a metric of the control plane, by name and labels as they are exposed. */
async function metric(name: string): Promise<number | undefined> {
  const text = await (await fetch(`${bed.controlPlane.telemetryUrl}/metrics`)).text();
  const line = text.split('\n').find((each) => each.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.split(' ').at(-1));
}

const becomes = (name: string, value: number) =>
  pollUntil(async () => ((await metric(name)) === value ? true : undefined), {
    what: `${name} to be ${value}`,
    timeoutMs: 20_000,
  });

const logged = (words: string) =>
  pollUntil(async () => ((await bed.controlPlane.process.output()).includes(words) ? true : undefined), {
    what: `the log to say "${words}"`,
    timeoutMs: 20_000,
  });

describe('the degradation switch (weak spot 19)', () => {
  test('l1 creates and attaches, but gives nothing up until it is lifted', async () => {
    await edit({ degradation: 'l1' });
    await becomes('terway_degradation_level{level="l1"}', 1);
    await bed.createPod(ns, 'kept', { node: node.name, networking: 'plain' });
    const podEni = await bed.bound(ns, 'kept');
    const eniId = podEni.spec.allocations?.[0]?.eni.id ?? '';
    const before = (await bed.lab.cloud.counters()).calls;
    await bed.deletePod(ns, 'kept');
    await bed.podEni(ns, 'kept', ({ metadata, status }) => {
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      return metadata.deletionTimestamp !== undefined && ready?.reason === 'CloudDegraded';
    });
    const { calls } = await bed.lab.cloud.counters();
    expect([calls['DetachNetworkInterface'], calls['DeleteNetworkInterface']]).toEqual([
      before['DetachNetworkInterface'],
      before['DeleteNetworkInterface'],
    ]);
    expect((await bed.eni(eniId))?.status).toBe('InUse');

    await edit({ degradation: '' });
    await becomes('terway_degradation_level{level="none"}', 1);
    await bed.settled(isEmpty);
  });

  test('l0 calls nothing: a pod waits, and says for what', async () => {
    await edit({ degradation: 'l0' });
    await becomes('terway_degradation_level{level="l0"}', 1);
    const mutations = await bed.mutations();
    await bed.createPod(ns, 'waits', { node: node.name, networking: 'plain' });
    expect((await bed.podEvent(ns, 'waits', 'CloudDegraded')).note).toContain('with degradation l0');
    expect(await bed.mutations()).toEqual(mutations);
    await edit({ degradation: '' });
    await bed.bound(ns, 'waits');
    await bed.deletePod(ns, 'waits');
    await bed.settled(isEmpty);
  });
});

describe('the configuration file', () => {
  test('that becomes wrong changes nothing, and log, metric and condition say so', async () => {
    const good = await readFile(bed.controlPlane.configPath, 'utf8');
    await edit({ rateLimit: { CreateNetworkInterface: 0 } });
    await becomes('terway_config_reload_failed', 1);
    await logged('the configuration file is wrong; the one before it stays in force');
    const networking = await bed.networking(
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
    await bed.networking(
      'plain',
      ({ status }) =>
        status?.conditions?.some(({ type, status: is }) => type === 'ConfigurationValid' && is === 'True') === true,
    );
  });

  test('whose change needs another start says so', async () => {
    await edit({ ipStack: 'dual' });
    await logged('these changes take effect at the next start');
    await edit({ ipStack: 'ipv4' });
  });

  test('may bring a lower log level at once', async () => {
    await edit({ logLevel: 'trace' });
    await logged('"keys":["logLevel"]');
  });
});

test('nodeLabelWhiteList: a node without the labels is left alone', async () => {
  const { name } = await bed.lab.addNode(ZONE_H, SMALL_TYPE);
  // Something that happens after it was looked at: another node that is served.
  const served = await bed.lab.addNode(ZONE_H, SMALL_TYPE, { pool: 'eni' });
  await bed.trunkOf(served.name);
  expect(await bed.terwayNode(name)).toBeUndefined();
});

test('customStatefulWorkloadKinds: pods of such an owner may have fixed addresses', async () => {
  await bed.readyNetworking('fixed', { allocationType: { type: 'Fixed', releaseStrategy: 'Never' } });
  const owner = (kind: string) => ({
    ownerReferences: [{ apiVersion: 'apps.kruise.io/v1alpha1', kind, name: 'o', uid: 'u', controller: true }],
  });
  await bed.createPod(ns, 'of-clone-set', { node: node.name, networking: 'fixed', ...owner('CloneSet') });
  await bed.bound(ns, 'of-clone-set');
  await bed.createPod(ns, 'of-other', { node: node.name, networking: 'fixed', ...owner('OtherSet') });
  await bed.podEvent(ns, 'of-other', 'FixedNeedsStableName');
  for (const name of ['of-clone-set', 'of-other']) await bed.deletePod(ns, name);
  await bed.lab.api.delete(`${API}/namespaces/${ns}/podenis/of-clone-set`);
  await bed.settled(isEmpty);
});
