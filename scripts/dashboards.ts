/** A panel, and when an empty one is normal. */
interface Panel {
  title: string;
  /** Grafana's name of the unit. */
  unit: string;
  /** PromQL by legend. */
  queries: Readonly<Record<string, string>>;
  /** When no data is normal. */
  empty?: string;
}

const rate = (metric: string, by: string) => `sum by (${by}) (rate(${metric}[$__rate_interval]))`;
const quantile = (q: number, metric: string, by = '') =>
  `histogram_quantile(${q}, sum by (le${by === '' ? '' : `, ${by}`}) (rate(${metric}_bucket[$__rate_interval])))`;

const CAPACITY: readonly Panel[] = [
  { title: 'Leader', unit: 'none', queries: { '{{instance}}': 'terway_leader' } },
  {
    title: 'Free addresses by vSwitch',
    unit: 'short',
    queries: { '{{vswitch}} ({{zone}})': 'max by (vswitch, zone) (terway_vswitch_free_addresses)' },
  },
  {
    title: 'Fixed addresses kept without a pod',
    unit: 'short',
    queries: { '{{vswitch}} ({{zone}})': 'max by (vswitch, zone) (terway_vswitch_reserved_addresses)' },
  },
  {
    title: 'Free addresses in 24 hours, at the pace of the last six',
    unit: 'short',
    queries: {
      '{{vswitch}}': 'predict_linear((max by (vswitch, zone) (terway_vswitch_free_addresses))[6h:5m], 86400)',
    },
    empty: 'no vSwitch has been measured for ten minutes yet.',
  },
  {
    title: 'Pods by how far they are',
    unit: 'short',
    queries: { '{{progress}}': 'sum by (progress) (max by (podnetworking, progress) (terway_podnetworking_pods))' },
  },
  {
    title: 'Pods by PodNetworking',
    unit: 'short',
    queries: {
      '{{podnetworking}}': 'sum by (podnetworking) (max by (podnetworking, progress) (terway_podnetworking_pods))',
    },
  },
  {
    title: 'Pods that found no room, by what they wait for',
    unit: 'short',
    queries: { '{{for}}': 'max by (for) (terway_pods_waiting)' },
  },
  {
    title: 'Addresses of shared ENIs by what they do',
    unit: 'short',
    queries: {
      '{{state}}': 'sum by (state) (max by (vswitch, state) (terway_pool_addresses))',
      wanted: 'max(terway_pool_addresses_wanted)',
      unconfirmed: 'max(terway_pool_addresses_unconfirmed)',
    },
    empty: 'no node has shared ENIs.',
  },
  {
    title: 'Pods without an address of a shared ENI, by reason',
    unit: 'short',
    queries: { '{{reason}}': 'max by (reason) (terway_pool_pods_waiting)' },
    empty: 'no pod waits for an address of a shared ENI.',
  },
  {
    title: 'Conditions that are False',
    unit: 'none',
    queries: {
      '{{podnetworking}} {{condition}}':
        'max by (podnetworking, condition) (terway_podnetworking_condition{status="False"})',
    },
    empty: 'every condition of every PodNetworking is True.',
  },
  {
    title: 'ENIs that belong to nobody',
    unit: 'short',
    queries: {
      found: 'max(terway_orphaned_enis)',
      held: 'max(terway_orphaned_enis_held)',
      braked: 'max(terway_collector_braked)',
    },
    empty: 'the collector has not finished its first round.',
  },
  {
    title: 'Released or looked at again by the collector',
    unit: 'cps',
    queries: { '{{kind}}': rate('terway_collected_total', 'kind') },
  },
  {
    title: 'Pods that came past the webhook',
    unit: 'short',
    queries: { held: 'max(terway_escaped_pods)', evicted: 'sum(increase(terway_escaped_pods_evicted_total[1h]))' },
  },
  {
    title: 'Sandboxes',
    unit: 'short',
    queries: { total: 'sum(terway_agent_sandboxes)', waiting: 'sum(terway_agent_waiting_sandboxes)' },
  },
  {
    title: 'Agents that serve',
    unit: 'short',
    queries: { serving: 'sum(terway_agent_ready)', all: 'count(terway_agent_ready)' },
  },
  {
    title: 'Configuration',
    unit: 'none',
    queries: { refused: 'max(terway_config_reload_failed)', '{{level}}': 'max by (level) (terway_degradation_level)' },
  },
  {
    title: 'Life of the webhook’s certificate',
    unit: 's',
    queries: { '{{instance}}': '(terway_webhook_certificate_expiry_timestamp_seconds > 0) - time()' },
    empty: 'the webhook is off.',
  },
];

