import { olderKernel } from './kernel.ts';
import { priorityClasses } from './priority.ts';
import type { ScenarioGroup } from './scenario.ts';
import { tagFilters } from './tag-filters.ts';
import { tcCommands } from './tc-commands.ts';
import { vlanDevices } from './vlan-device.ts';

/** All scenarios that run in the VM. */
export const GROUPS: readonly ScenarioGroup[] = [tcCommands, tagFilters, vlanDevices, olderKernel, priorityClasses];
