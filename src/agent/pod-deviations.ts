import type { Deviation } from '../datapath/types.ts';

/** One pod and a description of what differs in its namespace. */
export interface ToldPod {
  pod: string;
  message: string;
}

/** Limit of differences per message: a pod can make any number of them. */
const MOST_NAMED = 5;

/** Differences inside pods. They last until somebody in the pod changes them, so only new ones are reported. */
export class PodDeviations {
  #told: ReadonlyMap<string, string> = new Map();
  #current: readonly Deviation[] = [];

  /** Takes the result of a look at the whole node; returns the pods whose differences have changed. */
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
