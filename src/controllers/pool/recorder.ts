import type { Capacity } from '../../allocation/plan.ts';
import { dropAstray, type PoolNews, recordNews, subnetsIn } from '../../allocation/pool/news.ts';
import type { PoolStatus } from '../../allocation/pool/plan-pool.ts';
import type { PoolIntent, TerwayNode } from '../../crds/node.ts';
import type { EniDriver } from '../eni/driver.ts';
import { giveBack } from './intents.ts';
import type { PoolMemory } from './memory.ts';
import type { PoolReporter } from './reporter.ts';
import type { PoolSubject, PoolSubjects } from './subjects.ts';

interface PoolRecorderOptions {
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
interface Updated {
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
  update(node: TerwayNode, memory: PoolMemory, nowMs: number): Updated {
    const { subjects, capacity } = this.#options;
    const status = structuredClone(node.status ?? {});
    const astray = dropAstray(status);
    const brought: Brought[] = [];
    const unknown: string[] = [];
    for (const subject of subjects.of(node)) {
      subjects.noteOutcome(status, subject);
      const news = subjects.newsOf(subject);
      if (news === undefined) continue;
      if (this.#lacksSubnet(news)) {
        unknown.push(news.eni.vSwitchId);
        continue;
      }
      recordNews(status, news, subnetsIn(capacity.vSwitches));
      if (news.do === 'refused') {
        memory.refuse(news.eniId, news.failure, nowMs);
        if (news.failure.kind === 'exhausted') capacity.vSwitches.block(vSwitchOf(subject), nowMs);
      }
      brought.push({ subject, news });
    }
    return { status, brought, astray, unknown };
  }

  /** The record is written. */
  account(node: TerwayNode, { brought, astray }: Pick<Updated, 'brought' | 'astray'>, memory: PoolMemory): void {
    const { driver, capacity, reporter } = this.#options;
    giveBack(astray, capacity);
    for (const { subject, news } of brought) {
      driver.forget(subject.id, subject.eniId);
      if (news.do === 'attached') reporter.attached(node, news.eni);
      if (news.do === 'arrived') memory.granted(news.eniId);
      if (news.do === 'returned') capacity.vSwitches.released(vSwitchOf(subject), news.ips.length);
      if (news.do === 'refused' && subject.intent !== undefined) giveBack([subject.intent], capacity);
    }
  }

  /** What a call has brought cannot be recorded yet. */
  isHeldUp(subject: PoolSubject): boolean {
    const news = this.#options.subjects.newsOf(subject);
    return news !== undefined && this.#lacksSubnet(news);
  }

  /** Pods get nothing of an ENI whose subnet is not known. */
  #lacksSubnet(news: PoolNews): news is Extract<PoolNews, { do: 'attached' }> {
    return news.do === 'attached' && this.#options.capacity.vSwitches.get(news.eni.vSwitchId) === undefined;
  }
}

function vSwitchOf({ eni, intent }: PoolSubject): string {
  return eni?.vSwitchID ?? intent?.vSwitchID ?? '';
}
