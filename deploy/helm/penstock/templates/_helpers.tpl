{{- define "penstock.fullname" -}}
{{- if contains "penstock" .Release.Name -}}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{- else -}}{{ printf "%s-penstock" .Release.Name | trunc 50 | trimSuffix "-" }}{{- end -}}
{{- end }}

{{/* Selector labels of a part: (list $ "gateway") */}}
{{- define "penstock.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: penstock
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "penstock.labels" -}}
{{- $root := index . 0 -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "penstock.image" -}}
{{- $root := index . 0 -}}
{{- $digest := index $root.Values.image.digests (index . 1) -}}
{{ $root.Values.image.repository }}/{{ index . 1 }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What Pod Security "restricted" requires of a pod and of a container. */}}
{{- define "penstock.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "penstock.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "penstock.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "penstock.scrapeAnnotations" -}}
{{- if (index . 0).Values.monitoring.annotations }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ index . 1 | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{/* Prefers one pod per node, then any node with room: (list $ "gateway") */}}
{{- define "penstock.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "penstock.selector" . | nindent 8 }}
{{- end }}

{{- define "penstock.registryUrl" -}}
http://{{ include "penstock.fullname" . }}-registry:8081
{{- end }}

{{- define "penstock.tokensSecret" -}}
{{ .Values.auth.existingTokensSecret | default (printf "%s-registry-tokens" (include "penstock.fullname" .)) }}
{{- end }}

{{/* The environment variable, the volume and the mount of a pod that gets one token of the registry. */}}
{{- define "penstock.tokenFileEnv" -}}
- {name: {{ . }}, value: /registry-token/token}
{{- end }}

{{/* (list $ "read") */}}
{{- define "penstock.tokenVolume" -}}
- name: registry-token
  secret: {secretName: {{ include "penstock.tokensSecret" (index . 0) }}, defaultMode: 0440, items: [{key: {{ index . 1 }}, path: token}]}
{{- end }}

{{- define "penstock.tokenMount" -}}
- {name: registry-token, mountPath: /registry-token, readOnly: true}
{{- end }}

{{/* The Secret with the first API key; empty if the keys come from elsewhere and nobody has named a key. */}}
{{- define "penstock.keySecret" -}}
{{- if .Values.auth.existingKeySecret -}}
{{ .Values.auth.existingKeySecret }}
{{- else if not (or .Values.auth.existingKeysSecret .Values.auth.postgresqlSecret) -}}
{{ include "penstock.fullname" . }}-first-key
{{- end -}}
{{- end }}

{{- define "penstock.keysSecret" -}}
{{ .Values.auth.existingKeysSecret | default (printf "%s-keys" (include "penstock.fullname" .)) }}
{{- end }}

{{/* Before the other objects, in the order of the weight; gone afterwards, unless they failed. */}}
{{- define "penstock.secretsHook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- define "penstock.tracingEnv" -}}
{{- with .Values.tracing.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* A pool's values over poolDefaults, as YAML: (list $ "inference") */}}
{{- define "penstock.pool" -}}
{{- $root := index . 0 -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.poolDefaults) (index $root.Values.pools (index . 1) | default dict)) -}}
{{- end }}

{{/* How long a gateway waits for its own answer: longer than the longest request. */}}
{{- define "penstock.answerSeconds" -}}
{{- max 60 (add (ceil .Values.gateway.timeoutSeconds) 10) -}}
{{- end }}

{{/* How long a gateway or a pod that shuts down waits for what is under way once it takes nothing new. */}}
{{- define "penstock.graceSeconds" -}}
{{- max (ceil .Values.gateway.timeoutSeconds) (ceil .Values.gateway.streamGraceSeconds) -}}
{{- end }}

{{- define "penstock.seconds" -}}
{{- trimSuffix "s" . | float64 -}}
{{- end }}

{{/* Pieces of NetworkPolicies. */}}
{{- define "penstock.dns" }}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  to: {{- toYaml .Values.networkPolicies.dns | nindent 4 }}
{{- end }}

{{- define "penstock.scrapers" }}
- from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ (index . 0).Values.monitoring.namespace }}}}
  ports: [{{ range $i, $port := index . 1 }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
{{- end }}

{{- define "penstock.toStore" }}
{{- if .Values.store.url }}
- ports: [{{ range $i, $port := .Values.store.ports }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
  {{- with .Values.store.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "penstock.toFiles" }}
{{- with .Values.gateway.files }}
{{- if .url }}
- ports: [{{ range $i, $port := .ports }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
  {{- with .to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "penstock.toRemotes" }}
{{- $ports := .Values.gateway.remotes.ports }}
{{- range .Values.gateway.remotes.models }}
{{- $url := .url | default "" }}
{{- $port := regexFind ":[0-9]+$" (urlParse $url).host | trimPrefix ":" }}
{{- $ports = append $ports (int ($port | default (ternary 443 80 (hasPrefix "https:" $url)))) }}
{{- end }}
{{- if .Values.gateway.remotes.models }}
- ports: [{{ range $i, $port := $ports | uniq }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
  {{- with .Values.gateway.remotes.to }}
  to: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The port of tracing.endpoint; checks.yaml refuses an endpoint without one. */}}
{{- define "penstock.collectorPort" -}}
{{- regexFind ":[0-9]+(/|$)" .Values.tracing.endpoint | trimPrefix ":" | trimSuffix "/" -}}
{{- end }}

{{- define "penstock.toCollector" }}
{{- if .Values.tracing.endpoint }}
- ports: [{port: {{ include "penstock.collectorPort" . }}}]
{{- end }}
{{- end }}

{{- define "penstock.toRegistry" }}
- to:
    - podSelector: {matchLabels: {{ include "penstock.selector" (list . "registry") | fromYaml | toJson }}}
  ports: [{port: 8081}]
{{- end }}

{{- define "penstock.exampleSpec" -}}
serviceAccountName: {{ include "penstock.fullname" . }}-example
{{ include "penstock.podSecurity" . }}
{{- include "penstock.pullSecrets" . }}
restartPolicy: OnFailure
containers:
  {{- range .Values.example.models }}
  - name: {{ . }}
    image: {{ include "penstock.image" (list $ "training") }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    {{- include "penstock.containerSecurity" $ | nindent 4 }}
    args: [{{ . }}, --registry-url, {{ include "penstock.registryUrl" $ }}, --if-missing]
    env:
      - {name: OMP_NUM_THREADS, value: "1"}
      {{- include "penstock.tokenFileEnv" "PENSTOCK_REGISTRY_TOKEN_FILE" | nindent 6 }}
    resources: {{- toYaml $.Values.example.resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- include "penstock.tokenMount" $ | nindent 6 }}
  {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
  {{- include "penstock.tokenVolume" (list $ "train") | nindent 2 }}
{{- end }}

{{/* Names of the pools whose pods are the chart's own, as JSON. */}}
{{- define "penstock.ownPools" -}}
{{- $own := list }}
{{- range $pool, $_ := .Values.pools }}
{{- if not (include "penstock.pool" (list $ $pool) | fromYaml).address }}
{{- $own = append $own $pool }}
{{- end }}
{{- end }}
{{- toJson $own }}
{{- end }}
