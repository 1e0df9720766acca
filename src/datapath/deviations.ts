import { errorMessage } from '../util/errors.ts';
import { Applier } from './apply.ts';
import { describe, type KernelObject, reportKind } from './objects.ts';
import type { Session } from './session.ts';
import type { Difference, Snapshot } from './snapshot.ts';
import type { Deviation } from './types.ts';

/** What differs of `objects`, in words. */
export async function deviationsOf(
  snapshot: Snapshot,
  objects: readonly KernelObject[],
  pod?: string,
): Promise<ObjectDeviation[]> {
  const found: { object: KernelObject; difference: Difference }[] = [];
  for (const object of objects) {
    const difference = await snapshot.difference(object);
    if (difference !== undefined) found.push({ object, difference });
  }
  const anew = new Set(
    found.flatMap(({ object, difference }) => (difference.mending === 'link' ? (linkMadeBy(object) ?? []) : [])),
  );
  return found.map(({ object, difference }) => {
    // A link that is made anew has nothing on it, also in the pod.
    const isLeft = difference.mending === 'none' && !standsOn(object, anew);
    return { object, deviation: deviation(object, difference.text, pod, isLeft) };
  });
}

/** An object that is not as it should be. */
export interface ObjectDeviation {
  object: KernelObject;
  deviation: Deviation;
}

/** The link of a pod that the object is. */
function linkMadeBy(object: KernelObject): string | undefined {
  switch (object.kind) {
    case 'veth':
      return object.peer.name;
    case 'vlanLink':
    case 'movedLink':
      return object.name;
    default:
      return undefined;
  }
}

/** Whether an object of a pod's namespace goes and comes with one of these links. Rules and sysctls come with any. */
function standsOn(object: KernelObject, links: ReadonlySet<string>): boolean {
  return 'link' in object ? links.has(object.link) : links.size > 0;
}

function deviation(object: KernelObject, difference: string, pod: string | undefined, inPod: boolean): Deviation {
  const message = `${describe(object)} ${difference}`;
  return { object: reportKind(object), message, ...(pod !== undefined && { pod }), ...(inPod && { inPod }) };
}

/** Makes what differs, each by itself. */
export async function repair(
  session: Session,
  deviations: readonly ObjectDeviation[],
  report: { repaired: Deviation[]; failed: Deviation[] },
): Promise<void> {
  const applier = new Applier(session.kernel, session.programs);
  for (const { object, deviation: found } of deviations) {
    try {
      await applier.ensure(object);
      report.repaired.push(found);
    } catch (error) {
      report.failed.push({ ...found, message: `${found.message}; ${errorMessage(error)}` });
    }
  }
}
