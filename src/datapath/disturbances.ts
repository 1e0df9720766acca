import { mayBeEni } from './eni-devices.ts';
import { familyOf, hostPrefix } from './ip.ts';
import { containerOf, isOurGroup, LEAVING_GROUP, POD_TABLE } from './names.ts';
import { decodeLink, type Link } from './netlink/link.ts';
import { type NetlinkMessage, RTM } from './netlink/message.ts';
import { decodeAddress, decodeRoute, decodeRule, OUR_PROTOCOL } from './netlink/network.ts';

/** RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE, TC */
export const WATCHED_GROUPS = [1, 5, 7, 8, 9, 11, 19, 4] as const;

/** What the agent itself is changing at the moment. */
export interface OwnWork {
  links: ReadonlySet<string>;
  addresses: ReadonlySet<string>;
  isEni(mac: string): boolean;
}

/**
 * Whether a message means that something the agent made may be gone. Links, routes and rules of others change all the time on a
 * node, so few messages are worth a look.
 */
export function isDisturbance(message: NetlinkMessage, own: OwnWork): boolean {
  try {
    return mayDisturb(message, own);
  } catch {
    // Unknown message: assume the worst.
    return true;
  }
}

function mayDisturb({ type, payload }: NetlinkMessage, own: OwnWork): boolean {
  switch (type) {
    case RTM.delRule:
      return decodeRule(payload)?.protocol === OUR_PROTOCOL;
    case RTM.delRoute:
    case RTM.newRoute: {
      const route = decodeRoute(payload);
      if (route === undefined) return false;
      const family = familyOf(route.destination);
      const isOwn = own.addresses.has(route.destination.replace(`/${hostPrefix(family)}`, ''));
      if (type === RTM.delRoute) return route.protocol === OUR_PROTOCOL && !isOwn;
      // Replacing our object is not reported as a deletion.
      return route.protocol !== OUR_PROTOCOL && (route.table === POD_TABLE.open || route.table === POD_TABLE.isolated);
    }
    case RTM.delAddress:
      return decodeAddress(payload).protocol === OUR_PROTOCOL;
    case RTM.delLink:
      return isWatched(decodeLink(payload), own);
    case RTM.newLink: {
      const link = decodeLink(payload);
      return !link.up && isWatched(link, own);
    }
    case RTM.delQdisc:
    case RTM.delFilter:
      return true;
    default:
      return false;
  }
}

/** A pod's link that no call is making or removing, or an ENI in use. */
function isWatched(link: Link, own: OwnWork): boolean {
  const isPods = containerOf(link.alias) !== undefined || isOurGroup(link.group);
  if (isPods) return link.group !== LEAVING_GROUP && !own.links.has(link.name);
  return own.isEni(link.mac) && mayBeEni(link);
}
