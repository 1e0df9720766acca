import type { PodEni } from '../../crds/pod-eni.ts';
import { formatDuration } from '../../util/terminal/text.ts';
import type { Event } from '../resources.ts';
import type { ExplainView } from './view.ts';

/** Something that happened to a pod or its interface. */
export interface TimelineEntry {
  /** RFC 3339. */
  time: string;
  /** Where it is recorded. */
  source: 'Pod' | 'PodENI' | 'Cloud' | 'Event' | 'Node' | 'Agent';
  what: string;
  /** Whether something went wrong. */
  bad: boolean;
}

/**
 * What is known to have happened, oldest first; entries with the same second are in causal order. Events with the same
 * reason and note are one entry, at the time of the first with the time of the last. Pure.
 */
export function timelineOf(view: ExplainView): TimelineEntry[] {
  const entries = [...podEntries(view), ...nodeEntries(view)];
  if (view.podEni !== undefined) entries.push(...podEniEntries(view.podEni));
  entries.push(...eventEntries(view.events), ...agentEntries(view));
  return entries
    .map((entry, place) => ({ entry, place, atMs: Date.parse(entry.time) }))
    .filter(({ atMs }) => !Number.isNaN(atMs))
    .sort((a, b) => a.atMs - b.atMs || a.place - b.place)
    .map(({ entry }) => entry);
}

function podEntries({ pod }: ExplainView): TimelineEntry[] {
  if (pod === undefined) return [];
  const { metadata, spec, status } = pod;
  const entries: TimelineEntry[] = [
    { time: metadata.creationTimestamp ?? '', source: 'Pod', what: 'created', bad: false },
  ];
  const order = ['PodScheduled', 'PodReadyToStartContainers', 'Initialized', 'ContainersReady', 'Ready'];
  const conditions = [...status.conditions].sort((a, b) => order.indexOf(a.type) - order.indexOf(b.type));
  for (const { type, status: is, reason, message, lastTransitionTime } of conditions) {
    const because = [reason, message].filter((text) => (text ?? '') !== '').join(': ');
    const what =
      type === 'PodScheduled' && is === 'True'
        ? `scheduled to node ${spec.nodeName}`
        : `${type}=${is}${because === '' ? '' : ` ${because}`}`;
    entries.push({
      time: lastTransitionTime ?? '',
      source: 'Pod',
      what,
      bad: is === 'False' && reason !== 'PodCompleted',
    });
  }
  for (const { name, state, restartCount } of status.containerStatuses) {
    const again = restartCount === 0 ? '' : `, ${restartCount} restarts`;
    const { running, terminated } = state;
    if (running !== undefined) {
      entries.push({
        time: running.startedAt ?? '',
        source: 'Pod',
        what: `container ${name} started${again}`,
        bad: false,
      });
    }
    if (terminated !== undefined) {
      const { exitCode, reason = 'ended', finishedAt } = terminated;
      const what = `container ${name} ended: ${reason}, exit code ${exitCode}${again}`;
      entries.push({ time: finishedAt ?? '', source: 'Pod', what, bad: exitCode !== 0 });
    }
  }
  if (metadata.deletionTimestamp !== undefined) {
    entries.push({
      time: metadata.deletionTimestamp,
      source: 'Pod',
      what: 'deletion deadline (end of the grace period)',
      bad: false,
    });
  }
  return entries;
}

