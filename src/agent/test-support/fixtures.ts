import { ANNOTATION_POD_UID, LABEL_NODE } from '../../crds/names.ts';
import { nodeSchema, type TerwayNode } from '../../crds/node.ts';
import { type PodEni, podEniSchema } from '../../crds/pod-eni.ts';
import type { AttachmentRequest } from '../cni/request.ts';
import type { Pod } from '../resources.ts';

/** A pod, its PodENI and its node as they are once the control plane is done; tests change what they are about. */

export const NODE_NAME = 'node-1';
export const TRUNK = 'eni-trunk';

export function aPod(name = 'web-0', uid = `uid-${name}`, annotations: Record<string, string> = {}): Pod {
  return {
    metadata: { namespace: 'shop', name, uid, annotations },
    spec: { nodeName: NODE_NAME },
    status: { phase: 'Pending' },
  };
}

let versions = 0;

/** Newer than every one before. */
const addresses = new Map([['web-0', '10.10.0.7']]);

/** No two pods have one address. */
function addressFor(name: string): string {
  const address = addresses.get(name) ?? `10.10.${16 + (addresses.size >> 8)}.${addresses.size & 255}`;
  addresses.set(name, address);
  return address;
}

export function aPodEni(name = 'web-0', vid = 101, address = addressFor(name)): PodEni {
  versions += 1;
  return podEniSchema.parse({
    metadata: {
      namespace: 'shop',
      name,
      resourceVersion: String(versions),
      annotations: { [ANNOTATION_POD_UID]: `uid-${name}` },
      labels: { [LABEL_NODE]: NODE_NAME },
    },
    spec: {
      allocations: [
        {
          eni: { id: `eni-${name}`, mac: '00:16:3e:00:00:07' },
          ipv4: address,
          ipv4CIDR: '10.10.0.0/16',
          interface: 'eth0',
        },
      ],
    },
    status: {
      phase: 'Bind',
      instanceID: 'i-1',
      trunkENIID: TRUNK,
      eniInfos: { [`eni-${name}`]: { id: `eni-${name}`, type: 'Member', vid, status: 'Bind' } },
    },
  });
}

export function aNode(): TerwayNode {
  return nodeSchema.parse({
    metadata: { name: NODE_NAME },
    spec: { nodeMetadata: { regionID: 'cn-hangzhou', instanceType: 'ecs.g7.4xlarge', instanceID: 'i-1', zoneID: 'h' } },
    status: {
      networkInterfaces: {
        [TRUNK]: {
          id: TRUNK,
          status: 'InUse',
          macAddress: '00:16:3e:00:00:01',
          ipv4CIDR: '10.0.0.0/20',
          networkInterfaceType: 'Trunk',
        },
      },
    },
  });
}

export function aRequest(name = 'web-0', containerId = `sandbox-${name}`): AttachmentRequest {
  return {
    containerId,
    netnsPath: `/run/netns/${containerId}`,
    ifName: 'eth0',
    pod: { namespace: 'shop', name, uid: `uid-${name}` },
    config: { cniVersion: '1.1.0', name: 'terway' },
  };
}
