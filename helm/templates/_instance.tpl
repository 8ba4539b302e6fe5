{{- define "storageYaml" -}}
storage:
  postgres:
    postgres_db:
      hostname: {{ required "postgresql.host is empty: name the host of a Postgres that stands" .Values.postgresql.host | quote }}
      port: {{ int .Values.postgresql.port }}
      username: {{ .Values.postgresql.username | quote }}
      password: {env: DAGSTER_PG_PASSWORD}
      db_name: {{ .Values.postgresql.database | quote }}
      params:
        sslmode: {{ .Values.postgresql.tls.mode }}
        {{- if .Values.postgresql.tls.ca.secret }}
        sslrootcert: {{ include "postgresCa" . }}/{{ .Values.postgresql.tls.ca.key }}
        {{- end }}
        {{- range $name, $value := .Values.postgresql.params }}
        {{ $name }}: {{ $value | quote }}
        {{- end }}
telemetry: {enabled: false}
{{- end -}}

{{- define "launcherYaml" -}}
job_namespace: {{ .Release.Namespace }}
service_account_name: {{ include "serviceAccount" (dict "root" . "of" "runs") }}
instance_config_map: {{ include "fullname" . }}-instance
dagster_home: {{ include "home" . }}
image_pull_policy: {{ .Values.image.pullPolicy }}
{{- with .Values.imagePullSecrets }}
image_pull_secrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
env_config_maps: [{{ include "fullname" . }}-settings]
{{- with .Values.settings.secrets }}
env_secrets: {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  app.kubernetes.io/name: {{ .Chart.Name }}
  app.kubernetes.io/instance: {{ .Release.Name }}
  {{- with .Values.runs.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources: {{- toYaml .Values.runs.resources | nindent 2 }}
fail_pod_on_run_failure: true
refusal_patience_seconds: {{ int .Values.runs.refusalPatienceSeconds }}
more_memory_after_oom: {{ .Values.runs.moreMemoryAfterOom }}
run_k8s_config:
  container_config:
    security_context: {{- include "containerSecurity" . | nindent 6 }}
    env: {{- include "postgresEnv" . | nindent 6 }}
    volume_mounts: {{- include "volumeMounts" . | nindent 6 }}
  pod_spec_config:
    security_context: {{- include "podSecurity" . | nindent 6 }}
    termination_grace_period_seconds: {{ int .Values.runs.terminationGracePeriodSeconds }}
    volumes: {{- include "volumes" . | nindent 6 }}
    {{- with .Values.runs.nodeSelector }}
    node_selector: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .Values.runs.tolerations }}
    tolerations: {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- with .Values.runs.annotations }}
  pod_template_spec_metadata:
    annotations: {{- toYaml . | nindent 6 }}
  {{- end }}
  job_spec_config:
    ttl_seconds_after_finished: {{ int .Values.runs.ttlSecondsAfterFinished }}
    {{- with .Values.runs.podReplacementPolicy }}
    pod_replacement_policy: {{ . }}
    {{- end }}
{{- end -}}

{{- define "dagsterYaml" -}}
{{- include "refuse" . -}}
{{ include "storageYaml" . }}
{{- with .Values.computeLogs }}{{ if .url }}
compute_logs:
  module: reformatters_dagster.orchestration.compute_logs
  class: ObjectStoreComputeLogManager
  config: {url: {{ .url | quote }}, upload_interval: {{ int .uploadSeconds }}}
{{- end }}{{ end }}
run_coordinator:
  module: reformatters_dagster.orchestration.run_coordinator
  class: DatasetRunCoordinator
  config:
    max_concurrent_runs: {{ int .Values.runs.maxConcurrent }}
    tag_concurrency_limits:
      - {key: reformatters/exclusive, value: {applyLimitPerUniqueValue: true}, limit: 1}
      - {key: dagster/backfill, limit: {{ int .Values.runs.backfillsAtMost }}}
      - {key: reformatters/mode, value: heal, limit: {{ int .Values.runs.healsAtMost }}}
run_launcher:
  module: reformatters_dagster.orchestration.run_launcher
  class: DatasetK8sRunLauncher
  config: {{- include "launcherYaml" . | nindent 4 }}
run_monitoring:
  enabled: true
  start_timeout_seconds: {{ int .Values.runs.startTimeoutSeconds }}
  cancel_timeout_seconds: {{ int .Values.runs.cancelTimeoutSeconds }}
  max_runtime_seconds: {{ int .Values.runs.maxRuntimeSeconds }}
  max_resume_run_attempts: 0
  poll_interval_seconds: {{ int .Values.runs.pollIntervalSeconds }}
run_retries: {enabled: true, max_retries: {{ int .Values.runs.maxRetries }}, retry_on_asset_or_op_failure: false}
sensors: {use_threads: true, num_workers: {{ int .Values.daemon.sensorThreads }}}
python_logs:
  python_log_level: INFO
  managed_python_loggers: [reformatters_dagster]
retention:
  sensor:
    purge_after_days: {{- toYaml .Values.retention.sensorTicks | nindent 6 }}
  schedule:
    purge_after_days: {{- toYaml .Values.retention.scheduleTicks | nindent 6 }}
{{- end -}}

{{- define "workspaceYaml" -}}
load_from:
{{- range .Values.providers }}
  - grpc_server:
      host: {{ include "fullname" $ }}-code-{{ .name }}
      port: 3030
      location_name: {{ include "providerModule" . }}
{{- end }}
{{- end -}}

{{- define "podsByMode" -}}
{{- $modes := dict -}}
{{- range $mode, $placed := .Values.runs.byMode -}}
{{- $spec := dict -}}
{{- with include "priorityClass" (dict "root" $ "mode" $mode) }}{{ $_ := set $spec "priority_class_name" . }}{{ end -}}
{{- with $placed.nodeSelector }}{{ $_ := set $spec "node_selector" . }}{{ end -}}
{{- with $placed.tolerations }}{{ $_ := set $spec "tolerations" . }}{{ end -}}
{{- if $spec }}{{ $_ := set $modes $mode $spec }}{{ end -}}
{{- end -}}
{{- $modes | toJson -}}
{{- end -}}
