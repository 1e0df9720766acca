import type { Capacity } from '../../allocation/plan.ts';
import { withCanonicalTexts } from '../../allocation/pool/address-texts.ts';
import { withSchedulability } from '../../allocation/pool/audit.ts';
import { dropAstray, type PoolNews, recordNews, subnetsIn } from '../../allocation/pool/news.ts';
import type { PoolStatus } from '../../allocation/pool/pool-view.ts';
import type { PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { Eni } from '../../ecs/eni.ts';
import type { EniDriver } from '../eni/driver.ts';
import { poolOwner } from '../owners.ts';
import { giveBack } from './intents.ts';
import type { PoolMemory } from './memory.ts';
import type { PoolReporter } from './reporter.ts';
import { observedBy, type PoolSubject, type PoolSubjects } from './subjects.ts';

interface PoolRecorderOptions {
  clusterId: string;
  capacity: Pick<Capacity, 'vSwitches'>;
  driver: EniDriver;
  reporter: PoolReporter;
  subjects: PoolSubjects;
}

/** What a call has brought. */
interface Brought {
  subject: PoolSubject;
  news: PoolNews;
}

/** A record with what calls have brought, to be written. */
export interface Updated {
  status: PoolStatus;
  brought: Brought[];
  /** Intents that nothing comes of. */
  astray: PoolIntent[];
  /** vSwitches that must be known before more can be recorded. */
  unknown: string[];
}

/** Takes into the record of a node what calls have brought, and then into the counts of vSwitches. */
export class PoolRecorder {
  readonly #options: PoolRecorderOptions;

  constructor(options: PoolRecorderOptions) {
    this.#options = options;
  }

  /** What calls have brought since the record was written. Who was refused is remembered at once, so that the plan asks no more. */
  update(read: TerwayNode, memory: PoolMemory, nowMs: number): Updated {
    const { subjects, capacity } = this.#options;
    const node = withCanonicalTexts(read);
    const status = structuredClone(node.status ?? {});
    const astray = dropAstray(status);
    const brought: Brought[] = [];
    const unknown: string[] = [];
    for (const subject of subjects.of(node)) {
      subjects.dropRecorded(subject);
      subjects.noteOutcome(status, subject);
      const news = subjects.newsOf(subject);
      if (news === undefined) continue;
      const lacking = this.#lackingSubnet(subject, news);
      if (lacking !== undefined) {
        unknown.push(lacking);
        continue;
      }
      recordNews(status, news, subnetsIn(capacity.vSwitches));
      if (news.do === 'attached') this.#leaveAlone(status, node, news.eni);
      if (news.do === 'refused') {
        if (subject.eni !== undefined) memory.refuse(news.eniId, news.failure, nowMs);
        if (subject.eni !== undefined && news.failure.kind === 'notFound') subjects.look(subject);
        if (subject.eni === undefined && subject.intent !== undefined)
          memory.refuseCreation(subject.intent, news.failure, nowMs);
        if (news.failure.kind === 'exhausted') capacity.vSwitches.block(vSwitchOf(subject), nowMs);
      }
      brought.push({ subject, news });
    }
    return { status, brought, astray, unknown };
  }

  /** The tags that it was made with may be on the block list by now. */
  #leaveAlone({ networkInterfaces = {} }: PoolStatus, { spec }: TerwayNode, shown: Eni): void {
    const { clusterId } = this.#options;
    const eni = networkInterfaces[shown.id];
    if (eni !== undefined) networkInterfaces[shown.id] = withSchedulability(eni, shown, { spec, clusterId });
  }

  /** The record is written. */
  account(node: TerwayNode, { brought, astray }: Pick<Updated, 'brought' | 'astray'>, memory: PoolMemory): void {
    const { driver, capacity, reporter } = this.#options;
    giveBack(astray, capacity);
    for (const { subject, news } of brought) {
      driver.forget(subject.id, { id: observedBy(subject), owner: poolOwner(subject.nodeName) });
      if (news.do === 'attached') {
        reporter.attached(node, news.eni);
        memory.made();
      }
      if (news.do === 'arrived') memory.granted(news.eniId);
      if (news.do === 'returned') {
        capacity.vSwitches.released(vSwitchOf(subject), news.ips.length);
      }
      if (news.do === 'refused' && subject.intent !== undefined) giveBack([subject.intent], capacity);
    }
  }

  /** What a call has brought cannot be recorded yet. */
  isHeldUp(subject: PoolSubject): boolean {
    const news = this.#options.subjects.newsOf(subject);
    return news !== undefined && this.#lackingSubnet(subject, news) !== undefined;
  }

  /** Pods get nothing of an ENI whose subnets are not known. @returns the vSwitch to ask about */
  #lackingSubnet({ eni }: PoolSubject, news: PoolNews): string | undefined {
    const { vSwitches } = this.#options.capacity;
    if (news.do === 'attached') {
      const facts = vSwitches.get(news.eni.vSwitchId);
      const isKnown = facts !== undefined && (news.eni.ipv6.length === 0 || facts.ipv6CidrBlock !== '');
      return isKnown ? undefined : news.eni.vSwitchId;
    }
    if (news.do !== 'arrived' || news.family === 'ipv4' || news.ips.length === 0) return undefined;
    const { vSwitchID = '', ipv6CIDR = '' } = eni ?? {};
    // IPv6 was turned on after the ENI was attached.
    return ipv6CIDR !== '' || (vSwitches.get(vSwitchID)?.ipv6CidrBlock ?? '') !== '' ? undefined : vSwitchID;
  }
}

function vSwitchOf({ eni, intent }: PoolSubject): string {
  return eni?.vSwitchID ?? intent?.vSwitchID ?? '';
}
