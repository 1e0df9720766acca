import { DatapathError } from './errors.ts';
import type { Kernel, TcxProgram } from './kernel/kernel.ts';
import type { Filter } from './netlink/traffic.ts';
import { describe, type KernelObject } from './objects.ts';
import { listFilters } from './vlan-filters.ts';

/** The place of one of our programs. */
type Place = Extract<KernelObject, { kind: 'program' }>;

/** Names of the programs that Terway's Cilium has at 25000; they let the next filter see the packet. */
const CILIUM = /^cil_/;

/**
 * Describes programs of others that see a packet before ours does. Their verdict may end filtering: the packet would then leave a
 * trunk without its tag, or a pod with a source that is not its own.
 *
 * @param filters of the same hook
 */
export async function programsBefore(
  kernel: Kernel,
  place: Place,
  linkIndex: number,
  filters: readonly Filter[],
): Promise<string[]> {
  const tcx = await kernel.tcxPrograms(linkIndex, place.direction);
  const own = tcx?.find(({ name }) => name === place.program);
  if (tcx !== undefined && isTcx(place, own)) {
    return tcx.slice(0, own === undefined ? undefined : tcx.indexOf(own)).map(wordsOfTcx);
  }
  const before = filters.filter((filter) => filter.preference <= place.preference && !isOurs(filter, place));
  const accepted = before.filter(({ action }) => !(place.afterCilium === true && isCilium(action)));
  return [
    // TCX programs run before all filters, whatever their preference.
    ...(tcx ?? []).map(wordsOfTcx),
    ...accepted.map((filter) => `filter ${nameOf(filter)} at preference ${filter.preference}`),
  ];
}

/** Whether our program is, or should be, a TCX program on a kernel that supports them. */
export function isTcx({ beforeFilters }: Place, own: TcxProgram | undefined): boolean {
  return beforeFilters === 'make' || (beforeFilters === 'keep' && own !== undefined);
}

/** @throws DatapathError when programs of others see a packet before ours does */
export async function assertFirst(kernel: Kernel, place: Place, linkIndex: number): Promise<void> {
  const filters = await listFilters(kernel, linkIndex, place.direction);
  const before = await programsBefore(kernel, place, linkIndex, filters);
  if (before.length > 0) throw new DatapathError(describe(place), refusal(before));
}

const wordsOfTcx = ({ name }: TcxProgram) => `TCX program ${name === '' ? '?' : name}`;

function isOurs({ action }: Filter, { program }: Place): boolean {
  return action.kind === 'bpf' && action.name === program;
}

function isCilium(action: Filter['action']): boolean {
  return action.kind === 'bpf' && CILIUM.test(action.name);
}

function nameOf({ action }: Filter): string {
  switch (action.kind) {
    case 'bpf':
      return action.name;
    case 'other':
      return action.classifier;
    case 'push':
    case 'pop':
      return 'u32';
  }
}

/** For an operator: what is wrong and what to do. */
export function refusal(before: readonly string[]): string {
  return `comes after ${before.join(', ')}, which can end the way of a packet before it is checked and tagged: remove it, or move it behind (docs/node-agent.md, "Other programs")`;
}
