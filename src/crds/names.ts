/** Names that upstream Terway defined; existing nodes, manifests and tools rely on them. */

export const ANNOTATION_TRUNK_ON = 'k8s.aliyun.com/trunk-on';
export const ANNOTATION_POD_NETWORKING = 'k8s.aliyun.com/pod-networking';
export const ANNOTATION_POD_ENI = 'k8s.aliyun.com/pod-eni';
export const ANNOTATION_POD_NETWORKS = 'k8s.aliyun.com/pod-networks';
export const ANNOTATION_POD_NETWORKS_REQUEST = 'k8s.aliyun.com/pod-networks-request';
export const ANNOTATION_POD_UID = 'k8s.aliyun.com/pod-uid';
/** Addresses of a pod's `eth0`, IPv4 first, separated by commas; Terway's Felix reads them before the pod's status has them. */
export const ANNOTATION_POD_IPS = 'k8s.aliyun.com/pod-ips';
export const ANNOTATION_INGRESS_BANDWIDTH = 'k8s.aliyun.com/ingress-bandwidth';
export const ANNOTATION_EGRESS_BANDWIDTH = 'k8s.aliyun.com/egress-bandwidth';
export const ANNOTATION_NETWORK_PRIORITY = 'k8s.aliyun.com/network-priority';
export const LABEL_NODE = 'k8s.aliyun.com/node';
/** On a namespace, with the value `false`: no PodNetworking selects its pods by selector. */
export const LABEL_POD_ENI = 'k8s.aliyun.com/pod-eni';
export const LABEL_IGNORE = 'k8s.aliyun.com/ignore-by-terway';
/** On a Kubernetes node: name of the ConfigMap whose `eni_conf` is merged over that of the cluster. */
export const LABEL_CONFIG = 'terway-config';
export const LABEL_EXCLUSIVE_MODE = 'k8s.aliyun.com/exclusive-mode-eni-type';
export const LABEL_LINGJUN = 'alibabacloud.com/lingjun-worker';
export const FINALIZER_POD_ENI = 'network.alibabacloud.com/pod-eni';
export const FINALIZER_POD_ENI_LEGACY = 'pod-eni';
export const FINALIZER_NETWORK_INTERFACE = 'network.alibabacloud.com/eni';
export const FINALIZER_NODE = 'network.alibabacloud.com/node-controller';
export const RESOURCE_MEMBER_ENI = 'aliyun/member-eni';
export const RESOURCE_ENI = 'aliyun/eni';
/** On a Kubernetes node: pods that its instance type has ENIs or addresses for. */
export const ANNOTATION_MAX_AVAILABLE_IP = 'k8s.aliyun.com/max-available-ip';
/** Of a Kubernetes node: it has an address for one more pod on shared ENIs, or can get one. */
export const CONDITION_SUFFICIENT_IP = 'SufficientIP';

// Our own names.
export const ANNOTATION_TRUNK_INTENT = 'terway.alibabacloud.com/trunk-intent';
/**
 * On a NodeRuntime, `true`: the node's agent also reports sandboxes of PodENIs, so that their release can wait for it.
 */
export const ANNOTATION_REPORTS_RELEASE = 'terway.alibabacloud.com/reports-release';
/**
 * On a NodeRuntime, the uid of the Node CR that the node's agent knew when it last reported all sandboxes of the node. No sandbox has got its
 * address from an earlier record since. Empty before it has for the first time.
 */
export const ANNOTATION_REPORTED_FOR = 'terway.alibabacloud.com/reported-for';

/** Tags on every ENI that the control plane creates; the first two are upstream's. */
export const TAG_CLUSTER = 'ack.aliyun.com';
export const TAG_CREATOR = 'creator';
export const TAG_CREATOR_VALUE = 'terway-controller';
/** Of ENIs that Terway's control plane makes for the pool of a node; on ACK they also carry the tag of the cluster. */
export const TAG_CREATOR_POOL = 'terway';
export const TAG_OWNER = 'terway.alibabacloud.com/owner';
export const TAG_OWNER_UID = 'terway.alibabacloud.com/owner-uid';
export const TAG_ATTEMPT = 'terway.alibabacloud.com/attempt';
/** On ENIs of ours that the pods of a node share. Their owner does not tell them from those of pods: a namespace may be called `node`. */
export const TAG_SHARED = 'terway.alibabacloud.com/shared';
