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

{{/*
All pools by name, as YAML: each one's values over poolDefaults. A service has the pool of its name, whose models no
other pool serves.
*/}}
{{- define "penstock.pools" -}}
{{- $needs := .Files.Get "files/services.yaml" | fromYaml }}
{{- $pools := dict }}
{{- range $name, $own := .Values.pools }}
{{- $_ := set $pools $name (mergeOverwrite (deepCopy $.Values.poolDefaults) ($own | default dict)) }}
{{- end }}
{{- range $service := .Values.services }}
{{- $own := index ($.Values.pools | default dict) $service | default dict }}
{{- $pool := mergeOverwrite (deepCopy $.Values.poolDefaults) (dict "models" (list $service) "resources" (index $needs $service).resources) $own }}
{{- range $name, $other := $pools }}
{{- if and $other.models (not (has $name $.Values.services)) }}
{{- range $pool.models }}
{{- if not (hasPrefix "!" .) }}
{{- $_ := set $other "models" (append $other.models (printf "!%s" .)) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- $_ := set $pools $service $pool }}
{{- end }}
{{- toYaml $pools }}
{{- end }}

{{/* (list $ "inference") */}}
{{- define "penstock.pool" -}}
{{- index (include "penstock.pools" (index . 0) | fromYaml) (index . 1) | toYaml -}}
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
{{- $remotes := .Values.gateway.remotes | default dict }}
{{- $ports := $remotes.ports | default list }}
{{- range $remotes.models }}
{{- $url := .url | default "" }}
{{- $port := regexFind ":[0-9]+$" (urlParse $url).host | trimPrefix ":" }}
{{- $ports = append $ports (int ($port | default (ternary 443 80 (hasPrefix "https:" $url)))) }}
{{- end }}
{{- if $remotes.models }}
- ports: [{{ range $i, $port := $ports | uniq }}{{ if $i }}, {{ end }}{port: {{ $port }}}{{ end }}]
  {{- with $remotes.to }}
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

{{/* Whether a Job can ask the gateway if a model answers: over HTTP, with a key. */}}
{{- define "penstock.canAsk" -}}
{{- if not .Values.gateway.tls.enabled }}{{ include "penstock.keySecret" . }}{{ end -}}
{{- end }}

{{/* (list $ "chat") */}}
{{- define "penstock.serviceSpec" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "penstock.fullname" $root }}-services
{{ include "penstock.podSecurity" $root }}
{{- include "penstock.pullSecrets" $root }}
restartPolicy: Never # each attempt keeps its log
containers:
  - name: {{ index . 1 }}
    image: {{ include "penstock.image" (list $root "services") }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    {{- include "penstock.containerSecurity" $root | nindent 4 }}
    # --json, because the call that it prints otherwise is one of an installation on the same machine.
    args: [add, {{ index . 1 }}, --if-missing, --json, --timeout=600{{ if not (include "penstock.canAsk" $root) }}, --no-wait{{ end }}]
    env:
      - {name: LOGNAME, value: {{ printf "helm/%s" $root.Release.Name }}} # the registry's log says who registered a model
      - {name: PENSTOCK_REGISTRY_URL, value: {{ include "penstock.registryUrl" $root }}}
      {{- include "penstock.tokenFileEnv" "PENSTOCK_REGISTRY_TOKEN_FILE" | nindent 6 }}
      {{- with include "penstock.canAsk" $root }}
      - {name: PENSTOCK_URL, value: "http://{{ include "penstock.fullname" $root }}:{{ $root.Values.service.port }}"}
      - name: PENSTOCK_KEY
        valueFrom: {secretKeyRef: {name: {{ . }}, key: key}}
      {{- end }}
    resources: {{- toYaml (($root.Values.serviceJobs).resources | default dict) | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- include "penstock.tokenMount" $root | nindent 6 }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 4Gi}
  {{- include "penstock.tokenVolume" (list $root "train") | nindent 2 }}
{{- end }}

{{/* Names of the pools whose pods are the chart's own, as JSON. */}}
{{- define "penstock.ownPools" -}}
{{- $own := list }}
{{- range $pool, $p := include "penstock.pools" . | fromYaml }}
{{- if not $p.address }}
{{- $own = append $own $pool }}
{{- end }}
{{- end }}
{{- toJson $own }}
{{- end }}
