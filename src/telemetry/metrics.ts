import type { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { type MetricDefinition, MetricSet } from './metric-set.ts';
import type { LeaderState, ReplicaState } from './state.ts';
import { defineLeaderGauges, defineReplicaGauges } from './state-gauges.ts';

/** Every metric of the control plane, with its unit in the name and bounded labels; no label holds a node or a pod. */
export interface Metrics {
  registry: Registry;
  definitions: readonly MetricDefinition[];
  cloudCalls: Counter<'action' | 'code'>;
  cloudCallSeconds: Histogram<'action'>;
  cloudWaitSeconds: Histogram<'action'>;
  cloudThrottles: Counter<'action'>;
  kubeRequests: Counter<'verb' | 'resource' | 'subresource' | 'code'>;
  kubeRequestSeconds: Histogram<'verb'>;
  reconciles: Counter<'controller' | 'result'>;
  reconcileErrors: Counter<'controller' | 'reason'>;
  reconcileSeconds: Histogram<'controller'>;
  queueSeconds: Histogram<'controller'>;
  podReadySeconds: Histogram<'path'>;
  poolAddressSeconds: Histogram;
  poolOperations: Counter<'operation' | 'result'>;
  leader: Gauge;
  collected: Counter<'kind'>;
  podsEvicted: Counter;
  reviews: Counter<'kind' | 'result'>;
  reviewSeconds: Histogram<'kind'>;
  webhookCertificateEnds: Gauge;
  configReloads: Counter<'result'>;
  configReloadFailed: Gauge;
  degradationLevel: Gauge<'level'>;
  /** Source of the gauges that are read at each scrape; absent values give no series. */
  sources: { replica?: () => ReplicaState; leader?: (() => LeaderState) | undefined };
}

const CLOUD_BUCKETS_S = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20];
const WAIT_BUCKETS_S = [0.01, 0.1, 1, 5, 15, 30, 60, 120];
const READY_BUCKETS_S = [0.5, 1, 2, 3, 4, 5, 7.5, 10, 15, 30, 60, 120, 300];
const ADDRESS_BUCKETS_S = [0.01, 0.05, 0.1, 0.15, 0.5, 1, 2, 5, 10, 30, 60, 300];
const REVIEW_BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5];
const LOCAL_BUCKETS_S = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];

const ACTION = 'API actions that are called, about ten';
const CONTROLLER = 'pod-eni, node, networkinterface, podnetworking, pool';
const KIND = 'Pod, PodNetworking, unknown';

