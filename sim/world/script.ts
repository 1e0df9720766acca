import type { ApiCall, FaultPlan, RequestFault } from '../kube/faults.ts';
import type { CloudCall, CloudFault } from './cloud-link.ts';

/** A test's list of faults: each line applies to the next matching calls, a given number of times. */
export class FaultScript {
  readonly #kube: { fits: (call: ApiCall) => boolean; fault: RequestFault; left: number }[] = [];
  readonly #cloud: { fits: (call: CloudCall) => boolean; fault: CloudFault; left: number }[] = [];

  /** For the options of a world. */
  readonly kubeFaults: FaultPlan = { onRequest: (call) => strike(this.#kube, call) };
  readonly onCloudCall = (call: CloudCall) => strike(this.#cloud, call);

  kube(fits: (call: ApiCall) => boolean, fault: RequestFault, times = 1): void {
    this.#kube.push({ fits, fault, left: times });
  }

  cloud(action: string, fault: CloudFault, times = 1, fits: (call: CloudCall) => boolean = () => true): void {
    this.#cloud.push({ fits: (call) => call.action === action && fits(call), fault, left: times });
  }
}

function strike<C, F>(lines: { fits: (call: C) => boolean; fault: F; left: number }[], call: C): F | undefined {
  const line = lines.find((candidate) => candidate.left > 0 && candidate.fits(call));
  if (line === undefined) return undefined;
  line.left -= 1;
  return line.fault;
}
