import type { ApiCall, FaultPlan, RequestFault } from '../kube/faults.ts';
import type { CloudCall, CloudFault } from './cloud-link.ts';

/** A test's list of faults: each line applies to the next matching calls, a given number of times. */
export class FaultScript {
  readonly #kube: { fits: (call: ApiCall) => boolean; fault: RequestFault; left: number }[] = [];
  readonly #cloud: { fits: (call: CloudCall) => boolean; fault: CloudFault; left: number }[] = [];
  readonly #kubeSeen: ((call: ApiCall) => void)[] = [];
  readonly #cloudSeen: ((call: CloudCall) => void)[] = [];

  /** For the options of a world. */
  readonly kubeFaults: FaultPlan = {
    onRequest: (call) => {
      for (const see of this.#kubeSeen) see(call);
      return strike(this.#kube, call);
    },
  };
  readonly onCloudCall = (call: CloudCall) => {
    for (const see of this.#cloudSeen) see(call);
    return strike(this.#cloud, call);
  };

  kube(fits: (call: ApiCall) => boolean, fault: RequestFault, times = 1): void {
    this.#kube.push({ fits, fault, left: atLeastOnce(times) });
  }

  cloud(action: string, fault: CloudFault, times = 1, fits: (call: CloudCall) => boolean = () => true): void {
    this.#cloud.push({ fits: (call) => call.action === action && fits(call), fault, left: atLeastOnce(times) });
  }

  /** @returns the matching requests to the API server from now on, whatever happens to them */
  kubeCalls(fits: (call: ApiCall) => boolean): readonly ApiCall[] {
    return recorded(this.#kubeSeen, fits);
  }

  /** @returns the calls of an API of the cloud from now on, whatever happens to them */
  cloudCalls(action: string): readonly CloudCall[] {
    return recorded(this.#cloudSeen, (call) => call.action === action);
  }
}

/** A line that applies to no call is never asked whether it fits one, so a test that counts there counts nothing. */
function atLeastOnce(times: number): number {
  if (times < 1) throw new RangeError(`a fault that happens ${times} times`);
  return times;
}

function recorded<C>(seen: ((call: C) => void)[], fits: (call: C) => boolean): readonly C[] {
  const calls: C[] = [];
  seen.push((call) => {
    if (fits(call)) calls.push(call);
  });
  return calls;
}

function strike<C, F>(lines: { fits: (call: C) => boolean; fault: F; left: number }[], call: C): F | undefined {
  const line = lines.find((candidate) => candidate.left > 0 && candidate.fits(call));
  if (line === undefined) return undefined;
  line.left -= 1;
  return line.fault;
}
