import { expect, test } from 'vitest';
import { nodeSchema } from '../crds/node.ts';
import { podEniSchema } from '../crds/pod-eni.ts';
import { statusResponse } from '../wire/admin-channel.ts';
import { goBackLines, goBackReport } from './go-back.ts';

const NOW_MS = Date.parse('2026-03-01T10:00:00Z');

const podEni = (name: string, phase?: string) =>
  podEniSchema.parse({ metadata: { namespace: 'shop', name }, ...(phase === undefined ? {} : { status: { phase } }) });

const node = (name: string, ...eniIDs: string[]) =>
  nodeSchema.parse({
    metadata: { name },
    status: {
      poolIntents: eniIDs.map((eniID) => ({
        ...{ clientToken: 't', createdAt: '2026-03-01T09:59:57Z', attempt: 1, eniID, vSwitchID: 'vsw-1', tags: {} },
        ...{ securityGroupIDs: [], ipv4: 3, ipv6: 0 },
      })),
    },
  });

const status = (poolGrowth?: boolean) =>
  statusResponse.parse({ identity: 'a', leading: true, leader: 'a', poolGrowth });

test.each([
  [
    'nothing is under way, and pools ask for nothing',
    [podEni('a', 'Bind'), podEni('b', 'Unbind')],
    [node('n')],
    false,
    [],
  ],
  [
    'an ENI of a pod is on its way',
    [podEni('a', 'Binding'), podEni('b')],
    [],
    false,
    [
      'PodENI shop/a is Binding: wait until it is Bind or Unbind.',
      'PodENI shop/b is new: wait until it is Bind or Unbind.',
    ],
  ],
  [
    'a pool has asked for something',
    [],
    [node('n', '', 'eni-1'), node('m')],
    false,
    [
      'Node n has asked for a new ENI 3s ago: wait until that is recorded.',
      'Node n has asked for addresses for eni-1 3s ago: wait until that is recorded.',
    ],
  ],
  [
    'pools may ask for more',
    [],
    [],
    true,
    ['Pools ask for more at any moment: set poolGrowth to false in the configuration of the control plane.'],
  ],
])('%s', (_, podEnis, nodes, mayGrow, lines) => {
  expect(goBackLines(goBackReport(podEnis, nodes, status(mayGrow)), NOW_MS)).toEqual(lines);
});

test('a control plane of an older version may ask for more; without one, nothing is asked for', () => {
  expect(goBackReport([], [], status())).toEqual({ podEnis: [], intents: [], mayGrow: true });
  expect(goBackReport([], [], undefined)).toEqual({ podEnis: [], intents: [] });
});
