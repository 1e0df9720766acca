import { REASONS } from '../src/crds/reasons/catalogue.ts';
import type { ReasonEntry, ReasonPlace } from '../src/crds/reasons/entry.ts';
import { markdownTable } from '../tools/docs/markdown-table.ts';

const INTRODUCTION = `<!-- Generated from src/crds/reasons by \`make generate\`; do not edit. -->
# Reasons

What stands in the reason of a condition or an event, by the object on which it is read. [What it says, and what to do](../troubleshooting.md)
tells where to look first.
`;

/** The sections of the page, most useful first. */
const SECTIONS: readonly { title: string; has: (place: ReasonPlace) => boolean }[] = [
  { title: 'Pod: events', has: (place) => place.kind === 'Pod' },
  { title: 'PodENI: condition `Ready`', has: (place) => place.kind === 'PodENI' },
  { title: 'NetworkInterface: condition `Ready`', has: (place) => place.kind === 'NetworkInterface' },
  ...[
    ...['Ready', 'VSwitchesReady', 'SecurityGroupsReady'],
    ...['CapacityAvailable', 'AllocationHealthy', 'RolloutComplete', 'ConfigurationValid'],
  ].map((type) => ({
    title: `PodNetworking: condition \`${type}\``,
    has: (place: ReasonPlace) => place.kind === 'PodNetworking' && 'condition' in place && place.condition === type,
  })),
  { title: 'PodNetworking: events', has: (place) => place.kind === 'PodNetworking' && 'event' in place },
  {
    title: 'Node CR: conditions `TrunkReady` and `Ready`',
    has: (place) => place.kind === 'Node CR' && 'condition' in place && !place.condition.startsWith('Pool'),
  },
  ...['PoolReady', 'PoolAsConfigured'].map((type) => ({
    title: `Node CR: condition \`${type}\``,
    has: (place: ReasonPlace) => place.kind === 'Node CR' && 'condition' in place && place.condition === type,
  })),
  { title: 'Node CR: events', has: (place) => place.kind === 'Node CR' && 'event' in place },
  { title: 'Node: condition `SufficientIP`', has: (place) => place.kind === 'Node' && 'condition' in place },
  { title: 'Node: events', has: (place) => place.kind === 'Node' && 'event' in place },
];

/** The reference page of every reason, as Markdown. */
export function reasonsPage(): string {
  const sections = SECTIONS.map(({ title, has }) => {
    const entries = Object.entries<ReasonEntry>(REASONS).filter(([, { on }]) => on.some(has));
    const rows = entries.map(([name, { on, cause, remedy = '–' }]) => [
      `\`${name}\`${typeOf(on.filter(has))}`,
      cause,
      remedy,
    ]);
    return `\n## ${title}\n\n${markdownTable([['reason', 'it means', 'what to do'], ...rows])}`;
  });
  return `${INTRODUCTION}${sections.join('')}`;
}

/** Marks Normal events; all others are Warnings. */
function typeOf(places: readonly ReasonPlace[]): string {
  return places.some((place) => 'event' in place && place.event === 'Normal') ? ' (Normal)' : '';
}
