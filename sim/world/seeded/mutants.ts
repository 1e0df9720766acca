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
    from: "case 'startBinding':\n        // A store that is late may still show the pod whose end the record has seen.\n        if (!(await ownerRuns(this.#context.client, podEni, signal))) return { requeueAfterMs: LAG_RECHECK_MS };",
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
    file: 'src/controllers/pod-eni/pod-read.ts',
    from: 'const pod = await readPod(client, podEni, signal);\n  const isReserved',
    to: 'return true;\n  const pod = await readPod(client, podEni, signal);\n  const isReserved',
  },
  {
    name: 'every creation has a new token',
    file: 'src/cloud/alibaba-cloud.ts',
    from: 'sourceDestCheck: false,\n      clientToken: request.clientToken,',
    to: 'sourceDestCheck: false,\n      clientToken: request.clientToken.slice(0, 50) + (globalThis.mutated = (globalThis.mutated ?? 0) + 1),',
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
    from: 'if (target === undefined || eni.instanceId !== target.instanceID) return false;\n  if (target.trunkENIID === undefined) return eni.trunkEniId === undefined;\n  return eni.trunkEniId === target.trunkENIID && (eni.vlanId ?? 0) > 0;',
    to: 'return target !== undefined && (eni.vlanId ?? 0) > 0;',
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
    from: "return olderThan(sinceMs + LAG_MS, observation, nowMs) ?? { do: 'done' };",
    to: "return { do: 'done' };",
  },
  {
    name: 'an observation of any age allows a detach',
    file: 'src/allocation/interface-step.ts',
    from: "if (nowMs - observation.atMs > FRESH_MS) return { do: 'observe' };",
    to: '',
  },
  {
    name: 'an ENI that a describe does not show yet is replaced',
    file: 'src/allocation/interface-step.ts',
    from: "return olderThan(operation.atMs + LAG_MS, observation, nowMs) ?? { do: 'newAttempt', avoidVSwitch: false };",
    to: "return { do: 'newAttempt', avoidVSwitch: false };",
  },
  {
    name: 'an ENI that is being attached when its pod goes counts as detached',
    file: 'src/allocation/interface-step.ts',
    from: "return mayPrecede(view, observation, nowMs) ?? { do: 'done', eni };",
    to: "return { do: 'done', eni };",
  },
  {
    name: 'a vSwitch without addresses is tried again',
    file: 'src/allocation/interface-step.ts',
    from: "return { do: 'newAttempt', avoidVSwitch: true, failure: operation.failure };",
    to: "return pausedAfterFailure(operation, 'create', nowMs) ?? { do: 'create' };",
  },
  {
    name: 'a fixed address that was lost is replaced by another',
    file: 'src/allocation/interface-step.ts',
    from: "if (step.do !== 'newAttempt' || !view.fixed) return step;",
    to: 'return step;',
  },
  {
    name: 'a pod that moves keeps its slot on the old instance',
    file: 'src/allocation/slots.ts',
    from: 'this.#add(before.instanceId, -before.count);',
    to: '',
  },
  {
    name: 'an interface is detached before its record says so',
    file: 'src/allocation/lifecycle.ts',
    from: "return hasEni(podEni) ? { do: 'startDetach' } : { do: 'deleteObject' };",
    to: "return hasEni(podEni) ? towards('hold', snapshot) : { do: 'deleteObject' };",
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
    file: 'src/controllers/pod-eni/slot-claims.ts',
    from: 'capacity.slots.reserve(key, next ?? target.instanceID, count);',
    to: 'if (podEni.status?.phase === undefined) capacity.slots.reserve(key, next ?? target.instanceID, count);',
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
    from: "if (nowMs - createdByMs < minimumAgeMs) return 'tooYoung';\n  return orphansBefore.has(eni.id) ? undefined : 'seenOnce';",
    to: 'return undefined;',
  },
  {
    name: 'an orphan is new to every round',
    file: 'src/controllers/collector/collector.ts',
    from: 'this.#orphansBefore = new Set(verdict.orphans);',
    to: '',
  },
  {
    name: 'a trunk that was taken away is not noticed',
    file: 'src/controllers/collector/collector.ts',
    from: "observer.expect(intent.eniID, 'read', nodeOwner(node.metadata.name), 'audit');",
    to: '',
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
  {
    name: 'an ENI that is attached elsewhere than its record says is not noticed',
    file: 'src/allocation/audit.ts',
    from: "if ((status.instanceID ?? '') !== '' && !isAttachedAsRecorded(podEni, shown)) return 'place';",
    to: '',
  },
  {
    name: 'a pod that went away while it waited is remembered',
    file: 'src/controllers/pod-eni/admitter.ts',
    from: 'this.#context.pendingPods.leave(key);\n    this.#context.starts.end(key);',
    to: 'this.#context.pendingPods.leave(key);',
  },
  {
    name: 'what was reported of a record is remembered when it is settled or gone',
    file: 'src/controllers/pod-eni/controller.ts',
    from: 'this.#reporter.forget(key);\n    this.#interfaces.forget(key, podEni);',
    to: 'this.#interfaces.forget(key, podEni);',
  },
  {
    name: 'a released ENI without a mirror is remembered',
    file: 'src/controllers/network-interface/controller.ts',
    from: 'this.#forget(eniId);\n      return {};',
    to: 'return {};',
  },
  {
    name: 'a record is written when the kernel is changed already',
    file: 'src/agent/plugin.ts',
    from: "await records.put({ ...sandbox, phase: 'adding' });\n          const attached = await change();",
    to: "const attached = await change();\n          await records.put({ ...sandbox, phase: 'adding' });",
  },
  {
    name: 'a record is renamed before its content is on the disk',
    file: 'src/agent/records.ts',
    from: 'await file.sync();',
    to: '',
  },
  {
    name: 'a record is removed before the kernel is cleared',
    file: 'src/agent/plugin.ts',
    from: 'await change();\n      await records.remove(key);',
    to: 'await records.remove(key);\n      await change();',
  },
  {
    name: 'a failed ADD removes its record whatever the kernel has',
    file: 'src/agent/plugin.ts',
    from: 'records.giveUp(key);',
    to: 'await records.remove(key);',
  },
  {
    name: 'DEL succeeds while the kernel is still being cleared',
    file: 'src/agent/plugin.ts',
    from: "await datapath.remove(record.attachment, async (change) => {\n      if (record.phase !== 'deleting') await records.put({ ...record, phase: 'deleting' });\n      await change();\n      await records.remove(key);\n    });",
    to: "datapath.remove(record.attachment, async (change) => {\n      if (record.phase !== 'deleting') await records.put({ ...record, phase: 'deleting' });\n      await change();\n      await records.remove(key);\n    }).catch(() => {});",
  },
  {
    name: 'a sandbox gets its network although the node says that the last one of the pod is gone',
    file: 'src/agent/agent.ts',
    from: 'adding: (attachment) => this.#reporter.takeBack(attachment),',
    to: 'adding: async () => {},',
  },
  {
    name: 'a new agent says of every pod that its sandbox is gone',
    file: 'src/agent/runtime-reporter.ts',
    from: 'if (!this.#isUsed(pod))',
    to: 'if (true)',
  },
  {
    name: 'a sandbox that fails counts as the end of its pod',
    file: 'src/agent/agent.ts',
    from: 'if (this.#isUsed(attachment)) this.#answerRelease',
    to: 'if (false) this.#answerRelease',
  },
  {
    name: 'a release is confirmed while a sandbox has a record',
    file: 'src/agent/release-answers.ts',
    from: 'if (!records.hasSandboxOf(uid)) reporter',
    to: 'reporter',
  },
  {
    name: 'a PodENI that leaves is not answered',
    file: 'src/agent/release-answers.ts',
    from: 'if (leaves(podEni)) look(keyOf(podEni.metadata));',
    to: '',
  },
  {
    name: 'while a record cannot be read, what has none is removed',
    file: 'src/agent/node-sync.ts',
    from: 'keepLeftovers = records.unreadable.size > records.ended.size',
    to: 'keepLeftovers = false',
  },
  {
    name: 'what a crash left half done is kept',
    file: 'src/agent/records.ts',
    from: "record.phase === 'adding' ? { ...record, phase: 'deleting' } : record",
    to: 'record',
  },
  {
    name: 'a sandbox without a namespace is kept',
    file: 'src/agent/node-sync.ts',
    from: "else if (record.phase === 'ready' && (await this.#isGone(record))) {",
    to: 'else if (false) {',
  },
  {
    name: 'the tag of a sandbox does not follow its PodENI',
    file: 'src/agent/node-sync.ts',
    from: 'await this.#followAssignments();',
    to: '',
  },
  {
    name: 'a look at the node may run while a pod is added',
    file: 'src/datapath/kernel-gate.ts',
    from: 'if (next === undefined || this.#exclusive || (next.exclusive && this.#shared > 0)) return;',
    to: 'if (next === undefined) return;',
  },
  {
    name: 'a report that could not be written is forgotten',
    file: 'src/agent/runtime-reporter.ts',
    from: 'for (const [uid, change] of batch) if (!this.#pending.has(uid)) this.#pending.set(uid, change);',
    to: '',
  },
  {
    name: 'a detach does not wait for the node',
    file: 'src/allocation/interface-step.ts',
    from: "if (goal === 'bind' || view.sandboxDueMs === undefined) return { do: 'detach', eni };",
    to: "return { do: 'detach', eni };",
  },
  {
    name: 'calls of every class are equal',
    file: 'src/cloud/call-line.ts',
    from: 'const waiter = isByAge ? this.#oldest() : this.#mostUrgent();',
    to: 'const waiter = this.#oldest();',
  },
  {
    name: 'no turn goes by age',
    file: 'src/cloud/call-line.ts',
    from: 'const isByAge = this.#byClassInARow >= BY_CLASS_IN_A_ROW;',
    to: 'const isByAge = false;',
  },
  {
    name: 'a turn is given back while its call looks at the ENI',
    file: 'src/controllers/eni/pending-calls.ts',
    from: 'await this.#hold(waiting);',
    to: '',
  },
  {
    name: 'a call is written although the lease may be lost',
    file: 'src/cloud/rpc.ts',
    from: 'this.#limit.assertHeld?.();',
    to: '',
  },
  {
    name: 'the status of a PodNetworking is written though nothing has changed',
    file: 'src/controllers/pod-networking/status.ts',
    from: 'if (!jsonEqual(status, before)) status.updateAt',
    to: 'status.updateAt',
  },
  {
    name: 'security groups are added to those that the ENI has',
    file: 'src/controllers/eni/driver.ts',
    from: 'const groups = [...(securityGroupIds ?? [])];',
    to: 'const groups = [...new Set([...step.eni.securityGroupIds, ...(securityGroupIds ?? [])])];',
  },
];
