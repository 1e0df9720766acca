import type { SpecSelection } from './suite.ts';

const EXCLUDED = ['\\[Serial\\]', '\\[Slow\\]', 'Disruptive'];

/** Specs that never run: they need a cluster to themselves or take very long. */
export const NOT_RUN = new RegExp(EXCLUDED.join('|'));

/** All network specs that a conformant cluster must pass. */
export const CONFORMANCE: SpecSelection = {
  focus: [
    '\\[sig-network\\].*\\[Conformance\\]',
    'AdmissionWebhook.*should be able to deny pod and configmap creation',
  ],
  skip: EXCLUDED,
};

/** Further specs that matter for a network plugin. */
export const ADDITIONAL: SpecSelection = {
  focus: [
    '\\[sig-network\\] HostPort',
    '\\[sig-network\\] Services.*(NodePort|session affinity|[Tt]rafficPolicy|source pod IP|ExternalIP)',
    '\\[sig-network\\] \\[Feature:IPv6DualStack\\]',
    '\\[sig-network\\] Networking Granular Checks: Services',
  ],
  // A load balancer would need a cloud provider; this kernel has no SCTP.
  skip: ['\\[Conformance\\]', 'LoadBalancer', 'SCTP', ...EXCLUDED],
};

/** A few minutes' worth of both, for `make test`: each kind of path once. */
export const SAMPLE: SpecSelection = {
  focus: [
    'DNS should provide DNS for services',
    'Proxy version v1 should proxy through a service and a pod',
    'Services should be able to create a functioning NodePort service',
    'Services should serve a basic endpoint from pods',
    'Networking Granular Checks: Pods should function for intra-pod communication: http',
    'HostPort validates that there is no conflict',
    'AdmissionWebhook.*should be able to deny pod and configmap creation',
    'should support externalTrafficPolicy=Local for type=NodePort',
    'Secondary IP Family.*should be able to handle large requests: http',
  ],
  // Some patterns also match a spec for Windows, which would skip itself.
  skip: ['\\[sig-windows\\]', ...EXCLUDED],
};
