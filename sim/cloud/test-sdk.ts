import ecsPackage from '@alicloud/ecs20140526';
import { $OpenApiUtil } from '@alicloud/openapi-core';
import vpcPackage from '@alicloud/vpc20160428';
import type { CloudSimulator } from './server.ts';
import { REGION } from './test-network.ts';

const Ecs = classOf(ecsPackage);
const Vpc = classOf(vpcPackage);

/** The official SDK clients, pointed at the simulator; `key` overrides the credentials. */
export function sdkClients(
  simulator: Pick<CloudSimulator, 'endpoint' | 'accessKeys'>,
  key: { accessKeyId?: string; accessKeySecret?: string; securityToken?: string } = {},
) {
  const known = simulator.accessKeys[0];
  const config = new $OpenApiUtil.Config({
    accessKeyId: known?.accessKeyId,
    accessKeySecret: known?.accessKeySecret,
    regionId: REGION,
    endpoint: simulator.endpoint,
    protocol: 'HTTP',
    readTimeout: 10_000,
    connectTimeout: 10_000,
    ...key,
  });
  return { ecs: new Ecs(config), vpc: new Vpc(config) };
}

/** The SDKs are CommonJS. Node's import wraps the class in `default`; vitest's does that only without interopDefault. */
function classOf<T extends object>(imported: { default: T } | T): T {
  return isWrapped(imported) ? imported.default : imported;
}

function isWrapped<T extends object>(imported: { default: T } | T): imported is { default: T } {
  return 'default' in imported;
}
