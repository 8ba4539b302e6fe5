{{- define "settings" -}}
{{- with .Values.settings -}}
REFORMATTERS_STORE: {{ required "settings.store is empty: name the bucket of the stores, such as s3://bucket" .store | quote }}
{{- with .replicas }}
REFORMATTERS_REPLICAS: {{ join "," . | quote }}
{{- end }}
{{- with .upstream }}
REFORMATTERS_UPSTREAM: {{ . | quote }}
{{- end }}
{{- with .start }}
REFORMATTERS_START: {{ . | quote }}
{{- end }}
{{- with .owners }}
REFORMATTERS_OWNERS: {{ join "," . | quote }}
{{- end }}
{{- with .codeUrl }}
REFORMATTERS_CODE_URL: {{ . | quote }}
{{- end }}
REFORMATTERS_VALIDATE: {{ $.Values.schedules.validate | quote }}
REFORMATTERS_TMP: {{ $.Values.scratch.path | quote }}
{{- with $.Values.scratch.storageClass }}
REFORMATTERS_SCRATCH_CLASS: {{ . | quote }}
{{- end }}
REFORMATTERS_PODS: {{ include "podsByMode" $ | quote }}
{{- range $name, $value := .env }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}
{{- end -}}
