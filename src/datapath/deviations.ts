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
    // A link that is created again has nothing on it, in the pod either.
    const isLeft = difference.mending === 'none' && !standsOn(object, anew);
    return { object, deviation: deviation(object, difference.text, pod, isLeft) };
  });
}

/** An object that is not as it should be. */
export interface ObjectDeviation {
  object: KernelObject;
  deviation: Deviation;
}

/** The name of the pod's link, if the object is one. */
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

/** Whether an object in a pod's namespace goes away and comes back with one of these links. Rules and sysctls do with any. */
function standsOn(object: KernelObject, links: ReadonlySet<string>): boolean {
  return 'link' in object ? links.has(object.link) : links.size > 0;
}

function deviation(object: KernelObject, difference: string, pod: string | undefined, inPod: boolean): Deviation {
  const message = `${describe(object)} ${difference}`;
  return { object: reportKind(object), message, ...(pod !== undefined && { pod }), ...(inPod && { inPod }) };
}

/** Repairs each difference by itself: one that fails does not stop the others. */
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
