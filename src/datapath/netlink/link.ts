import { MalformedMessageError, MessageWriter, splitPayload } from './attributes.ts';
import { type NetlinkRequest, NLM_F, RTM, request } from './message.ts';

const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  link: 5,
  linkInfo: 18,
  alias: 20,
  group: 27,
  netnsFd: 28,
  extMask: 29,
  linkNetnsId: 37,
  permanentAddress: 54,
} as const;
const INFO_KIND = 1;
const INFO_DATA = 2;
const VETH_PEER = 1;
const VLAN_ID = 1;
const IFF_UP = 1;
const IFF_LOOPBACK = 8;
/** Leaves the statistics out of answers. */
const SKIP_STATISTICS = 8;

/** A network device. */
export interface Link {
  index: number;
  name: string;
  mac: string;
  /** What the hardware has, which nobody can change; undefined for links without. */
  permanentMac: string | undefined;
  mtu: number;
  up: boolean;
  loopback: boolean;
  /** Such as `veth`; empty for real devices. */
  kind: string;
  alias: string;
  group: number;
  /** Index of the veth's other end or of the device below; it may belong to another namespace. */
  peerIndex: number | undefined;
  /** Set when {@link peerIndex} belongs to another namespace. */
  peerNetnsId: number | undefined;
  /** Of an 802.1Q device. */
  vlanId: number | undefined;
}

/** Changes to a link; what is absent stays. */
export interface LinkChange {
  up?: boolean;
  name?: string;
  mtu?: number;
  mac?: string;
  group?: number;
  alias?: string;
  /** Path of the namespace into which it moves, before it gets its new name; empty for the node's. */
  netns?: string;
}

/** `aa:bb:cc:dd:ee:ff` as bytes. */
export function macBytes(mac: string): Buffer {
  const bytes = Buffer.from(mac.replaceAll(':', ''), 'hex');
  if (bytes.length !== 6) throw new MalformedMessageError(`${mac} is no MAC address`);
  return bytes;
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function header(writer: MessageWriter, index = 0, flags = 0, change = 0): MessageWriter {
  return writer.u8(0).u8(0).u16(0).u32(index).u32(flags).u32(change);
}

/**
 * A veth pair: this end in the namespace of the request, the other one at once in `peer.netns` under its final name.
 * Both are down.
 */
export function createVeth(options: {
  name: string;
  mac: string;
  mtu: number;
  group: number;
  peer: { name: string; mac: string; netns: string };
}): NetlinkRequest {
  const { peer } = options;
  const writer = header(new MessageWriter())
    .attrText(IFLA.name, options.name)
    .attrU32(IFLA.mtu, options.mtu)
    .bytes(IFLA.address, macBytes(options.mac))
    .attrU32(IFLA.group, options.group);
  writer.nest(IFLA.linkInfo, () => {
    writer.attrText(INFO_KIND, 'veth').nest(INFO_DATA, () => {
      writer.nest(VETH_PEER, () => {
        header(writer)
          .attrText(IFLA.name, peer.name)
          .attrU32(IFLA.mtu, options.mtu)
          .bytes(IFLA.address, macBytes(peer.mac))
          .attrDescriptor(IFLA.netnsFd);
      });
    });
  });
  return request(RTM.newLink, NLM_F.create | NLM_F.excl, writer, peer.netns);
}

/** The 802.1Q device of `parentIndex`, made directly in `netns`. It is down. */
export function createVlanLink(options: {
  name: string;
  parentIndex: number;
  vlanId: number;
  mtu: number;
  group: number;
  netns: string;
}): NetlinkRequest {
  const writer = header(new MessageWriter())
    .attrText(IFLA.name, options.name)
    .attrU32(IFLA.mtu, options.mtu)
    .attrU32(IFLA.link, options.parentIndex)
    .attrU32(IFLA.group, options.group)
    .attrDescriptor(IFLA.netnsFd);
  writer.nest(IFLA.linkInfo, () => {
    writer.attrText(INFO_KIND, 'vlan').nest(INFO_DATA, () => {
      writer.attrU16(VLAN_ID, options.vlanId);
    });
  });
  return request(RTM.newLink, NLM_F.create | NLM_F.excl, writer, options.netns);
}

/** Changes a link. A link that moves is down afterwards. */
export function changeLink(index: number, change: LinkChange): NetlinkRequest {
  const flags = change.up === true ? IFF_UP : 0;
  const writer = header(new MessageWriter(), index, flags, change.up === undefined ? 0 : IFF_UP);
  if (change.name !== undefined) writer.attrText(IFLA.name, change.name);
  if (change.mtu !== undefined) writer.attrU32(IFLA.mtu, change.mtu);
  if (change.group !== undefined) writer.attrU32(IFLA.group, change.group);
  if (change.mac !== undefined) writer.bytes(IFLA.address, macBytes(change.mac));
  if (change.alias !== undefined) writer.bytes(IFLA.alias, Buffer.from(change.alias));
  if (change.netns !== undefined) writer.attrDescriptor(IFLA.netnsFd);
  return request(RTM.newLink, 0, writer, change.netns);
}

export function deleteLink(index: number): NetlinkRequest {
  return request(RTM.delLink, 0, header(new MessageWriter(), index));
}

/** All links of a group at once. */
export function deleteLinksOfGroup(group: number): NetlinkRequest {
  return request(RTM.delLink, 0, header(new MessageWriter()).attrU32(IFLA.group, group));
}

export function getLinkByName(name: string): NetlinkRequest {
  const writer = header(new MessageWriter()).attrText(IFLA.name, name).attrU32(IFLA.extMask, SKIP_STATISTICS);
  return request(RTM.getLink, 0, writer);
}

export function getLinkByIndex(index: number): NetlinkRequest {
  return request(RTM.getLink, 0, header(new MessageWriter(), index).attrU32(IFLA.extMask, SKIP_STATISTICS));
}

export function dumpLinks(): NetlinkRequest {
  return request(RTM.getLink, NLM_F.dump, header(new MessageWriter()).attrU32(IFLA.extMask, SKIP_STATISTICS));
}

/** @throws MalformedMessageError */
export function decodeLink(payload: Buffer): Link {
  const { struct, attributes } = splitPayload(payload, 16);
  const info = attributes.nested(IFLA.linkInfo);
  const flags = struct.readUInt32LE(8);
  const permanentMac = attributes.bytes(IFLA.permanentAddress);
  return {
    index: struct.readUInt32LE(4),
    name: attributes.text(IFLA.name) ?? '',
    mac: macText(attributes.bytes(IFLA.address) ?? Buffer.alloc(0)),
    permanentMac: permanentMac === undefined ? undefined : macText(permanentMac),
    mtu: attributes.u32(IFLA.mtu) ?? 0,
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    kind: info.text(INFO_KIND) ?? '',
    alias: attributes.text(IFLA.alias) ?? '',
    group: attributes.u32(IFLA.group) ?? 0,
    peerIndex: attributes.u32(IFLA.link),
    peerNetnsId: attributes.u32(IFLA.linkNetnsId),
    vlanId: info.text(INFO_KIND) === 'vlan' ? info.nested(INFO_DATA).u16(VLAN_ID) : undefined,
  };
}
