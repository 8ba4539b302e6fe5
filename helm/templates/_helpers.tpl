{{- define "fullname" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "labels" -}}
{{ include "selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{- define "serviceAccount" -}}
{{- $account := index .root.Values.serviceAccounts .of -}}
{{- if $account.name -}}{{ $account.name }}
{{- else if .root.Values.serviceAccounts.create -}}{{ include "fullname" .root }}-{{ .of | kebabcase }}
{{- else -}}default{{- end -}}
{{- end -}}

{{- define "priorityClass" -}}
{{- $class := index .root.Values.priorityClasses .mode -}}
{{- if $class.name -}}{{ $class.name }}
{{- else if .root.Values.priorityClasses.create -}}{{ .root.Release.Namespace }}-{{ include "fullname" .root }}-{{ .mode }}
{{- end -}}
{{- end -}}

{{- define "podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "home" -}}/opt/dagster/dagster_home{{- end -}}
{{- define "postgresCa" -}}/etc/reformatters/postgres{{- end -}}

{{- /* Folders that Dagster writes to, and the certificate of Postgres. */ -}}
{{- define "volumes" -}}
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- with .Values.postgresql.tls.ca.secret }}
- {name: postgres-ca, secret: {secretName: {{ . | quote }}}}
{{- end }}
{{- end -}}

{{- define "volumeMounts" -}}
- {name: home, mountPath: {{ include "home" . }}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.postgresql.tls.ca.secret }}
- {name: postgres-ca, mountPath: {{ include "postgresCa" . }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "instanceVolume" -}}
- {name: instance, configMap: {name: {{ include "fullname" . }}-instance}}
{{- end -}}

{{- define "instanceMounts" -}}
- {name: instance, mountPath: {{ include "home" . }}/dagster.yaml, subPath: dagster.yaml, readOnly: true}
- {name: instance, mountPath: {{ include "home" . }}/workspace.yaml, subPath: workspace.yaml, readOnly: true}
{{- end -}}

{{- define "postgresEnv" -}}
- name: DAGSTER_PG_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .Values.postgresql.password.secret | quote }}, key: {{ .Values.postgresql.password.key | quote }}}}
{{- end -}}

{{- define "env" -}}
- {name: DAGSTER_HOME, value: {{ include "home" . }}}
{{ include "postgresEnv" . }}
{{- end -}}

{{- define "alertEnv" -}}
{{- with .Values.alerts.webhook }}{{ if .secret }}
- name: REFORMATTERS_ALERT_WEBHOOK
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}
{{- end }}{{ end }}
{{- with .Values.alerts.sentry }}{{ if .secret }}
- name: SENTRY_DSN
  valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}
{{- end }}{{ end }}
{{- end -}}

{{- define "settingsFrom" -}}
- configMapRef: {name: {{ include "fullname" . }}-settings}
{{- range .Values.settings.secrets }}
- secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- define "pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "providerModule" -}}
{{- .module | default (printf "dataset_defs.%s.definitions" .name) -}}
{{- end -}}

{{- /* The three probes of a server. In: how it is asked, and seconds: between questions, for an answer, to start. */ -}}
{{- define "probes" -}}
{{- $asked := printf "%s\ntimeoutSeconds: %d" .how .answer -}}
startupProbe:
  {{- $asked | nindent 2 }}
  periodSeconds: {{ .every }}
  failureThreshold: {{ div .start .every }}
{{- if .ready }}
readinessProbe:
  {{- $asked | nindent 2 }}
  periodSeconds: {{ .ready }}
{{- end }}
livenessProbe:
  {{- $asked | nindent 2 }}
  periodSeconds: {{ .alive }}
  failureThreshold: 6
{{- end -}}