const PERFORMANCE: readonly Panel[] = [
  {
    title: 'Time to an address of a shared ENI',
    unit: 's',
    queries: {
      p50: quantile(0.5, 'terway_pool_address_seconds'),
      p99: quantile(0.99, 'terway_pool_address_seconds'),
      'longest wait': 'max(terway_pool_pod_oldest_wait_seconds)',
    },
    empty: 'no pod has got an address of a shared ENI.',
  },
  {
    title: 'Calls for shared ENIs, by result',
    unit: 'cps',
    queries: {
      '{{operation}} {{result}}': 'sum by (operation, result) (rate(terway_pool_operations_total[$__rate_interval]))',
    },
    empty: 'no shared ENI has changed.',
  },
  {
    title: 'Until a pod has its network',
    unit: 's',
    queries: {
      'median, {{path}}': quantile(0.5, 'terway_pod_network_ready_seconds', 'path'),
      '99 %, {{path}}': quantile(0.99, 'terway_pod_network_ready_seconds', 'path'),
    },
  },
  {
    title: 'Pods served',
    unit: 'cps',
    queries: { '{{path}}': rate('terway_pod_network_ready_seconds_count', 'path') },
  },
  { title: 'Longest wait of a pod', unit: 's', queries: { wait: 'max(terway_pod_oldest_wait_seconds)' } },
  { title: 'ENIs in flight', unit: 'short', queries: { '{{kind}}': 'max by (kind) (terway_enis_in_flight)' } },
  { title: 'Calls to the cloud', unit: 'reqps', queries: { '{{action}}': rate('terway_cloud_calls_total', 'action') } },
  {
    title: 'Calls that failed',
    unit: 'reqps',
    queries: { '{{action}} {{code}}': rate('terway_cloud_calls_total{code!="OK"}', 'action, code') },
    empty: 'no call failed since the start.',
  },
  {
    title: 'Calls that were throttled',
    unit: 'reqps',
    queries: { '{{action}}': rate('terway_cloud_throttles_total', 'action') },
    empty: 'the cloud has not throttled since the start.',
  },
  {
    title: 'Quota that is left in this minute',
    unit: 'short',
    queries: {
      '{{action}}': 'min by (action) (terway_cloud_quota_left_calls)',
      '{{action}} limit': 'max by (action) (terway_cloud_quota_limit_calls)',
      '{{action}} waiting': 'max by (action) (terway_cloud_calls_waiting)',
    },
  },
  {
    title: 'Duration of calls, 99 %',
    unit: 's',
    queries: { '{{action}}': quantile(0.99, 'terway_cloud_call_duration_seconds', 'action') },
  },
  {
    title: 'Wait for quota, 99 %',
    unit: 's',
    queries: { '{{action}}': quantile(0.99, 'terway_cloud_call_wait_seconds', 'action') },
  },
  {
    title: 'Requests to the API server',
    unit: 'reqps',
    queries: { '{{verb}} {{resource}} {{code}}': rate('terway_kube_requests_total', 'verb, resource, code') },
  },
  {
    title: 'Duration of requests, 99 %',
    unit: 's',
    queries: { '{{verb}}': quantile(0.99, 'terway_kube_request_duration_seconds', 'verb') },
  },
  {
    title: 'Keys that wait',
    unit: 'short',
    queries: { '{{controller}}': 'max by (controller) (terway_queue_depth)' },
  },
  {
    title: 'Age of the oldest key, and wait 99 %',
    unit: 's',
    queries: {
      '{{controller}} oldest': 'max by (controller) (terway_queue_oldest_seconds)',
      '{{controller}}': quantile(0.99, 'terway_queue_wait_seconds', 'controller'),
    },
  },
  {
    title: 'Reconciles',
    unit: 'ops',
    queries: { '{{controller}} {{result}}': rate('terway_reconciles_total', 'controller, result') },
  },
  {
    title: 'Reconciles that failed',
    unit: 'ops',
    queries: { '{{controller}} {{reason}}': rate('terway_reconcile_errors_total', 'controller, reason') },
    empty: 'no reconcile failed since the start.',
  },
  {
    title: 'Duration of reconciles, 99 %',
    unit: 's',
    queries: { '{{controller}}': quantile(0.99, 'terway_reconcile_duration_seconds', 'controller') },
  },
  {
    title: 'Webhook',
    unit: 'reqps',
    queries: { '{{kind}} {{result}}': rate('terway_webhook_requests_total', 'kind, result') },
    empty: 'the webhook is off, or nothing was created.',
  },
  {
    title: 'Webhook, 99 %',
    unit: 's',
    queries: { '{{kind}}': quantile(0.99, 'terway_webhook_request_duration_seconds', 'kind') },
    empty: 'the webhook is off, or nothing was created.',
  },
  {
    title: 'Silence of the API server',
    unit: 's',
    queries: { '{{instance}}': 'max by (instance) (terway_store_stale_seconds)' },
  },
  {
    title: 'Event loop delay, 99 %',
    unit: 's',
    queries: { '{{instance}}': 'nodejs_eventloop_lag_p99_seconds and on (job, instance) terway_leader' },
  },
  {
    title: 'Memory',
    unit: 'bytes',
    queries: {
      '{{instance}} resident': 'process_resident_memory_bytes and on (job, instance) terway_leader',
      '{{instance}} heap': 'nodejs_heap_size_used_bytes and on (job, instance) terway_leader',
    },
  },
  {
    title: 'CNI requests',
    unit: 'reqps',
    queries: { '{{command}} {{code}}': rate('terway_agent_cni_requests_total', 'command, code') },
  },
  {
    title: 'CNI requests, 99 %',
    unit: 's',
    queries: { '{{command}}': quantile(0.99, 'terway_agent_cni_duration_seconds', 'command') },
  },
  {
    title: 'Packets on trunks',
    unit: 'pps',
    queries: { '{{verdict}}': rate('terway_agent_trunk_packets_total', 'verdict') },
  },
  {
    title: 'Repairs on nodes',
    unit: 'ops',
    queries: { '{{object}} {{kind}}': rate('terway_agent_repairs_total', 'object, kind') },
    empty: 'nothing had to be mended since the start.',
  },
  {
    title: 'Comparisons of nodes, 99 %',
    unit: 's',
    queries: { duration: quantile(0.99, 'terway_agent_sync_duration_seconds') },
  },
];

