import type { Deviation } from '../datapath/types.ts';

/** One pod and what differs in its namespace, in one text. */
export interface ToldPod {
  pod: string;
  message: string;
}

/** Differences named in one message. A pod can make any number of them. */
const MOST_NAMED = 5;

/** What differs inside pods. It stays until somebody in the pod changes it, so it is told when it is new, not at every look. */
export class PodDeviations {
  #told: ReadonlyMap<string, string> = new Map();
  #current: readonly Deviation[] = [];

  /** Takes what a look at the whole node found; returns the pods of which something else was told before. */
  update(found: readonly Deviation[]): ToldPod[] {
    this.#current = found;
    const told = new Map([...Map.groupBy(found, ({ pod = '' }) => pod)].map(([pod, list]) => [pod, summary(list)]));
    const news = [...told].filter(([pod, message]) => this.#told.get(pod) !== message);
    this.#told = told;
    return news.map(([pod, message]) => ({ pod, message }));
  }

  /** How many there are now, by kind of object. */
  counts(): { labels: { object: string }; value: number }[] {
    const byObject = Map.groupBy(this.#current, ({ object }) => object);
    return [...byObject].map(([object, list]) => ({ labels: { object }, value: list.length }));
  }
}

function summary(deviations: readonly Deviation[]): string {
  const texts = [...new Set(deviations.map(({ message }) => message))];
  const more = texts.length > MOST_NAMED ? `; and ${texts.length - MOST_NAMED} more` : '';
  return `${texts.slice(0, MOST_NAMED).join('; ')}${more}`;
}
