{{- /* Values that a schema cannot hold against one another. */ -}}
{{- define "refuse" -}}
{{- $runs := .Values.runs -}}
{{- if ge (add $runs.backfillsAtMost $runs.healsAtMost) (int64 $runs.maxConcurrent) -}}
{{- fail (printf "runs.maxConcurrent is %d, and backfills (%d) and heals (%d) may take as many: leave a place for updates" (int $runs.maxConcurrent) (int $runs.backfillsAtMost) (int $runs.healsAtMost)) -}}
{{- end -}}
{{- $tls := .Values.postgresql.tls -}}
{{- if and (hasPrefix "verify" $tls.mode) (not $tls.ca.secret) -}}
{{- fail (printf "postgresql.tls.mode is %s, and postgresql.tls.ca.secret is empty: name the secret with the certificate" $tls.mode) -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.providers -}}
{{- if has .name $names -}}{{- fail (printf "providers names %s twice: give each a name of its own" .name) -}}{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