const COLUMNS = 2;
const WIDTH = 24 / COLUMNS;
const HEIGHT = 8;

/** Dashboards for Grafana, by path. */
export function dashboardFiles(): [string, string][] {
  return [
    ['capacity', 'Terway: capacity', CAPACITY] as const,
    ['performance', 'Terway: performance', PERFORMANCE] as const,
  ].map(([name, title, panels]) => [
    `charts/terway-controlplane/files/dashboards/${name}.json`,
    `${JSON.stringify(dashboard(`terway-${name}`, title, panels), null, 1)}\n`,
  ]);
}

function dashboard(uid: string, title: string, panels: readonly Panel[]) {
  return {
    uid,
    title,
    tags: ['terway'],
    schemaVersion: 38,
    version: 1,
    editable: true,
    refresh: '30s',
    time: { from: 'now-3h', to: 'now' },
    templating: {
      list: [{ name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Data source' }],
    },
    panels: panels.map((panel, at) => ({
      id: at + 1,
      type: 'timeseries',
      title: panel.title,
      ...(panel.empty === undefined ? {} : { description: `Empty while ${panel.empty}` }),
      gridPos: { x: (at % COLUMNS) * WIDTH, y: Math.floor(at / COLUMNS) * HEIGHT, w: WIDTH, h: HEIGHT },
      datasource: { type: 'prometheus', uid: '$datasource' },
      fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
      targets: Object.entries(panel.queries).map(([legendFormat, expr], index) => ({
        refId: String.fromCharCode(65 + index),
        expr,
        legendFormat,
      })),
    })),
  };
}
