/**
 * Keys of `eni_conf` that this control plane or any version of Terway's daemon reads.
 */
const KNOWN = new Set([
  ...['version', 'region_id', 'prefix', 'service_cidr', 'ip_stack', 'ipam_type', 'resource_group_id'],
  ...['access_key', 'access_secret', 'credential_path', 'rate_limit', 'backoff_override'],
  ...['vswitches', 'vswitch_selection_policy', 'eni_selection_policy', 'security_group', 'security_groups'],
  ...['eni_tags', 'eni_tag_filter', 'eni_tag_block_list'],
  ...['max_pool_size', 'min_pool_size', 'ip_warm_up_size', 'ip_pool_sync_period'],
  ...[
    'idle_ip_reclaim_after',
    'idle_ip_reclaim_interval',
    'idle_ip_reclaim_batch_size',
    'idle_ip_reclaim_jitter_factor',
  ],
  ...['min_eni', 'max_eni', 'eni_cap_ratio', 'eni_cap_shift'],
  ...['enable_eni_trunking', 'enable_erdma', 'disable_device_plugin', 'enable_patch_pod_ips'],
  ...['enable_ip_prefix', 'ipv4_prefix_count', 'ipv6_prefix_count'],
  ...['custom_stateful_workload_kinds', 'extra_routes', 'kube_client_qps', 'kube_client_burst'],
]);

/** Unknown keys, sorted. They are not errors, because another version of the daemon may know them. */
export function unknownEniConfKeys(conf: Readonly<Record<string, unknown>>): string[] {
  return Object.keys(conf)
    .filter((key) => !KNOWN.has(key))
    .sort();
}
