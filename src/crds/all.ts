import { networkInterfaceCrd } from './network-interface.ts';
import { nodeCrd } from './node.ts';
import { nodeRuntimeCrd } from './node-runtime.ts';
import { podEniCrd } from './pod-eni.ts';
import { podNetworkingCrd } from './pod-networking.ts';

/** The five kinds, in the order in which their manifests are applied. */
export const allCrds = [podNetworkingCrd, podEniCrd, networkInterfaceCrd, nodeCrd, nodeRuntimeCrd] as const;
