import { linkKey, vlanKey } from './bpf/entries.ts';
import { PROGRAM_NAMES } from './bpf/programs.ts';
import { addressBytes, familyOf, IPV4 } from './ip.ts';
import { isErrno, type Kernel, NODE } from './kernel/kernel.ts';
import { containerOf, isOurGroup } from './names.ts';
import { deleteLink } from './netlink/link.ts';
import { deleteAddress, deleteRoute, deleteRule, OUR_PROTOCOL } from './netlink/network.ts';
import { type Direction, deleteFilter, type Filter } from './netlink/traffic.ts';
import { describe, identityOf } from './objects.ts';
import { PREFERENCE } from './plan-node.ts';
import type { Session } from './session.ts';
import type { Snapshot } from './snapshot.ts';
import type { Deviation } from './types.ts';
import { isTagPreference } from './vlan-filters.ts';

/** Something of ours in the kernel, and how to remove it. */
export interface Found {
  /** Equals the identity of the planned object that needs it. */
  identity: string;
  deviation: Deviation;
  remove: () => Promise<void>;
}

/**
 * Everything of ours on the node, recognised by protocol, alias, group, filter preference, or by being in our maps. The caller
 * removes what it does not want.
 */
export async function findOurs(session: Session, snapshot: Snapshot): Promise<Found[]> {
  return [
    ...(await findLinks(session.kernel, snapshot)),
    ...(await findNetwork(session.kernel, snapshot)),
    ...(await findFilters(session.kernel, snapshot)),
    ...findEntries(session, snapshot),
  ];
}

const GONE = ['ENOENT', 'ENODEV', 'ESRCH', 'EADDRNOTAVAIL', 'EINVAL'] as const;

function removal(work: () => Promise<unknown>): () => Promise<void> {
  return async () => {
    try {
      await work();
    } catch (error) {
      if (!isErrno(error, ...GONE)) throw error;
    }
  };
}

function leftover(object: Deviation['object'], text: string, identity: string, remove: () => Promise<unknown>): Found {
  return { identity, deviation: { object, message: `${text} belongs to no pod` }, remove: removal(remove) };
}

async function findLinks(kernel: Kernel, snapshot: Snapshot): Promise<Found[]> {
  const { links } = snapshot.node();
  return links
    .filter(({ alias, group }) => containerOf(alias) !== undefined || (alias === '' && isOurGroup(group)))
    .map(({ name, index, alias }) => {
      const text = `link ${name} (${alias === '' ? 'without an alias' : alias})`;
      return leftover('link', text, `veth ${name}`, () => kernel.netlink(NODE, deleteLink(index)));
    });
}

async function findNetwork(kernel: Kernel, snapshot: Snapshot): Promise<Found[]> {
  const { routes, rules, addresses, links } = snapshot.node();
  const names = new Map(links.map(({ index, name }) => [index, name]));
  const nameOf = (index: number) => names.get(index) ?? `${index}`;
  const ours = addresses.filter(({ protocol }) => protocol === OUR_PROTOCOL);
  return [
    ...routes.map((route) => {
      const object = { kind: 'route', netns: NODE, link: nameOf(route.linkIndex), ...route } as const;
      return leftover('route', describe(object), identityOf(object), () => kernel.netlink(NODE, deleteRoute(route)));
    }),
    ...rules.map((rule) => {
      const object = { kind: 'rule', netns: NODE, ...rule } as const;
      return leftover('rule', describe(object), identityOf(object), () => kernel.netlink(NODE, deleteRule(rule)));
    }),
    ...ours.map((address) => {
      const object = { kind: 'address', netns: NODE, link: nameOf(address.linkIndex), ...address } as const;
      return leftover('address', describe(object), identityOf(object), () =>
        kernel.netlink(NODE, deleteAddress(address)),
      );
    }),
  ];
}

/**
 * Filters of ours on links that are no pods'; those go with their links, but for one at the place of an earlier release.
 * The hook itself stays: without filters it does
 * nothing, and nobody can tell whose an empty one is.
 */
