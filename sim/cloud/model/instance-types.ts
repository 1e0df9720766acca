/**
 * The instance types of the simulator. The control plane has no such table: it asks DescribeInstanceTypes. Figures without a public
 * source are derived from similar types of the family and marked `assumed`. A configuration file can override every one.
 */

export interface InstanceType {
  instanceTypeId: string;
  cpuCoreCount: number;
  memorySizeGiB: number;
  /** Adapters: primary, secondary and trunk ENIs together. */
  eniQuantity: number;
  /** Adapters and members together. */
  eniTotalQuantity: number;
  eniTrunkSupported: boolean;
  /** Per ENI, including the primary address. */
  eniPrivateIpAddressQuantity: number;
  eniIpv6AddressQuantity: number;
  eriQuantity: number;
  instanceBandwidthKbps: number;
  instancePps: number;
  queuesPerEni: number;
  /** Source of the figures. */
  source: string;
  /** True when at least one figure is derived and has no source. */
  assumed?: boolean;
}

type Row = readonly [
  id: string,
  cpu: number,
  memory: number,
  eni: number,
  total: number,
  trunk: boolean,
  ipv4: number,
  ipv6: number,
  source: string,
  assumed: boolean,
  eri?: number,
];

const ROWS: readonly Row[] = [
  ['ecs.g7.large', 2, 8, 3, 6, true, 6, 6, 'field report (2 ENIs x 6 addresses); total assumed', true],
  ['ecs.g7.xlarge', 4, 16, 4, 20, true, 15, 15, 'recorded API answer', false],
  ['ecs.g7.2xlarge', 8, 32, 4, 10, true, 15, 15, 'upstream Terway test data', false],
  ['ecs.g7.4xlarge', 16, 64, 8, 60, true, 30, 30, 'field report (8 ENIs x 30 addresses); total like g6.16xlarge', true],
  ['ecs.g7.8xlarge', 32, 128, 8, 60, true, 30, 30, 'like g7.4xlarge', true],
  ['ecs.g7.16xlarge', 64, 256, 8, 120, true, 30, 30, '112 member slots for load tests', true],
  ['ecs.c7.2xlarge', 8, 16, 4, 10, true, 15, 15, 'field report (3 ENIs x 15 addresses); total like g7.2xlarge', true],
  ['ecs.g8a.xlarge', 4, 16, 4, 5, true, 15, 15, 'recorded API answer', false, 1],
  ['ecs.g6.large', 2, 8, 2, 2, false, 6, 1, 'example of the API documentation', false],
  ['ecs.g6.8xlarge', 32, 128, 8, 8, false, 20, 1, 'example of the API documentation', false],
  ['ecs.g6.16xlarge', 64, 256, 8, 60, true, 20, 1, 'example of the API documentation', false],
  ['ecs.r6.2xlarge', 8, 64, 4, 20, true, 10, 1, 'field report (30 addresses); total like g7.xlarge', true],
  ['ecs.r6.8xlarge', 32, 256, 8, 40, true, 20, 1, 'recorded API answer', false],
  ['ecs.u1-c1m4.xlarge', 4, 16, 3, 6, true, 10, 1, 'recorded API answer', false],
];

/** The built-in table. Bandwidth, packet rate and queues are those of ecs.g7.xlarge scaled by vCPU, and therefore assumed. */
function builtInInstanceTypes(): InstanceType[] {
  return ROWS.map(([id, cpu, memory, eni, total, trunk, ipv4, ipv6, source, assumed, eri = 0]) => ({
    instanceTypeId: id,
    cpuCoreCount: cpu,
    memorySizeGiB: memory,
    eniQuantity: eni,
    eniTotalQuantity: total,
    eniTrunkSupported: trunk,
    eniPrivateIpAddressQuantity: ipv4,
    eniIpv6AddressQuantity: ipv6,
    eriQuantity: eri,
    instanceBandwidthKbps: (3_072_000 * cpu) / 4,
    instancePps: (1_100_000 * cpu) / 4,
    queuesPerEni: Math.min(cpu, 32),
    source,
    ...(assumed ? { assumed } : {}),
  }));
}

/** `ecs.g7.xlarge` → `ecs.g7`. */
export function instanceTypeFamily(instanceTypeId: string): string {
  return instanceTypeId.slice(0, instanceTypeId.lastIndexOf('.'));
}

/** Member slots of an instance: EniTotalQuantity - EniQuantity, or 0 without trunk support. */
export function memberLimit(type: InstanceType): number {
  return type.eniTrunkSupported ? Math.max(0, type.eniTotalQuantity - type.eniQuantity) : 0;
}

/** Changes to a type of the table, or a new type. Absent figures stay; those of a new type are taken from `NEW_TYPE`. */
export type InstanceTypeOverride = { instanceTypeId: string } & {
  [K in keyof Omit<InstanceType, 'instanceTypeId'>]?: InstanceType[K] | undefined;
};

const NEW_TYPE: Omit<InstanceType, 'instanceTypeId'> = {
  cpuCoreCount: 4,
  memorySizeGiB: 16,
  eniQuantity: 4,
  eniTotalQuantity: 4,
  eniTrunkSupported: false,
  eniPrivateIpAddressQuantity: 10,
  eniIpv6AddressQuantity: 1,
  eriQuantity: 0,
  instanceBandwidthKbps: 3_072_000,
  instancePps: 1_100_000,
  queuesPerEni: 4,
  source: 'configuration',
};

/** The built-in table with the overrides applied. */
export function instanceTypeTable(overrides: readonly InstanceTypeOverride[]): InstanceType[] {
  const table = new Map(builtInInstanceTypes().map((type) => [type.instanceTypeId, type]));
  for (const override of overrides) {
    const { instanceTypeId } = override;
    const base = table.get(instanceTypeId) ?? { instanceTypeId, ...NEW_TYPE };
    table.set(instanceTypeId, {
      instanceTypeId,
      cpuCoreCount: override.cpuCoreCount ?? base.cpuCoreCount,
      memorySizeGiB: override.memorySizeGiB ?? base.memorySizeGiB,
      eniQuantity: override.eniQuantity ?? base.eniQuantity,
      eniTotalQuantity: override.eniTotalQuantity ?? base.eniTotalQuantity,
      eniTrunkSupported: override.eniTrunkSupported ?? base.eniTrunkSupported,
      eniPrivateIpAddressQuantity: override.eniPrivateIpAddressQuantity ?? base.eniPrivateIpAddressQuantity,
      eniIpv6AddressQuantity: override.eniIpv6AddressQuantity ?? base.eniIpv6AddressQuantity,
      eriQuantity: override.eriQuantity ?? base.eriQuantity,
      instanceBandwidthKbps: override.instanceBandwidthKbps ?? base.instanceBandwidthKbps,
      instancePps: override.instancePps ?? base.instancePps,
      queuesPerEni: override.queuesPerEni ?? base.queuesPerEni,
      source: override.source ?? 'configuration',
    });
  }
  return [...table.values()];
}
