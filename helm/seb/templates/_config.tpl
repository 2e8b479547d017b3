{{/* The broker's configuration: docs/configuration.md. */}}
{{- define "seb.brokerConfig" -}}
{{- $td := .Values.trustDomain -}}
[identity]
source = "workload-api"
socket = {{ printf "unix:/spiffe-workload-api/%s" .Values.spire.socket | quote }}

[execution]
issuer = {{ .Values.spire.issuer | quote }}
server_address = {{ .Values.spire.server | quote }}
server_id = {{ printf "spiffe://%s%s" $td .Values.spire.serverPath | quote }}

[grpc]
listen = {{ printf "0.0.0.0:%d" (int .Values.broker.port) | quote }}

[http]
listen = {{ printf "0.0.0.0:%d" (int .Values.broker.httpPort) | quote }}

[store]
path = "/var/lib/seb/store/broker.db"
record_key = "/var/lib/seb/record-key.pem"

[[authorities]]
id = {{ include "seb.sabId" . | quote }}
address = {{ include "seb.sabAddress" . | quote }}

[[targets]]
name = {{ .Values.cluster.target | quote }}
kind = "kubernetes"
address = {{ .Values.cluster.apiServer | quote }}
ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
exchange = {{ .Values.cluster.exchange | quote }}
audience = {{ .Values.cluster.audience | quote }}
{{- if include "seb.rehearses" . }}
dry_run = true
{{- end }}
{{- if include "seb.executors" . }}
{{- range $target := .Values.targets }}

[[targets.executors]]
service_account = {{ printf "%s/%s" $.Release.Namespace (include "seb.executor" (dict "root" $ "target" $target)) | quote }}
{{- if include "seb.rehearsers" $ }}
rehearser = {{ printf "%s/%s" $.Release.Namespace (include "seb.rehearser" (dict "root" $ "target" $target)) | quote }}
{{- end }}
verbs = {{ toJson $target.verbs }}
{{ include "seb.patterns" (dict "target" $target) }}
{{- end }}
{{- end }}

[roles]
agents = {{ toJson .Values.broker.agents }}
auditors = {{ toJson .Values.broker.auditors }}
operators = {{ toJson .Values.broker.operators }}

[ceilings]
file = "ceilings.toml"

[log]
format = "json"
{{- with .Values.broker.config }}

{{ . | trim }}
{{- end }}
{{- end }}

{{/* The broker's ceilings; those made from the targets allow what they list, with any value in the body. */}}
{{- define "seb.ceilings" -}}
{{- if .Values.broker.ceilings -}}
{{ .Values.broker.ceilings | trim }}
{{- else -}}
[knowledge]
boundary = {{ .Values.broker.boundary | quote }}

[authorities.{{ include "seb.sabId" . | quote }}]
targets = [{{ .Values.cluster.target | quote }}]

[targets.{{ .Values.cluster.target | quote }}]
kind = "kubernetes"
{{- range $target := .Values.targets }}

[[targets.{{ $.Values.cluster.target | quote }}.rules]]
verbs = {{ toJson $target.verbs }}
{{ include "seb.patterns" (dict "target" $target) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The authority's configuration: docs/configuration.md. */}}
{{- define "seb.sabConfig" -}}
[identity]
source = "workload-api"
socket = {{ printf "unix:/spiffe-workload-api/%s" .Values.spire.socket | quote }}

[authority]
folder = "/etc/sab-authority"

[grpc]
listen = {{ printf "0.0.0.0:%d" (int .Values.sab.port) | quote }}

[http]
listen = {{ printf "0.0.0.0:%d" (int .Values.sab.httpPort) | quote }}

[store]
records = "/var/lib/sab/store/records.db"
ledger = "/var/lib/sab/store/ledger.db"
record_key = "/var/lib/sab/record-key.pem"

[policies]
folder = "/etc/sab-policies"

[[targets]]
name = {{ .Values.cluster.target | quote }}
kind = "kubernetes"
address = {{ .Values.cluster.apiServer | quote }}
ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
broker = {{ include "seb.brokerId" . | quote }}

[epochs]
brokers = [{{ include "seb.brokerId" . | quote }}]

[roles]
agents = {{ toJson .Values.sab.agents }}
operators = {{ toJson .Values.sab.operators }}

[log]
format = "json"
{{- with .Values.sab.config }}

{{ . | trim }}
{{- end }}
{{- end }}
