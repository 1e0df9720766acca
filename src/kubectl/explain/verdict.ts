import { webhookOutcome } from '../../allocation/escape.ts';
import { isExclusive } from '../../allocation/node-mode.ts';
import { isFixed, releaseDueMs } from '../../allocation/retention.ts';
import { ANNOTATION_POD_NETWORKING, ANNOTATION_POD_UID, LABEL_IGNORE } from '../../crds/names.ts';
import type { PodEni } from '../../crds/pod-eni.ts';
import { reasonEntry } from '../../crds/reasons/catalogue.ts';
import { rfc3339 } from '../../util/clock.ts';
import type { Pod } from '../resources.ts';
import { choiceOf } from './choice.ts';
import { timesOf } from './timeline.ts';
import { type ExplainView, sharedAddressesOf } from './view.ts';

/** The conclusion about a pod. */
export interface Verdict {
  /** True when nothing is wrong and the pod waits for nothing. */
  well: boolean;
  /** One or two sentences. */
  text: string;
  /** A reason of the catalogue, with its cause and remedy. */
  reason?: string;
  cause?: string;
  remedy?: string;
}

/** Why the pod waits, or that everything is fine. Pure. */
export function verdictOf(view: ExplainView): Verdict {
  const { pod, podEni, namespace, name } = view;
  if (view.namespaceLabels === undefined) return bad(`There is no namespace ${namespace}.`);
  if (pod === undefined) {
    return podEni === undefined
      ? bad(`There is no pod ${namespace}/${name}, and no address is kept for one.`)
      : withoutPod(podEni);
  }
  if (pod.spec.hostNetwork) return working(pod, 'The pod uses the network of its node (hostNetwork); it gets no ENI.');
  if (pod.metadata.labels?.[LABEL_IGNORE] === 'true') {
    return working(pod, `The pod has the label ${LABEL_IGNORE}=true, so it gets no ENI.`);
  }
  if (isFinished(pod)) {
    const kept = podEni === undefined ? 'it no longer has an interface' : 'its interface is being released';
    return well(`The pod has finished (${pod.status.phase}); ${kept}.`);
  }
  if (podEni !== undefined) return withRecord(view, pod, podEni);
  if (pod.spec.nodeName === '') {
    const scheduled = pod.status.conditions.find(({ type }) => type === 'PodScheduled');
    return bad(`The pod waits for the scheduler${scheduled?.message ? `: ${scheduled.message}` : '.'}`);
  }
  return withoutRecord(view, pod);
}

function withoutPod(podEni: PodEni): Verdict {
  const { phase, conditions } = podEni.status ?? {};
  const { metadata } = podEni;
  const address = podEni.spec.allocations?.map(({ ipv4 }) => ipv4 ?? '').join(', ') || 'an address';
  const isKept = metadata.deletionTimestamp === undefined && isFixed(podEni);
  if (isKept && phase === 'Unbind') {
    const dueMs = releaseDueMs(podEni);
    const until = dueMs === 'never' ? 'until its PodENI is deleted' : `until ${rfc3339(dueMs)}`;
    return well(
      `There is no such pod now. Its fixed address ${address} is kept ${until}, for the next pod of the name.`,
    );
  }
  const ready = conditions?.find(({ type }) => type === 'Ready');
  const entry = reasonEntry(ready?.reason ?? '');
  const doing = isKept ? 'is being detached and kept' : 'is being released';
  if (ready !== undefined && entry?.pod !== undefined) {
    return bad(`The pod is gone. Its ENI ${doing}, but that is stuck: ${ready.message}`, ready.reason);
  }
  return well(`The pod is gone; its ENI with ${address} ${doing}.`);
}

