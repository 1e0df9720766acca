import { DatapathError } from './errors.ts';
import { podKey } from './names.ts';
import type { PodAttachment, PodInterface, TagProgram } from './types.ts';

/** A pod cannot get its network because of another pod on the node. */
export class CoexistenceError extends DatapathError {
  constructor(step: string, message: string) {
    super(step, message);
    this.name = 'CoexistenceError';
  }
}

/**
 * With the classic filters, members and VLAN devices of one trunk exclude each other: the filter that removes the tags of
 * members also removes those of VLAN devices, so their packets would be lost silently.
 *
 * @param others pods that have, or are being given, their network on this node
 * @throws CoexistenceError
 */
export function assertCoexistence(pod: PodAttachment, others: readonly PodAttachment[], tagProgram: TagProgram): void {
  if (tagProgram !== 'tc') return;
  for (const network of pod.interfaces) {
    const trunk = trunkOf(network);
    if (trunk === undefined) continue;
    for (const other of [...others, pod]) {
      const opponent = other.interfaces.find(
        (theirs) => trunkOf(theirs) === trunk && theirs.attachment.kind !== network.attachment.kind,
      );
      if (opponent === undefined) continue;
      throw new CoexistenceError(
        `add ${podKey(pod)}`,
        `interface ${network.name} of pod ${podKey(pod)} is ${wordsOf(network)} of trunk ${trunk}, interface ${opponent.name} of pod ${podKey(other)} is ${wordsOf(opponent)} of it: the classic tag filters (tag program tc) cannot serve both kinds on one trunk; remove the pods of the other kind from this node, let all network configurations of the node agree on vlan_strip_type, or use a kernel that can run the tag program ebpf`,
      );
    }
  }
}

/** MAC address of the trunk that carries an interface's tags. */
function trunkOf({ attachment }: PodInterface): string | undefined {
  const isTagged = attachment.kind === 'member' || attachment.kind === 'vlanDevice';
  return isTagged ? attachment.trunk.mac.toLowerCase() : undefined;
}

function wordsOf({ attachment }: PodInterface): string {
  return attachment.kind === 'vlanDevice' ? 'a VLAN device' : 'a member';
}
