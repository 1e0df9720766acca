/** Series in the notation of `promtool test rules`: start, step and number of repeats, a sample per minute. */
type Series = Readonly<Record<string, string>>;

/** A case that makes an alert fire, and a similar one that must not. */
interface AlertCase {
  fires: Series;
  quiet: Series;
}

/** After this much time a fire must burn, and what is quiet must be so at any time up to it. */
export const CASE_MINUTES = 120;

const N = CASE_MINUTES;
const always = (value: number) => `${value}x${N}`;
/** Counts up by this much a minute. */
const counts = (step: number) => `0+${step}x${N}`;
/** As it should be until shortly before the look, so that `for` has not passed. */
const late = (before: number, after: number, minutes: number) => `${before}x${N - minutes} ${after}x${minutes - 1}`;

const shares = (metric: string, bad: string, good: string): AlertCase => ({
  fires: { [`${metric}{${bad}}`]: counts(20), [`${metric}{${good}}`]: counts(80) },
  quiet: { [`${metric}{${bad}}`]: counts(1), [`${metric}{${good}}`]: counts(99) },
});

/** By alert; the rules and this table must name the same ones. */
export const ALERT_CASES: Readonly<Record<string, AlertCase>> = {
  TerwayDown: { fires: { up: always(0) }, quiet: { terway_leader: always(0) } },
  TerwayNoLeader: {
    fires: { 'terway_leader{instance="a"}': always(0), 'terway_leader{instance="b"}': always(0) },
    quiet: { 'terway_leader{instance="a"}': always(0), 'terway_leader{instance="b"}': always(1) },
  },
  TerwayTwoLeaders: {
    fires: { 'terway_leader{instance="a"}': always(1), 'terway_leader{instance="b"}': always(1) },
    quiet: { 'terway_leader{instance="a"}': always(1), 'terway_leader{instance="b"}': late(0, 1, 2) },
  },
  TerwayStoreStale: {
    fires: { 'terway_store_stale_seconds{store="pods"}': always(181) },
    quiet: { 'terway_store_stale_seconds{store="pods"}': always(60) },
  },
  TerwayConfigurationRefused: {
    fires: { terway_config_reload_failed: always(1) },
    quiet: { terway_config_reload_failed: late(0, 1, 2) },
  },
  TerwayDegraded: {
    fires: { 'terway_degradation_level{level="l1"}': always(1), 'terway_degradation_level{level="none"}': always(0) },
    quiet: {
      'terway_degradation_level{level="none"}': always(1),
      'terway_degradation_level{level="l1"}': late(0, 1, 30),
    },
  },
  TerwayPodsWaitLong: {
    fires: { terway_pod_oldest_wait_seconds: always(75) },
    quiet: { terway_pod_oldest_wait_seconds: always(59) },
  },
  TerwayHighLatency: {
    fires: {
      'terway_pod_network_ready_seconds_bucket{le="30"}': counts(50),
      'terway_pod_network_ready_seconds_bucket{le="60"}': counts(100),
      'terway_pod_network_ready_seconds_bucket{le="+Inf"}': counts(100),
    },
    quiet: {
      'terway_pod_network_ready_seconds_bucket{le="10"}': counts(100),
      'terway_pod_network_ready_seconds_bucket{le="+Inf"}': counts(100),
    },
  },
  TerwayPoolPodsWaitLong: {
    fires: { terway_pool_pod_oldest_wait_seconds: always(75) },
    quiet: { terway_pool_pod_oldest_wait_seconds: always(59) },
  },
  TerwayPoolHighLatency: {
    fires: {
      'terway_pool_address_seconds_bucket{le="30"}': counts(50),
      'terway_pool_address_seconds_bucket{le="60"}': counts(100),
      'terway_pool_address_seconds_bucket{le="+Inf"}': counts(100),
    },
    quiet: {
      'terway_pool_address_seconds_bucket{le="10"}': counts(100),
      'terway_pool_address_seconds_bucket{le="+Inf"}': counts(100),
    },
  },
  TerwayPoolReleasesUnconfirmed: {
    fires: { terway_pool_unconfirmed_oldest_seconds: always(700) },
    quiet: { terway_pool_unconfirmed_oldest_seconds: always(590) },
  },
  TerwayPoolAddressesInvalid: {
    fires: { 'terway_pool_addresses{vswitch="v",state="invalid"}': always(1) },
    quiet: {
      'terway_pool_addresses{vswitch="v",state="invalid"}': late(0, 1, 10),
      'terway_pool_addresses{vswitch="v",state="bound"}': always(9),
    },
  },
  TerwayPoolOperationsFail: shares(
    'terway_pool_operations_total',
    'operation="assign",result="forbidden"',
    'operation="assign",result="succeeded"',
  ),
  TerwayVSwitchFull: {
    fires: { 'terway_vswitch_free_addresses{vswitch="v",zone="z"}': always(0) },
    quiet: { 'terway_vswitch_free_addresses{vswitch="v",zone="z"}': always(1) },
  },
  TerwayVSwitchExhaustionPredicted: {
    fires: { 'terway_vswitch_free_addresses{vswitch="v",zone="z"}': `1000-1x${N}` },
    quiet: { 'terway_vswitch_free_addresses{vswitch="v",zone="z"}': `60000-1x${N}` },
  },
  TerwayPodNetworkingNotReady: {
    fires: { 'terway_podnetworking_condition{podnetworking="p",condition="Ready",status="False"}': always(1) },
    quiet: { 'terway_podnetworking_condition{podnetworking="p",condition="Ready",status="True"}': always(1) },
  },
  TerwayPodsFailing: {
    fires: { 'terway_podnetworking_pods{podnetworking="p",progress="failed"}': always(2) },
    quiet: { 'terway_podnetworking_pods{podnetworking="p",progress="bound"}': always(2) },
  },
  TerwayOrphanedENIs: {
    fires: { terway_orphaned_enis: always(1) },
    quiet: { terway_orphaned_enis: late(0, 5, 25) },
  },
  TerwayCollectorBraked: {
    fires: { terway_collector_braked: always(1) },
    quiet: { terway_collector_braked: always(0) },
  },
  TerwayWebhookCertificateExpires: {
    fires: { terway_webhook_certificate_expiry_timestamp_seconds: always(6 * 86_400) },
    quiet: {
      'terway_webhook_certificate_expiry_timestamp_seconds{instance="a"}': always(9 * 86_400),
      'terway_webhook_certificate_expiry_timestamp_seconds{instance="without"}': always(0),
    },
  },
  TerwayWebhookErrors: shares('terway_webhook_requests_total', 'result="error"', 'result="patched"'),
  TerwayEscapedPods: { fires: { terway_escaped_pods: always(1) }, quiet: { terway_escaped_pods: late(0, 1, 4) } },
  TerwayReconcileErrors: shares(
    'terway_reconciles_total',
    'controller="node",result="error"',
    'controller="node",result="success"',
  ),
  TerwayEventLoopBlocked: {
    fires: {
      'nodejs_eventloop_lag_p99_seconds{job="t",instance="a"}': always(2),
      'terway_leader{job="t",instance="a"}': always(0),
    },
    quiet: {
      'nodejs_eventloop_lag_p99_seconds{job="other",instance="a"}': always(2),
      'terway_leader{job="t",instance="a"}': always(1),
    },
  },
  TerwayThrottled: {
    fires: { 'terway_cloud_throttles_total{action="a"}': counts(1) },
    quiet: { 'terway_cloud_throttles_total{action="a"}': always(7) },
  },
  TerwayQuotaUsedUp: {
    fires: { 'terway_cloud_calls_waiting{action="a"}': always(3) },
    quiet: { 'terway_cloud_calls_waiting{action="a"}': late(0, 9, 8) },
  },
  TerwayENICreationFailures: shares(
    'terway_cloud_calls_total',
    'action="CreateNetworkInterface",code="Forbidden.RAM"',
    'action="CreateNetworkInterface",code="OK"',
  ),
  TerwayCloudErrors: shares(
    'terway_cloud_calls_total',
    'action="DescribeVSwitches",code="InternalError"',
    'action="DescribeVSwitches",code="OK"',
  ),
  TerwayKubeErrors: shares('terway_kube_requests_total', 'code="0"', 'code="200"'),
  TerwayAgentNotServing: {
    fires: { 'terway_agent_ready{instance="n"}': always(0), 'terway_agent_ready{instance="m"}': always(1) },
    quiet: { 'terway_agent_ready{instance="n"}': late(1, 0, 4) },
  },
  TerwayCNIAddFailures: {
    fires: {
      'terway_agent_cni_requests_total{instance="n",command="ADD",code="11"}': counts(1),
      'terway_agent_cni_requests_total{instance="n",command="ADD",code="0"}': counts(2),
    },
    quiet: {
      'terway_agent_cni_requests_total{instance="n",command="DEL",code="11"}': counts(5),
      'terway_agent_cni_requests_total{instance="n",command="ADD",code="0"}': counts(2),
    },
  },
  TerwayUntaggedPacketsDropped: {
    fires: { 'terway_agent_trunk_packets_total{instance="n",verdict="droppedMissingTag"}': counts(3) },
    quiet: {
      'terway_agent_trunk_packets_total{instance="n",verdict="tagged"}': counts(3),
      'terway_agent_trunk_packets_total{instance="n",verdict="droppedMissingTag"}': always(3),
    },
  },
  TerwayAgentCannotRepair: {
    fires: { 'terway_agent_repairs_total{instance="n",kind="failed"}': counts(1) },
    quiet: { 'terway_agent_repairs_total{instance="n",kind="repaired"}': counts(1) },
  },
};
