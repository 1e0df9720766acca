import type { Eni } from './entities.ts';
import { ApiError } from './errors.ts';

/**
 * Unpleasant behaviour of the cloud: rate limits, lagging lists, failing attachments. All of it is off by default and can be
 * changed at run time.
 */
export interface Behaviour {
  /** Number of calls in one window, by API name. `default` applies to each API that is not named. */
  rateWindows: Readonly<Record<string, RateWindow>>;
  /** How many resources a tag or resource-group filter of DescribeNetworkInterfaces covers. 0 means all. */
  tagFilterMaxResources: number;
  listLag: ListLag;
  /** The first match decides how an attachment ends. */
  attachFaults: readonly AttachFault[];
  /** Whether DescribeNetworkInterfaces with InstanceId returns ENIs of type Member. The behaviour of the real cloud is unknown. */
  instanceFilterReturnsMembers: boolean;
}

export interface RateWindow {
  limit: number;
  /** Windows are aligned to the clock: a new one begins with each full minute or second. */
  windowMs: 60_000 | 1000;
  code?: ThrottlingCode | undefined;
}

export type ThrottlingCode = 'Throttling' | 'Throttling.User' | 'Throttling.Api';

/** How long DescribeNetworkInterfaces does not show a change. Milliseconds. */
export interface ListLag {
  /** A new ENI is missing for so long. */
  createdMs: number;
  /** A deleted ENI is shown in its last state for so long. */
  deletedMs: number;
  /** Addresses that an ENI got after its creation are missing for so long. Default: 0. */
  assignedMs?: number | undefined;
}

export interface AttachFault {
  /** `fails`: falls back to Available when the attachment would have completed. `hangs`: stays Attaching. */
  outcome: 'fails' | 'hangs';
  /** Limits this to attachments to this instance, or of this ENI. */
  instanceId?: string | undefined;
  eniId?: string | undefined;
  /** Number of attachments that it affects. Default: all. */
  count?: number | undefined;
}

/** A change. Each given part replaces the previous one completely. */
export type BehaviourChanges = { [K in keyof Behaviour]?: Behaviour[K] | undefined };

export const QUIET: Behaviour = {
  rateWindows: {},
  tagFilterMaxResources: 0,
  listLag: { createdMs: 0, deletedMs: 0 },
  attachFaults: [],
  instanceFilterReturnsMembers: true,
};

export function withBehaviour(current: Behaviour, changes: BehaviourChanges): Behaviour {
  return {
    rateWindows: changes.rateWindows ?? current.rateWindows,
    tagFilterMaxResources: changes.tagFilterMaxResources ?? current.tagFilterMaxResources,
    listLag: changes.listLag ?? current.listLag,
    attachFaults: changes.attachFaults ?? current.attachFaults,
    instanceFilterReturnsMembers: changes.instanceFilterReturnsMembers ?? current.instanceFilterReturnsMembers,
  };
}

const MESSAGES: Readonly<Record<ThrottlingCode, string>> = {
  Throttling: 'Request was denied due to request throttling.',
  'Throttling.User': 'Request was denied due to user flow control.',
  'Throttling.Api': 'Request was denied due to api flow control.',
};

/** Counts calls in windows of the clock. A throttled call does not count [assumed]. */
export class CallMeter {
  readonly #counts = new Map<string, { window: number; used: number }>();

  /** Throws the throttling error when the API's window is full. */
  take(api: string, windows: Behaviour['rateWindows'], nowMs: number): void {
    const rule = windows[api] ?? windows['default'];
    if (rule === undefined) return;
    const window = Math.floor(nowMs / rule.windowMs);
    const before = this.#counts.get(api);
    const used = before?.window === window ? before.used : 0;
    if (used >= rule.limit) {
      const code = rule.code ?? 'Throttling.User';
      throw new ApiError(code, 400, MESSAGES[code]);
    }
    this.#counts.set(api, { window, used: used + 1 });
  }

  /** All windows start from zero again. */
  reset(): void {
    this.#counts.clear();
  }
}

/** Decides how each attachment ends, and counts the affected ones. */
export class AttachFaults {
  #left: { fault: AttachFault; count: number }[] = [];

  set(faults: readonly AttachFault[]): void {
    this.#left = faults.map((fault) => ({ fault, count: fault.count ?? Number.POSITIVE_INFINITY }));
  }

  /** How an attachment that begins now will end. */
  next(eniId: string, instanceId: string): 'succeeds' | AttachFault['outcome'] {
    const hit = this.#left.find(
      ({ fault, count }) =>
        count > 0 && (fault.instanceId ?? instanceId) === instanceId && (fault.eniId ?? eniId) === eniId,
    );
    if (hit === undefined) return 'succeeds';
    hit.count -= 1;
    return hit.fault.outcome;
  }
}

/** Deleted ENIs that lists still show. */
export class Ghosts {
  readonly #gone = new Map<string, { eni: Eni; goneMs: number }>();

  /** @param eni its last state, kept for as long as lists lag */
  add(eni: Eni, lag: ListLag, nowMs: number): void {
    this.#prune(lag, nowMs);
    if (lag.deletedMs > 0) this.#gone.set(eni.id, { eni: { ...eni, tags: new Map(eni.tags) }, goneMs: nowMs });
  }

  visible(lag: ListLag, nowMs: number): Eni[] {
    this.#prune(lag, nowMs);
    return [...this.#gone.values()].map(({ eni }) => eni);
  }

  #prune(lag: ListLag, nowMs: number): void {
    // Ordered by the time of deletion.
    for (const [id, { goneMs }] of this.#gone) {
      if (goneMs + lag.deletedMs > nowMs) return;
      this.#gone.delete(id);
    }
  }
}
