{{/* A value as text: whole numbers in full, which Helm would write as 1.073741824e+09. */}}
{{- define "optim-service.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* The names by which clients in the cluster, and of the route, ask for the service. */}}
{{- define "optim-service.hosts" -}}
{{- $name := include "optim-service.fullname" . -}}
{{- $inside := printf "%s.%s" $name .Release.Namespace -}}
{{- $hosts := list $name $inside (printf "%s.svc" $inside) (printf "%s.svc.cluster.local" $inside) -}}
{{- if .Values.route.enabled -}}{{- $hosts = concat $hosts .Values.route.hostnames -}}{{- end -}}
{{- join "," $hosts -}}
{{- end -}}

{{/* The container's environment. */}}
{{- define "optim-service.environment" -}}
- name: OPTIM_STORE
  {{- if eq .Values.store.kind "lmdb" }}
  value: lmdb:/data/store
  {{- else if .Values.store.urlSecret.name }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.store.urlSecret.name }}
      key: {{ .Values.store.urlSecret.key }}
  {{- else }}
  value: {{ .Values.store.url | quote }}
  {{- end }}
{{- if .Values.apiKeys.insecure }}
- name: OPTIM_INSECURE
  value: "true"
{{- if not (hasKey .Values.settings "allowed_hosts") }}
- name: OPTIM_ALLOWED_HOSTS
  value: {{ include "optim-service.hosts" . | quote }}
{{- end }}
{{- else }}
- name: OPTIM_API_KEYS_FILE
  value: /etc/optim/keys/keys.json
{{- end }}
{{- if not (hasKey .Values.settings "compute_threads") }}
- name: OPTIM_COMPUTE_THREADS
  valueFrom:
    resourceFieldRef:
      containerName: optim
      resource: requests.cpu
      divisor: "1"
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ printf "OPTIM_%s" (upper $name) }}
  value: {{ include "optim-service.text" $value | quote }}
{{- end }}
- name: NUMBA_CACHE_DIR  # kernels for processors of another kind than the one that built the image
  value: /tmp/numba
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
