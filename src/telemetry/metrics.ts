import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Every metric of the control plane, with its unit in the name and bounded labels. */
export interface Metrics {
  registry: Registry;
  cloudCalls: Counter<'action' | 'code'>;
  cloudCallSeconds: Histogram<'action'>;
  cloudWaitSeconds: Histogram<'action'>;
  kubeRequests: Counter<'verb' | 'resource' | 'subresource' | 'code'>;
  kubeRequestSeconds: Histogram<'verb'>;
  reconciles: Counter<'controller' | 'result'>;
  reconcileSeconds: Histogram<'controller'>;
  queueDepth: Gauge<'controller'>;
  queueSeconds: Histogram<'controller'>;
  inFlight: Gauge;
  waitingPods: Gauge;
  leader: Gauge;
  orphans: Gauge;
  collectorBraked: Gauge;
  collected: Counter<'kind'>;
  reviews: Counter<'kind' | 'result'>;
  reviewSeconds: Histogram<'kind'>;
  webhookCertificateEnds: Gauge;
  configReloads: Counter<'result'>;
  configReloadFailed: Gauge;
  degradationLevel: Gauge<'level'>;
}

const CLOUD_BUCKETS_S = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20];
const WAIT_BUCKETS_S = [0.01, 0.1, 1, 5, 15, 30, 60, 120];
const REVIEW_BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5];
const LOCAL_BUCKETS_S = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];

/** A registry with every metric at zero. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  // Memory, CPU, event loop and garbage collection of the process.
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    cloudCalls: new Counter({
      name: 'terway_cloud_calls_total',
      help: 'Calls to Alibaba Cloud by API action and answer (OK or error code).',
      labelNames: ['action', 'code'],
      registers,
    }),
    cloudCallSeconds: new Histogram({
      name: 'terway_cloud_call_duration_seconds',
      help: 'Time from sending a call to its answer.',
      labelNames: ['action'],
      buckets: CLOUD_BUCKETS_S,
      registers,
    }),
    cloudWaitSeconds: new Histogram({
      name: 'terway_cloud_call_wait_seconds',
      help: 'Time that a call waited for quota before it was sent.',
      labelNames: ['action'],
      buckets: WAIT_BUCKETS_S,
      registers,
    }),
    kubeRequests: new Counter({
      name: 'terway_kube_requests_total',
      help: 'Requests to the API server; code 0 means that no answer came.',
      labelNames: ['verb', 'resource', 'subresource', 'code'],
      registers,
    }),
    kubeRequestSeconds: new Histogram({
      name: 'terway_kube_request_duration_seconds',
      help: 'Time from sending a request to the end of its answer.',
      labelNames: ['verb'],
      buckets: LOCAL_BUCKETS_S,
      registers,
    }),
    reconciles: new Counter({
      name: 'terway_reconciles_total',
      help: 'Reconciles by controller and result (success, conflict, error).',
      labelNames: ['controller', 'result'],
      registers,
    }),
    reconcileSeconds: new Histogram({
      name: 'terway_reconcile_duration_seconds',
      help: 'Time of one reconcile.',
      labelNames: ['controller'],
      buckets: LOCAL_BUCKETS_S,
      registers,
    }),
    queueDepth: new Gauge({
      name: 'terway_queue_depth',
      help: 'Keys that wait for a worker.',
      labelNames: ['controller'],
      registers,
    }),
    queueSeconds: new Histogram({
      name: 'terway_queue_wait_seconds',
      help: 'Time that a key waited for a worker.',
      labelNames: ['controller'],
      buckets: LOCAL_BUCKETS_S,
      registers,
    }),
    inFlight: new Gauge({
      name: 'terway_enis_in_flight',
      help: 'ENIs whose asynchronous operation in the cloud is being awaited.',
      registers,
    }),
    waitingPods: new Gauge({
      name: 'terway_pods_waiting',
      help: 'Pods that wait for a trunk, a member slot, a vSwitch or a PodNetworking.',
      registers,
    }),
    leader: new Gauge({
      name: 'terway_leader',
      help: '1 while this replica holds the lease.',
      registers,
    }),
    orphans: new Gauge({
      name: 'terway_orphaned_enis',
      help: 'ENIs with our tags that nothing in the cluster names, as of the last look.',
      registers,
    }),
    collectorBraked: new Gauge({
      name: 'terway_collector_braked',
      help: '1 while so many ENIs look orphaned at once that none is released.',
      registers,
    }),
    collected: new Counter({
      name: 'terway_collected_total',
      help: 'What the collector released or repaired, by kind.',
      labelNames: ['kind'],
      registers,
    }),
    reviews: new Counter({
      name: 'terway_webhook_requests_total',
      help: 'Requests of the API server by kind of object and result (unchanged, patched, denied, error, malformed).',
      labelNames: ['kind', 'result'],
      registers,
    }),
    reviewSeconds: new Histogram({
      name: 'terway_webhook_request_duration_seconds',
      help: 'Time from the head of a request to its answer.',
      labelNames: ['kind'],
      buckets: REVIEW_BUCKETS_S,
      registers,
    }),
    webhookCertificateEnds: new Gauge({
      name: 'terway_webhook_certificate_expiry_timestamp_seconds',
      help: 'When the certificate that the webhook shows ends, in seconds since the epoch; 0 when there is none.',
      registers,
    }),
    configReloads: new Counter({
      name: 'terway_config_reloads_total',
      help: 'Changes of the configuration file that were read, by result (applied, refused).',
      labelNames: ['result'],
      registers,
    }),
    configReloadFailed: new Gauge({
      name: 'terway_config_reload_failed',
      help: '1 while the configuration file is wrong and the one before it stays in force.',
      registers,
    }),
    degradationLevel: new Gauge({
      name: 'terway_degradation_level',
      help: '1 at the level in force: none, l1 (nothing is released), l0 (the cloud is not called).',
      labelNames: ['level'],
      registers,
    }),
  };
}