/** Creates the registry with every metric at zero, and their definitions. */
export function createMetrics(): Metrics {
  const set = new MetricSet();
  const sources: Metrics['sources'] = {};
  defineReplicaGauges(set, sources);
  defineLeaderGauges(set, sources);
  return {
    registry: set.registry,
    definitions: set.definitions,
    sources,
    podReadySeconds: set.histogram({
      name: 'terway_pod_network_ready_seconds',
      help: 'Time from the first look at a pod on its node to its attached interface; from its creation for path adopted.',
      labels: { path: 'cold (a new ENI), fixed (an address that was kept), adopted (begun before this leader)' },
      stability: 'STABLE',
      buckets: READY_BUCKETS_S,
    }),
    poolAddressSeconds: set.histogram({
      name: 'terway_pool_address_seconds',
      help: 'Time from the first look at a pod on its node to the record of its address of a shared ENI.',
      stability: 'STABLE',
      buckets: ADDRESS_BUCKETS_S,
    }),
    poolOperations: set.counter({
      name: 'terway_pool_operations_total',
      help: 'Calls that change shared ENIs and their addresses, by result.',
      labels: {
        operation: 'create, find, attach, assign, unassign, detach, delete',
        result: 'succeeded, or the kind of failure, about ten',
      },
    }),
    cloudCalls: set.counter({
      name: 'terway_cloud_calls_total',
      help: 'Calls to Alibaba Cloud by API action and answer (OK or error code).',
      labels: { action: ACTION, code: 'OK or the error codes of the cloud that came' },
      stability: 'STABLE',
    }),
    cloudCallSeconds: set.histogram({
      name: 'terway_cloud_call_duration_seconds',
      help: 'Time from sending a call to its answer.',
      labels: { action: ACTION },
      buckets: CLOUD_BUCKETS_S,
    }),
    cloudWaitSeconds: set.histogram({
      name: 'terway_cloud_call_wait_seconds',
      help: 'Time that a call waited for quota before it was sent.',
      labels: { action: ACTION },
      buckets: WAIT_BUCKETS_S,
    }),
    cloudThrottles: set.counter({
      name: 'terway_cloud_throttles_total',
      help: 'Calls that the cloud refused because there were too many.',
      labels: { action: ACTION },
      stability: 'STABLE',
    }),
    kubeRequests: set.counter({
      name: 'terway_kube_requests_total',
      help: 'Requests to the API server; code 0 means that no answer came.',
      labels: {
        verb: 'verbs of the API',
        resource: 'kinds that are read or written, about fifteen',
        subresource: 'status, eviction or empty',
        code: 'HTTP status codes',
      },
    }),
    kubeRequestSeconds: set.histogram({
      name: 'terway_kube_request_duration_seconds',
      help: 'Time from sending a request to the end of its answer.',
      labels: { verb: 'verbs of the API' },
      buckets: LOCAL_BUCKETS_S,
    }),
    reconciles: set.counter({
      name: 'terway_reconciles_total',
      help: 'Reconciles by controller and result.',
      labels: { controller: CONTROLLER, result: 'success, conflict, error' },
    }),
    reconcileErrors: set.counter({
      name: 'terway_reconcile_errors_total',
      help: 'Reconciles that failed, by reason.',
      labels: {
        controller: CONTROLLER,
        reason:
          'cloud_KIND (ten kinds), kube_CODE (HTTP status codes), transport_FAILURE (seven kinds), timeout, unexpected',
      },
    }),
    reconcileSeconds: set.histogram({
      name: 'terway_reconcile_duration_seconds',
      help: 'Time of one reconcile.',
      labels: { controller: CONTROLLER },
      buckets: LOCAL_BUCKETS_S,
    }),
    queueSeconds: set.histogram({
      name: 'terway_queue_wait_seconds',
      help: 'Time that a key waited for a worker.',
      labels: { controller: CONTROLLER },
      buckets: LOCAL_BUCKETS_S,
    }),
    leader: set.gauge({
      name: 'terway_leader',
      help: '1 while this replica leads, else 0.',
      stability: 'STABLE',
    }),
    collected: set.counter({
      name: 'terway_collected_total',
      help: 'What the collector released (orphan) or had looked at again (suspect).',
      labels: { kind: 'orphan, suspect' },
    }),
    podsEvicted: set.counter({
      name: 'terway_escaped_pods_evicted_total',
      help: 'Evictions of pods that the webhook had not seen.',
    }),
    reviews: set.counter({
      name: 'terway_webhook_requests_total',
      help: 'Requests of the API server by kind of object and result.',
      labels: { kind: KIND, result: 'unchanged, patched, denied, error, malformed' },
    }),
    reviewSeconds: set.histogram({
      name: 'terway_webhook_request_duration_seconds',
      help: 'Time from the head of a request to its answer.',
      labels: { kind: KIND },
      buckets: REVIEW_BUCKETS_S,
    }),
    webhookCertificateEnds: set.gauge({
      name: 'terway_webhook_certificate_expiry_timestamp_seconds',
      help: 'When the certificate that the webhook shows ends, in seconds since the epoch; 0 when there is none.',
      stability: 'STABLE',
    }),
    configReloads: set.counter({
      name: 'terway_config_reloads_total',
      help: 'Changes of the configuration file that were read, by result.',
      labels: { result: 'applied, refused' },
    }),
    configReloadFailed: set.gauge({
      name: 'terway_config_reload_failed',
      help: '1 while the configuration file is wrong and the one before it stays in force.',
      stability: 'STABLE',
    }),
    degradationLevel: set.gauge({
      name: 'terway_degradation_level',
      help: '1 at the level in force: none, l1 (nothing is released), l0 (the cloud is not called).',
      labels: { level: 'none, l0, l1' },
    }),
  };
}
