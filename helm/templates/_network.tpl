{{- define "ports" }}
{{- range . }}
- {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- end }}

{{- /* Pods of this release with one of some components. */ -}}
{{- define "podsOf" -}}
matchLabels:
  app.kubernetes.io/name: {{ .root.Chart.Name }}
  app.kubernetes.io/instance: {{ .root.Release.Name }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [{{ join ", " .components }}]}
{{- end -}}

{{- /* One policy. In: its name and its components; whether they talk to the web, to Kubernetes and to code servers; and who may
talk to them, at a port. Names are looked up, and Postgres is asked, by all. */ -}}
{{- define "networkPolicy" }}
{{- $policies := .root.Values.networkPolicies }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "fullname" .root }}-{{ .name }}
  labels: {{- include "labels" (dict "root" .root "component" .name) | nindent 4 }}
spec:
  podSelector: {{- include "podsOf" . | nindent 4 }}
  policyTypes: [Ingress, Egress]
  {{- if .from }}
  ingress:
    - ports: [{protocol: TCP, port: {{ .port }}}]
      from: {{- .from | nindent 8 }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - ports:
        {{- range $policies.dnsPorts }}
        - {protocol: UDP, port: {{ int . }}}
        - {protocol: TCP, port: {{ int . }}}
        {{- end }}
    - ports: {{- include "ports" (list .root.Values.postgresql.port) | nindent 8 }}
    {{- if .web }}
    - ports: {{- include "ports" $policies.webPorts | nindent 8 }}
    {{- end }}
    {{- if .kubernetes }}
    - ports: {{- include "ports" $policies.kubernetesPorts | nindent 8 }}
    {{- end }}
    {{- if .code }}
    - ports: [{protocol: TCP, port: 3030}]
      to:
        - podSelector: {{- include "podsOf" (dict "root" .root "components" .code) | nindent 12 }}
    {{- end }}
{{- end }}