function withRecord(view: ExplainView, pod: Pod, podEni: PodEni): Verdict {
  const { status, metadata } = podEni;
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  const address = podEni.spec.allocations?.map(({ ipv4 }) => ipv4 ?? '').join(', ') ?? '';
  if (metadata.annotations?.[ANNOTATION_POD_UID] !== pod.metadata.uid) {
    return bad(
      'The PodENI still belongs to an earlier pod of the same name; this one gets its own after that is released.',
      ready?.status === 'False' ? ready.reason : undefined,
    );
  }
  const entry = reasonEntry(ready?.reason ?? '');
  if (ready?.status === 'False' && entry?.pod !== undefined) return bad(sentence(ready.message), ready.reason);
  if (metadata.deletionTimestamp !== undefined) {
    return bad(
      'The PodENI is being deleted while its pod runs; the pod loses its network and must be recreated.',
      ready?.reason,
    );
  }
  if (status?.phase !== 'Bind') {
    const why = ready === undefined || ready.status === 'True' ? '' : ` ${sentence(ready.message)}`;
    const step = (status?.phase ?? '') === '' ? 'created' : 'attached';
    return bad(`The ENI is being ${step}, which usually takes a few seconds.${why}`, ready?.reason);
  }
  if (pod.status.phase === 'Running' && pod.status.podIP !== '') {
    return working(pod, `The pod has its ENI, with the address ${address}.`);
  }
  const failed = latestWarning(view, (reason) => reason === 'AllocIPFailed' || reason === 'FailedCreatePodSandBox');
  const waiting = pod.status.containerStatuses.find(({ state }) => state.waiting !== undefined)?.state.waiting;
  const then = failed
    ? ` ${sentence(failed.note)}`
    : waiting?.reason !== undefined && waiting.reason !== 'ContainerCreating'
      ? ` ${sentence(`Its container waits: ${waiting.reason}${waiting.message ? `, ${waiting.message}` : ''}`)}`
      : view.runtime === undefined
        ? ' The node agent has not set up its sandbox yet: does the agent run on the node?'
        : '';
  return bad(`The ENI is attached (${address}), but the pod does not run yet.${then}`, failed?.reason);
}

function withoutRecord(view: ExplainView, pod: Pod): Verdict {
  const choice = choiceOf(view) ?? { kind: 'none' };
  const { nodeName } = pod.spec;
  switch (choice.kind) {
    case 'none':
      if (!isExclusive(view.coreNode?.metadata.labels)) return shared(view, pod);
      return (
        fromEvents(view) ??
        bad(`Node ${nodeName} gives every pod a whole ENI; the control plane has not served this one yet.`)
      );
    case 'invalidRequest':
      return bad(sentence(choice.message), 'NetworkRequestInvalid');
    case 'unknown':
      return bad(
        `Annotation ${ANNOTATION_POD_NETWORKING} names PodNetworking ${choice.name}, which does not exist.`,
        'PodNetworkingNotFound',
      );
    case 'needsStableName':
      return bad(
        `PodNetworking ${choice.name} gives fixed addresses, but this pod's name will not be reused.`,
        'FixedNeedsStableName',
      );
    case 'notReady': {
      const networking = view.networkings.find(({ metadata }) => metadata.name === choice.name);
      const message =
        networking?.status?.conditions?.find(({ type }) => type === 'Ready')?.message ?? networking?.status?.message;
      return bad(`PodNetworking ${choice.name} is not Ready${message ? `: ${message}` : ''}.`, 'PodNetworkingNotReady');
    }
    case 'matched': {
      const names = choice.wanted.map(({ networking }) => networking.metadata.name).join(', ');
      const createdAt = choice.wanted.map(({ networking }) => networking.metadata.creationTimestamp);
      const passage = webhookOutcome(
        {
          annotations: pod.metadata.annotations,
          createdAt: pod.metadata.creationTimestamp,
          hasNetwork: pod.status.podIP !== '' || pod.status.phase === 'Running',
          owners: pod.metadata.ownerReferences ?? [],
          namespaceLabels: view.namespaceLabels,
        },
        createdAt,
      );
      if (passage === 'settled') {
        return working(
          pod,
          `PodNetworking ${names} picks the pod, but it had a network before and keeps it; the next pod gets an ENI.`,
        );
      }
      const said = fromEvents(view);
      if (said !== undefined) return said;
      if (passage === 'escaped') {
        return bad(`PodNetworking ${names} picks the pod, but the webhook has not seen it.`, 'EscapedWebhook');
      }
      return bad(
        `PodNetworking ${names} picks the pod, but the control plane has not served it yet: is there a leader (kubectl terway status)?`,
      );
    }
  }
}

