// Kubernetes' own e2e suite, which is built as a test by ../programs.ts.
package tools

import _ "k8s.io/kubernetes/test/e2e"