function podEniEntries({ metadata, spec, status }: PodEni): TimelineEntry[] {
  const entries: TimelineEntry[] = [
    { time: metadata.creationTimestamp ?? '', source: 'PodENI', what: 'record written', bad: false },
  ];
  for (const { intent, interface: name = 'eth0', eni } of spec.allocations ?? []) {
    if (intent === undefined) continue;
    const from = intent.networking === undefined ? '' : ` of PodNetworking ${intent.networking}`;
    const again = intent.attempt > 1 ? `, attempt ${intent.attempt}` : '';
    const what = `${name} planned in ${eni.vSwitchID ?? 'a vSwitch'}${from}${again}`;
    entries.push({ time: intent.createdAt, source: 'PodENI', what, bad: false });
  }
  for (const { time, action, eniID, requestID, durationMs, code } of status?.operations ?? []) {
    const took = durationMs === undefined ? '' : ` in ${formatDuration(durationMs)}`;
    const outcome = code === undefined ? '' : `: ${code}`;
    const request = requestID === undefined ? '' : ` (request ${requestID})`;
    const what = `${action}${eniID === undefined ? '' : ` ${eniID}`}${took}${outcome}${request}`;
    entries.push({ time, source: 'Cloud', what, bad: code !== undefined });
  }
  for (const { type, status: is, reason, message, lastTransitionTime } of status?.conditions ?? []) {
    const what = `${type}=${is} ${reason}${message === '' ? '' : `: ${message}`}`;
    entries.push({ time: lastTransitionTime, source: 'PodENI', what, bad: is === 'False' });
  }
  if (status?.podLastSeen !== undefined) {
    entries.push({ time: status.podLastSeen, source: 'PodENI', what: 'its pod was last seen', bad: false });
  }
  if (metadata.deletionTimestamp !== undefined) {
    entries.push({ time: metadata.deletionTimestamp, source: 'PodENI', what: 'release began', bad: false });
  }
  return entries;
}

function nodeEntries({ node, pod, podEni }: ExplainView): TimelineEntry[] {
  const condition = node?.status?.conditions?.find(({ type }) => type === 'TrunkReady');
  if (node === undefined || condition === undefined) return [];
  const { status, reason, message, lastTransitionTime } = condition;
  const sinceMs = Date.parse(pod?.metadata.creationTimestamp ?? podEni?.metadata.creationTimestamp ?? '');
  // A trunk that existed long before the pod is not part of its story.
  if (status === 'True' && !(Date.parse(lastTransitionTime) >= sinceMs)) return [];
  const what = `${node.metadata.name}: TrunkReady=${status} ${reason}${message === '' ? '' : `: ${message}`}`;
  return [{ time: lastTransitionTime, source: 'Node', what, bad: status === 'False' && reason !== 'ExclusiveMode' }];
}

function agentEntries({ runtime }: ExplainView): TimelineEntry[] {
  const words: Record<string, string> = { initial: 'sandbox has its network', deleted: 'sandbox is gone' };
  return Object.entries(runtime?.status ?? {}).map(([state, { lastUpdateTime = '' }]) => ({
    time: lastUpdateTime,
    source: 'Agent' as const,
    what: words[state] ?? state,
    bad: false,
  }));
}

/** First and last time of an event, and how often it happened. */
export function timesOf(event: Event): { first: string; last: string; count: number } {
  const first = event.eventTime ?? event.deprecatedFirstTimestamp ?? event.metadata.creationTimestamp ?? '';
  const last = event.series?.lastObservedTime ?? event.deprecatedLastTimestamp ?? first;
  return { first, last, count: event.series?.count ?? event.deprecatedCount ?? 1 };
}

function eventEntries(events: readonly Event[]): TimelineEntry[] {
  const groups = new Map<string, { first: string; last: string; count: number; event: Event }>();
  for (const event of events) {
    const { first, last, count } = timesOf(event);
    const key = JSON.stringify([event.regarding.kind, event.reason, withoutPlace(event.note)]);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { first, last, count, event });
    else {
      known.count += count;
      if (Date.parse(first) < Date.parse(known.first)) known.first = first;
      if (Date.parse(last) >= Date.parse(known.last)) Object.assign(known, { last, event });
    }
  }
  return [...groups.values()].map(({ first, last, count, event }) => {
    const often = count === 1 ? '' : ` (${count} times, last ${clockTime(last)})`;
    return {
      time: first,
      source: 'Event',
      what: `${event.reason}${often}: ${event.note}`,
      bad: event.type === 'Warning',
    };
  });
}

/** The place in line changes even when nothing happened to this pod. */
function withoutPlace(note: string): string {
  return note.replace(/; place \d+ of \d+ in line$/, '');
}

/** Such as `15:04:05`, UTC. */
export function clockTime(time: string): string {
  const ms = Date.parse(time);
  return Number.isNaN(ms) ? '-' : new Date(ms).toISOString().slice(11, 19);
}