async function findFilters(kernel: Kernel, snapshot: Snapshot): Promise<Found[]> {
  const { links, qdiscs } = snapshot.node();
  const found: Found[] = [];
  for (const { index, name, alias, group } of links) {
    const isPods = containerOf(alias) !== undefined || isOurGroup(group);
    const attached = isPods ? [] : await findTcxPrograms(kernel, index, name);
    found.push(...attached);
    const hasClsact = qdiscs.some(({ linkIndex, kind }) => linkIndex === index && kind === 'clsact');
    if (!hasClsact) continue;
    const view = await snapshot.filters(index);
    const ours = (['egress', 'ingress'] as const).flatMap((direction) =>
      view[direction].flatMap((filter) => {
        if (isPods && filter.preference === PREFERENCE.veth) return [];
        const identity = identityOfFilter(filter, direction, name);
        // A TCX program that is the same object has taken over from it.
        if (attached.some((other) => other.identity === identity)) return [{ filter, direction, identity: 'none' }];
        return identity === undefined ? [] : [{ filter, direction, identity }];
      }),
    );
    for (const { filter, direction, identity } of ours) {
      const classifier = filter.action.kind === 'bpf' ? 'bpf' : 'u32';
      const place = { ...filter, direction };
      const text = `filter at ${direction} of ${name} pref ${filter.preference}`;
      found.push(leftover('filter', text, identity, () => kernel.netlink(NODE, deleteFilter(place, classifier))));
    }
  }
  return found;
}

/** Ours of the way out of a link. */
async function findTcxPrograms(kernel: Kernel, linkIndex: number, link: string): Promise<Found[]> {
  const programs = (await kernel.tcxPrograms(linkIndex, 'egress')) ?? [];
  return programs.flatMap(({ id, name }) => {
    const program = PROGRAM_NAMES.find((own) => own === name);
    if (program === undefined) return [];
    const place = { kind: 'program', netns: NODE, link, direction: 'egress', preference: PREFERENCE.tag } as const;
    const text = `TCX program ${name} at egress of ${link}`;
    return leftover('filter', text, identityOf({ ...place, program }), () => kernel.detachTcx(linkIndex, 'egress', id));
  });
}

/** As an object of a plan; undefined for a filter that is not ours. */
function identityOfFilter(filter: Filter, direction: Direction, link: string): string | undefined {
  const { action, preference } = filter;
  switch (action.kind) {
    case 'bpf': {
      const program = PROGRAM_NAMES.find((name) => name === action.name);
      return program && identityOf({ kind: 'program', netns: NODE, link, direction, preference, program });
    }
    case 'push': {
      const isOurs = direction === 'egress' && isTagPreference(preference);
      return isOurs ? `pushFilter ${link} ${action.source}` : undefined;
    }
    case 'pop':
      return direction === 'ingress' && preference === PREFERENCE.untag ? `popFilter ${link}` : undefined;
    case 'other':
      return undefined;
  }
}

function findEntries({ kernel, programs }: Session, snapshot: Snapshot): Found[] {
  if (programs === undefined) return [];
  const { tags, veths, vlans } = snapshot.maps;
  const linkOf = (index: number) => snapshot.linkName(index) ?? `${index}`;
  return [
    ...tags.map(({ address, vlanId }) => {
      const map = programs.map(familyOf(address) === IPV4 ? 'tag4' : 'tag6');
      const text = `tag of ${address}: VLAN ${vlanId}`;
      return leftover('map', text, `tag ${address}`, () => kernel.deleteEntries(map, [addressBytes(address)]));
    }),
    ...veths.map(({ linkIndex }) => {
      const name = linkOf(linkIndex);
      const remove = () => kernel.deleteEntries(programs.map('veths'), [linkKey(linkIndex)]);
      return leftover('map', `mark for link ${name}`, `vethEntry ${name}`, remove);
    }),
    ...vlans.map((entry) => {
      const remove = () => kernel.deleteEntries(programs.map('vlans'), [vlanKey(entry.trunkIndex, entry.vlanId)]);
      const identity = `vlanEntry ${entry.trunkIndex} ${entry.vlanId}`;
      return leftover('map', `VLAN ${entry.vlanId} of link ${entry.trunkIndex}`, identity, remove);
    }),
  ];
}
