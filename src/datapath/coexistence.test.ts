import { expect, test } from 'vitest';
import { assertCoexistence } from './coexistence.ts';
import type { Attachment, PodAttachment } from './types.ts';

const trunk = (mac: string) => ({ mac, gateway: {} });
const member: Attachment = { kind: 'member', trunk: trunk('00:16:3E:00:00:01'), vlanId: 1 };
const device: Attachment = { kind: 'vlanDevice', trunk: trunk('00:16:3e:00:00:01'), vlanId: 2 };
const elsewhere: Attachment = { ...device, trunk: trunk('00:16:3e:00:00:02') };
const shared: Attachment = { kind: 'shared', eni: trunk('00:16:3e:00:00:01') };

function pod(name: string, ...attachments: Attachment[]): PodAttachment {
  return {
    namespace: 'shop',
    name,
    uid: name,
    containerId: name,
    netnsPath: '',
    interfaces: attachments.map((attachment, at) => ({
      name: `eth${at}`,
      mtu: 1500,
      defaultRoute: at === 0,
      extraRoutes: [],
      attachment,
    })),
  };
}

test.each([
  ['a VLAN device beside a member', pod('new', device), [pod('old', member)]],
  ['a member beside a VLAN device', pod('new', shared, member), [pod('other', shared), pod('old', shared, device)]],
  ['both in one pod', pod('new', member, device), []],
])('the classic filters cannot serve %s on one trunk', (_, wanted, others) => {
  expect(() => assertCoexistence(wanted, others, 'tc')).toThrow(
    expect.objectContaining({
      name: 'CoexistenceError',
      message: expect.stringMatching(/pod shop\/new .* trunk 00:16:3e:00:00:01, .* vlan_strip_type.* ebpf/),
    }),
  );
  expect(() => assertCoexistence(wanted, others, 'ebpf')).not.toThrow();
});

test('the message names both interfaces', () => {
  expect(() => assertCoexistence(pod('new', shared, device), [pod('old', member)], 'tc')).toThrow(
    /interface eth1 of pod shop\/new is a VLAN device of trunk .*, interface eth0 of pod shop\/old is a member of it/,
  );
});

test.each([
  ['members', pod('new', member), [pod('old', member)]],
  ['VLAN devices', pod('new', device), [pod('old', device)]],
  ['both kinds on different trunks', pod('new', elsewhere), [pod('old', member)]],
  ['pods without a trunk', pod('new', member), [pod('old', shared)]],
])('they serve %s', (_, wanted, others) => {
  expect(() => assertCoexistence(wanted, others, 'tc')).not.toThrow();
});
