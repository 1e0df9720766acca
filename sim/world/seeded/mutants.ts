/** The product with one deliberate mistake. The text that is replaced occurs exactly once in its file. */
export interface Mutant {
  name: string;
  file: string;
  from: string;
  to: string;
}

/**
 * Mistakes that random histories must find. One that survives shows a hole in the workload or in what is checked; its invariant
 * is named by the run that kills it.
 */
export const MUTANTS: readonly Mutant[] = [
  {
    name: 'a pod of a replaced trunk stands behind pods that wait',
    file: 'src/controllers/pod-eni/admitter.ts',
    from: 'if (capacity.slots.used(node.instanceId) > limit - free) return false;',
    to: '',
  },
  {
    name: 'a new leader trusts its watch',
    file: 'src/controllers/replica.ts',
    from: 'await Promise.all([this.informers.podEnis.relist(term), this.informers.nodes.relist(term)]).catch(() => {});',
    to: '',
  },
  {
    name: 'a reservation is bound without reading the pod',
    file: 'src/controllers/pod-eni/controller.ts',
    from: "case 'startBinding':\n        // A store that is late may still show the pod whose end the record has seen.\n        if (!(await this.#ownerRuns(key, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };",
    to: "case 'startBinding':",
  },
  {
    name: 'a reservation without an ENI is kept',
    file: 'src/allocation/lifecycle.ts',
    from: "return hasEni(podEni) ? { do: 'startDetach' } : { do: 'deleteObject' };",
    to: "return { do: 'startDetach' };",
  },
  {
    name: 'the pod is not read before its interface is taken away',
    file: 'src/controllers/pod-eni/controller.ts',
    from: 'const pod = await this.#readPod(key, signal);\n    const isReserved',
    to: 'return true;\n    const pod = await this.#readPod(key, signal);\n    const isReserved',
  },
  {
    name: 'every creation has a new token',
    file: 'src/cloud/alibaba-cloud.ts',
    from: 'clientToken: request.clientToken,',
    to: 'clientToken: request.clientToken.slice(0, 50) + (globalThis.mutated = (globalThis.mutated ?? 0) + 1),',
  },
  {
    name: 'an ENI is detached while it is wanted',
    file: 'src/allocation/interface-step.ts',
    from: "if (goal === 'bind' && isAtTarget(view.target, eni)) return mismatchOf(view, eni, nowMs) ?? { do: 'done', eni };",
    to: "if (goal === 'bind' && isAtTarget(view.target, eni) && !view.fixed) return mismatchOf(view, eni, nowMs) ?? { do: 'done', eni };",
  },
  {
    name: 'an ENI that is attached counts as attached where it should be',
    file: 'src/allocation/interface-step.ts',
    from: 'return eni.trunkEniId === target.trunkENIID && (eni.vlanId ?? 0) > 0;',
    to: 'return (eni.vlanId ?? 0) > 0;',
  },
  {
    name: 'a search right after the creation proves that there is no ENI',
    file: 'src/allocation/interface-step.ts',
    from: 'const lostAtMs = Math.max(createdAtMs + LOST_CREATE_MS, goalSinceMs + LAG_MS);',
    to: 'const lostAtMs = 0;',
  },
  {
    name: 'a creation that failed is given up at once',
    file: 'src/allocation/interface-step.ts',
    from: "if (operation.failure.kind === 'token') return { do: 'find' };",
    to: "return { do: 'newAttempt', avoidVSwitch: false };",
  },
  {
    name: 'an ENI that a describe does not show yet is gone',
    file: 'src/allocation/interface-step.ts',
    from: "return isExpected ? { do: 'done' } : (mayPrecede(view, observation, nowMs) ?? { do: 'done' });",
    to: "return { do: 'done' };",
  },
  {
    name: 'the wish to release keeps an ENI that is still in use',
    file: 'src/allocation/lifecycle.ts',
    from: "if (goal === 'hold') return { do: 'unbind' };",
    to: "if (goal === 'hold') return { do: 'finish' };",
  },
  {
    name: 'a reservation is never released',
    file: 'src/allocation/lifecycle.ts',
    from: "return nowMs >= dueMs ? { do: 'deleteObject' } : { do: 'nothing', untilMs: dueMs };",
    to: "return { do: 'nothing', untilMs: dueMs };",
  },
  {
    name: 'a member is repaired to its old trunk',
    file: 'src/allocation/lifecycle.ts',
    from: "if (target === undefined || isTrunkReplaced(snapshot, target)) return { do: 'rebind' };",
    to: "if (target === undefined) return { do: 'rebind' };",
  },
  {
    name: 'a freed slot wakes nobody',
    file: 'src/allocation/slots.ts',
    from: 'this.#add(held.instanceId, -held.count);\n    this.#onFreed(held.instanceId);',
    to: 'this.#add(held.instanceId, -held.count);',
  },
  {
    name: 'a slot is free as soon as its pod is detached',
    file: 'src/controllers/pod-eni/controller.ts',
    from: 'await this.#writer.detaching(podEni, signal);',
    to: 'await this.#writer.detaching(podEni, signal);\n        this.#context.capacity.slots.release(key);',
  },
  {
    name: 'slots of records are not counted when a term starts',
    file: 'src/controllers/pod-eni/controller.ts',
    from: 'capacity.slots.reserve(key, target.instanceID, podEni.spec.allocations?.length ?? 1);',
    to: 'if (podEni.status?.phase === undefined) capacity.slots.reserve(key, target.instanceID, podEni.spec.allocations?.length ?? 1);',
  },
  {
    name: 'the quota is not charged',
    file: 'src/cloud/quota.ts',
    from: 'window.used += 1;',
    to: '',
  },
  {
    name: 'the collector takes young ENIs',
    file: 'src/allocation/orphans.ts',
    from: "if (nowMs - (eni.createdAtMs ?? Number.NEGATIVE_INFINITY) < minimumAgeMs) return 'tooYoung';\n  return orphansBefore.has(eni.id) ? undefined : 'seenOnce';",
    to: 'return undefined;',
  },
  {
    name: 'the collector takes what has an owner',
    file: 'src/controllers/collector/inventory.ts',
    from: "return this.#ids.get(id) ?? this.#tokens.get(tags[TAG_ATTEMPT] ?? '');",
    to: 'return this.#ids.get(id);',
  },
  {
    name: 'an object is let go while its ENI exists',
    file: 'src/allocation/lifecycle.ts',
    from: "if (open.length > 0) return { do: 'interfaces', goal, steps: open };",
    to: "if (open.length > 0 && !(goal === 'release' && steps.some(({ step }) => step.do === 'waitForCloud'))) return { do: 'interfaces', goal, steps: open };",
  },
  {
    name: 'a waiting pod is not woken by an older one that leaves',
    file: 'src/controllers/pending-pods.ts',
    from: 'if (next !== undefined) this.#wake(next);',
    to: '',
  },
  {
    name: 'a mirror whose record is gone takes the ENI although another record has it',
    file: 'src/controllers/network-interface/controller.ts',
    from: "if (mirror === undefined || informers.podEnis.store.byIndex('eni', eniId).length > 0) return undefined;",
    to: 'if (mirror === undefined) return undefined;',
  },
  {
    name: 'an edit of security groups does not reach the cloud',
    file: 'src/allocation/interface-step.ts',
    from: "return pausedAfterFailure(view.operation, 'modify', nowMs) ?? { do: 'modify', eni };",
    to: 'return undefined;',
  },
  {
    name: 'a lost answer of the cloud is never asked after',
    file: 'src/cloud/observer.ts',
    from: 'this.#watched.delete(entry.id);\n    this.#wake(entry.owner);',
    to: 'this.#watched.delete(entry.id);',
  },
];
