{{- define "terway.name" -}}
{{ .Values.fullnameOverride | default "terway-controlplane" }}
{{- end }}

{{- define "terway.agentName" -}}
{{ .Values.fullnameOverride | default "terway" | trimSuffix "-controlplane" }}-agent
{{- end }}

{{- define "terway.operatorName" -}}
{{ .Values.fullnameOverride | default "terway" | trimSuffix "-controlplane" }}-operator
{{- end }}

{{/* Selectors use one label only, because the others may change between releases. */}}
{{- define "terway.selector" -}}
app.kubernetes.io/name: {{ . }}
{{- end }}

{{- define "terway.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/part-of: terway-controlplane
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "terway.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Keys that the chart must control come last, so they win. */}}
{{- define "terway.config" -}}
{{- $known := dict "controllerName" (include "terway.name" .) "controllerNamespace" .Release.Namespace -}}
{{- $webhook := dict "enabled" .Values.webhook.enabled "port" (.Values.webhook.port | int) -}}
{{- if .Values.webhook.certManager.enabled -}}{{- $_ := set $webhook "certificates" "secret" -}}{{- end -}}
{{- $given := .Values.controlPlane.config -}}
{{- $_ := set $known "webhook" (merge $webhook (dig "webhook" dict $given)) -}}
{{ merge $known $given | toYaml }}
{{- end }}

{{- define "terway.credentialSecret" -}}
{{ .Values.controlPlane.credential.existingSecret | default (printf "%s-credential" (include "terway.name" .)) }}
{{- end }}

{{/* The agent's configuration; it serves metrics when a PodMonitor is to scrape them. */}}
{{- define "terway.agentConfig" -}}
{{- $given := .Values.agent.config -}}
{{- with .Values.metrics.podMonitor -}}
{{- if .enabled -}}
{{- if eq (toString $given.metricsBindAddress) "0" -}}
{{- fail "metrics.podMonitor.enabled: true, but agent.config.metricsBindAddress \"0\" turns off what it scrapes; leave one of them out" -}}
{{- end -}}
{{- $given = merge dict $given (dict "metricsBindAddress" (printf "0.0.0.0:%d" (int .port))) -}}
{{- end -}}
{{- end -}}
{{ toYaml $given }}
{{- end }}

{{/* Port number of an address such as 0.0.0.0:8080; 0 when it is disabled. */}}
{{- define "terway.port" -}}
{{ . | splitList ":" | last }}
{{- end }}

{{- define "terway.healthPort" -}}
{{ include "terway.port" (.Values.controlPlane.config.healthzBindAddress | default "0.0.0.0:8080") }}
{{- end }}

{{- define "terway.metricsPort" -}}
{{ include "terway.port" (.Values.controlPlane.config.metricsBindAddress | default "0.0.0.0:9090") }}
{{- end }}

{{/* The agent's address as seen from its node. */}}
{{- define "terway.agentHost" -}}
{{- $host := . | trimSuffix (include "terway.port" .) | trimSuffix ":" | trimAll "[]" -}}
{{ if has $host (list "" "0.0.0.0" "::") }}127.0.0.1{{ else if contains ":" $host }}{{ $host | quote }}{{ else }}{{ $host }}{{ end }}
{{- end }}

{{/* Common part of both webhooks for pods. */}}
{{- define "terway.podWebhook" }}
    admissionReviewVersions: [v1, v1beta1]
    # Another webhook may add containers.
    reinvocationPolicy: IfNeeded
    sideEffects: None
    timeoutSeconds: {{ .webhook.timeoutSeconds }}
    clientConfig: { service: { name: {{ .name }}, namespace: {{ .namespace }}, path: /mutating, port: 443 } }
    rules:
      - { apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods], scope: Namespaced }
    # Skips pods that no PodNetworking can select, including the control plane's own.
    matchConditions:
      - name: has-a-network-of-its-own
        expression: "!(has(object.spec.hostNetwork) && object.spec.hostNetwork)"
      - name: is-not-ignored
        expression: "!(has(object.metadata.labels) && 'k8s.aliyun.com/ignore-by-terway' in object.metadata.labels && object.metadata.labels['k8s.aliyun.com/ignore-by-terway'] == 'true')"
{{- end }}
