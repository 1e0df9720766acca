import { TAG_OWNER } from '../../crds/names.ts';
import type { Eni } from '../../ecs/eni.ts';
import { rfc3339 } from '../../util/clock.ts';
import type { ListedEni, SentOrphans } from '../../wire/admin-channel.ts';
import type { OrphanPlan } from '../collector/collector.ts';
import type { OrphanRelease } from '../collector/orphan-releaser.ts';

export function listedEni(eni: Eni): ListedEni {
  const madeFor = eni.tags[TAG_OWNER];
  return {
    eniID: eni.id,
    type: eni.type,
    status: eni.status,
    vSwitchID: eni.vSwitchId,
    ip: eni.primaryIp,
    ...(eni.instanceId === undefined ? {} : { instanceID: eni.instanceId }),
    ...(eni.trunkEniId === undefined ? {} : { trunkENIID: eni.trunkEniId }),
    ...(eni.createdAtMs === undefined ? {} : { createdAt: rfc3339(eni.createdAtMs) }),
    ...(madeFor === undefined ? {} : { madeFor }),
  };
}

const WHY: Record<Exclude<OrphanPlan['orphans'][number]['hold'], undefined>, string> = {
  seenOnce: 'orphan for one round only',
  tooYoung: 'younger than collector.minimumAge',
  moving: 'the cloud is changing it',
};

export function orphansResponse(plan: OrphanPlan, overrideBrake: boolean, released?: OrphanRelease[]): SentOrphans {
  const isHeld = plan.braked && !overrideBrake;
  return {
    listed: plan.listed,
    braked: plan.braked,
    orphans: plan.orphans.map(({ eni, hold }) => {
      const why = hold === undefined ? 'no object names it' : WHY[hold];
      return {
        ...listedEni(eni),
        decision: hold === undefined && !isHeld ? 'release' : 'keep',
        why: hold === undefined && isHeld ? 'the brake is on' : why,
      };
    }),
    ...(released === undefined ? {} : { released: released.map(({ eniId, ...rest }) => ({ eniID: eniId, ...rest })) }),
  };
}