/** No PodNetworking picks the pod: it shares the ENIs of its node, where the control plane manages these. */
function shared(view: ExplainView, pod: Pod): Verdict {
  const addresses = sharedAddressesOf(view);
  if (addresses?.isLost === true) {
    return bad(
      `The address ${addresses.ips.join(', ')} of the pod is gone from ${addresses.eniID}.`,
      'AddressUnavailable',
    );
  }
  if (addresses !== undefined) {
    return working(
      pod,
      `The pod has ${addresses.ips.join(' and ')} of ${addresses.eniID}, which the pods of its node share.`,
    );
  }
  const pool = view.node?.status?.conditions?.find(({ type }) => type === 'PoolReady');
  if (pool === undefined) {
    return working(pod, 'No PodNetworking picks the pod, so it gets the network of the node.');
  }
  const said = fromEvents(view);
  if (said !== undefined) return said;
  if (pool.reason === 'PoolOff') {
    return working(pod, 'No PodNetworking picks the pod, and shared ENIs are off, so it gets the network of the node.');
  }
  if (pool.status === 'False') return bad(`The pod has no address yet. ${sentence(pool.message)}`, pool.reason);
  return bad('The pod has no address yet; its node gets one, which usually takes a few seconds.', 'AddressAwaited');
}

/** The control plane's latest event about the pod. */
function fromEvents(view: ExplainView): Verdict | undefined {
  const event = latestWarning(view, (reason) => {
    const entry = reasonEntry(reason);
    return entry?.on.some((place) => place.kind === 'Pod' && 'event' in place) === true;
  });
  return event === undefined ? undefined : bad(sentence(event.note), event.reason);
}

function latestWarning({ events, pod }: ExplainView, wanted: (reason: string) => boolean) {
  return (
    events
      .filter(({ type, reason, regarding }) => type === 'Warning' && regarding.kind === 'Pod' && wanted(reason))
      // It is about an earlier pod with this name.
      .filter(({ regarding }) => regarding.uid === undefined || regarding.uid === pod?.metadata.uid)
      .sort((a, b) => Date.parse(timesOf(a).last) - Date.parse(timesOf(b).last))
      .at(-1)
  );
}

function isFinished({ status }: Pod): boolean {
  return status.phase === 'Succeeded' || status.phase === 'Failed';
}

/** The network is fine; the pod's own conditions decide whether the pod works too. */
function working(pod: Pod, text: string): Verdict {
  const ready = pod.status.conditions.find(({ type }) => type === 'Ready');
  if (pod.status.phase === 'Running' && ready?.status !== 'False') return well(`All is well. ${text}`);
  const state = pod.status.phase === 'Running' ? 'runs, but is not Ready' : 'does not run yet';
  const waiting = pod.status.containerStatuses.find(({ state: { waiting: found } }) => found !== undefined);
  const because = waiting?.state.waiting?.reason;
  return bad(`${text} The pod ${state}${because === undefined ? '' : ` (${waiting?.name}: ${because})`}.`);
}

function well(text: string): Verdict {
  return { well: true, text };
}

function bad(text: string, reason?: string): Verdict {
  const entry = reason === undefined ? undefined : reasonEntry(reason);
  return {
    well: false,
    text,
    ...(reason === undefined ? {} : { reason }),
    ...(entry === undefined ? {} : { cause: entry.cause }),
    ...(entry?.remedy === undefined ? {} : { remedy: entry.remedy }),
  };
}

/** With a capital letter and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? '' : '.'}`;
}
