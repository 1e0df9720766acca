import type { NodeAddress, NodeEni, PoolIntent } from '../../crds/node.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { OperationFailure } from '../operation.ts';
import type { VSwitchPool } from '../vswitch-pool.ts';
import type { PoolStatus } from './pool-view.ts';
import { FAMILIES, type Family } from './view.ts';
import { countWarmUp } from './warm-up.ts';

/** What the record does not show yet: the result of a call, or what the cloud has. */
export type PoolNews =
  /** The ENI is in use now, with these addresses. */
  | { do: 'attached'; eni: Eni }
  | { do: 'arrived'; eniId: string; family: Family; ips: readonly string[] }
  /** These addresses were given back. */
  | { do: 'returned'; eniId: string; ips: readonly string[] }
  /** The record, corrected by what the cloud shows. */
  | { do: 'shown'; eniId: string; eni: NodeEni }
  /** The ENI is not of this cluster: who made it keeps it when the node leaves. */
  | { do: 'foreign'; eniId: string }
  /** The ENI has these security groups now. */
  | { do: 'regrouped'; eniId: string; securityGroupIds: string[] }
  /** The cloud does not give what the intent asks for; without an ENI, it does not make one. */
  | { do: 'refused'; eniId: string; clientToken: string; failure: OperationFailure };

/** Subnets of the vSwitch that an ENI is in. */
export interface Subnets {
  ipv4: string;
  /** Empty without IPv6. */
  ipv6: string;
}

/** The subnets of a vSwitch; empty while it is not known. */
export function subnetsIn(vSwitches: Pick<VSwitchPool, 'get'>): (vSwitchId: string) => Subnets {
  return (vSwitchId) => {
    const facts = vSwitches.get(vSwitchId);
    return { ipv4: facts?.cidrBlock ?? '', ipv6: facts?.ipv6CidrBlock ?? '' };
  };
}

/**
 * Records what the cloud has done. An intent ends with the last thing that it asked for.
 *
 * @param status changed in place
 */
export function recordNews(status: PoolStatus, news: PoolNews, subnetsOf: (vSwitchId: string) => Subnets): void {
  const enis = { ...status.networkInterfaces };
  status.networkInterfaces = enis;
  switch (news.do) {
    case 'attached': {
      const { eni } = news;
      enis[eni.id] = attachedRecord(enis[eni.id], eni, subnetsOf(eni.vSwitchId));
      endIntent(status, eni.id);
      countWarmUp(status, eni.ipv4.length);
      return;
    }
    case 'arrived': {
      const eni = enis[news.eniId];
      if (eni !== undefined) {
        const subnets = subnetsOf(eni.vSwitchID ?? '');
        enis[news.eniId] = withSubnets(withAddresses(eni, news.family, news.ips), subnets);
      }
      const intent = status.poolIntents?.find(({ eniID }) => eniID === news.eniId);
      if (intent !== undefined) intent[news.family] = 0;
      if (intent?.ipv4 === 0 && intent.ipv6 === 0) endIntent(status, news.eniId);
      if (news.family === 'ipv4') countWarmUp(status, news.ips.length);
      return;
    }
    case 'returned': {
      const eni = enis[news.eniId];
      for (const family of FAMILIES) for (const ip of news.ips) delete eni?.[family]?.[ip];
      return;
    }
    case 'shown':
      enis[news.eniId] = withSubnets(news.eni, subnetsOf(news.eni.vSwitchID ?? ''));
      // Nothing comes any more of an ENI that is gone.
      if (news.eni.status === 'Deleting') endIntent(status, news.eniId);
      return;
    case 'foreign':
      delete enis[news.eniId];
      endIntent(status, news.eniId);
      return;
    case 'regrouped': {
      const eni = enis[news.eniId];
      if (eni !== undefined) enis[news.eniId] = { ...eni, securityGroupIDs: news.securityGroupIds };
      return;
    }
    case 'refused':
      dropIntent(status, news.clientToken);
  }
}

/** Changes the status in place. */
export function dropIntent(status: PoolStatus, token: string | undefined): void {
  status.poolIntents = (status.poolIntents ?? []).filter(({ clientToken }) => clientToken !== token);
}

/**
 * Drops intents for addresses of ENIs that the record does not name any more, whoever took them out of it: nothing comes of them. Changes
 * the status in place.
 *
 * @returns those that were dropped
 */
export function dropAstray(status: PoolStatus): PoolIntent[] {
  const { networkInterfaces = {}, poolIntents = [] } = status;
  const isAstray = ({ eniID }: PoolIntent) => eniID !== '' && networkInterfaces[eniID] === undefined;
  const astray = poolIntents.filter(isAstray);
  if (astray.length > 0) status.poolIntents = poolIntents.filter((intent) => !isAstray(intent));
  return astray;
}

function endIntent(status: PoolStatus, eniId: string): void {
  status.poolIntents = (status.poolIntents ?? []).filter(({ eniID }) => eniID !== eniId);
}

/** The record of an ENI that is in use. Whoever has an address keeps it. */
export function attachedRecord(known: NodeEni | undefined, eni: Eni, subnets: Subnets): NodeEni {
  const record: NodeEni = {
    ...known,
    id: eni.id,
    status: eni.status,
    macAddress: eni.macAddress,
    vSwitchID: eni.vSwitchId,
    securityGroupIDs: eni.securityGroupIds,
    primaryIPAddress: eni.primaryIp,
    networkInterfaceType: eni.type,
    networkInterfaceTrafficMode: eni.trafficMode ?? 'Standard',
    ipv4CIDR: subnets.ipv4,
  };
  const attached = withSubnets(record, subnets);
  return FAMILIES.reduce((merged, family) => withAddresses(merged, family, eni[family], eni.primaryIp), attached);
}

/** An ENI of before IPv6 was turned on has no subnet of it yet. */
function withSubnets(eni: NodeEni, { ipv6 }: Subnets): NodeEni {
  return ipv6 === '' || eni.ipv6CIDR === ipv6 ? eni : { ...eni, ipv6CIDR: ipv6 };
}

function withAddresses(eni: NodeEni, family: Family, ips: readonly string[], primaryIp = ''): NodeEni {
  if (ips.length === 0) return eni;
  const added = ips.map((ip): [string, NodeAddress] => [
    ip,
    eni[family]?.[ip] ?? { ip, primary: ip === primaryIp, status: 'Valid' },
  ]);
  return { ...eni, [family]: { ...eni[family], ...Object.fromEntries(added) } };
}
