{{/* The prefix of every name: that of the release, with `seb` in it. */}}
{{- define "seb.fullname" -}}
{{- if contains "seb" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-seb" .Release.Name }}{{ end -}}
{{- end }}

{{- define "seb.labels" -}}
app.kubernetes.io/name: seb
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: seb
{{- end }}

{{/* What a pod of a component is selected by: (dict "root" $ "component" NAME). */}}
{{- define "seb.selector" -}}
app.kubernetes.io/name: seb
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "seb.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest }}{{ printf "%s@%s" $image.repository $image.digest }}
{{- else }}{{ printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) }}{{ end -}}
{{- end }}

{{- define "seb.brokerId" -}}spiffe://{{ .Values.trustDomain }}{{ .Values.broker.path }}{{- end }}

{{/* Whether who rehearses is held to dry runs: by the policies, where these refuse. */}}
{{- define "seb.rehearses" -}}
{{- if and .Values.cluster.dryRun .Values.boundary.enabled (eq .Values.boundary.mode "deny") }}true{{ end -}}
{{- end }}

{{/* Whether service accounts rehearse, since no execution identity reaches the API server: an empty text if not. */}}
{{- define "seb.rehearsers" -}}
{{- if and (include "seb.rehearses" .) (not (include "seb.structured" .)) }}yes{{ end -}}
{{- end }}

{{- define "seb.sabId" -}}spiffe://{{ .Values.trustDomain }}{{ .Values.sab.path }}{{- end }}

{{- define "seb.sabAddress" -}}
{{- if .Values.sab.enabled }}{{ printf "%s-sab.%s.svc:%d" (include "seb.fullname" .) .Release.Namespace (int .Values.sab.port) }}
{{- else }}{{ required "`sab.address`: name the authority, since `sab.enabled` is false" .Values.sab.address }}{{ end -}}
{{- end }}

{{/* Whether executors are service accounts: an empty text if not. */}}
{{- define "seb.executors" -}}
{{- if ne .Values.cluster.exchange "jwt-svid" }}yes{{ end -}}
{{- end }}

{{/* What is named after a target: the role of its executions, and their service account: (dict "root" $ "target" TARGET). */}}
{{- define "seb.executor" -}}
{{- printf "%s-executor-%s" (include "seb.fullname" .root) .target.name -}}
{{- end }}

{{/* The service account that rehearses the calls of a target: (dict "root" $ "target" TARGET). */}}
{{- define "seb.rehearser" -}}
{{- printf "%s-rehearser-%s" (include "seb.fullname" .root) .target.name -}}
{{- end }}

{{/* The resources of a target as patterns of the broker's configuration: (dict "target" TARGET). */}}
{{- define "seb.patterns" -}}
{{- $target := .target -}}
resources = [
  {{- range $resource := $target.resources }}
  {{- $parts := splitList "/" $resource }}
  {{- $sub := rest $parts | join "/" }}
  {{- range $name := default (list "*") $target.names }}
  "{{ default "core" $target.group }}/{{ $target.version }}/{{ with $target.namespace }}namespaces/{{ . }}/{{ end }}{{ first $parts }}/{{ $name }}{{ with $sub }}/{{ . }}{{ end }}",
  {{- end }}
  {{- end }}
]
{{- end }}

{{/* Whether a policy of its own says which Secrets execution identities make: an empty text if not. */}}
{{- define "seb.endings" -}}
{{- if and (eq .Values.cluster.exchange "projected-token") .Values.boundary.guardTokens }}yes{{ end -}}
{{- end }}

{{/* Whether identities of SPIRE reach the API server: an empty text if not. */}}
{{- define "seb.structured" -}}
{{- if ne .Values.cluster.exchange "service-account" }}yes{{ end -}}
{{- end }}

{{/* What lists and paths can hold only once, and what a schema cannot say. */}}
{{- define "seb.check" -}}
{{- $names := list -}}
{{- range concat .Values.targets .Values.protect -}}
  {{- if has .name $names }}{{ fail (printf "`targets`, `protect`: the name `%s` is there twice" .name) }}{{ end -}}
  {{- $names = append $names .name -}}
  {{- if and .namespace (eq .group "") (has "namespaces" .resources) }}{{ fail (printf "`%s`: a namespace is a resource of the cluster: leave `namespace` empty, and give its name in `names`" .name) }}{{ end -}}
  {{- if and (not .namespace) (not .names) }}{{ fail (printf "`%s`: a resource of the cluster needs `names`: everybody would be refused all others" .name) }}{{ end -}}
{{- end -}}
{{- range .Values.targets -}}
  {{- if has .group (list "admissionregistration.k8s.io" "authentication.k8s.io" "authorization.k8s.io") }}{{ fail (printf "`%s`: no policy of the API sees requests for `%s`: it cannot be a target" .name .group) }}{{ end -}}
{{- end -}}
{{- if and (include "seb.structured" .) (not .Values.spire.jwtIssuer) }}{{ fail "`spire.jwtIssuer`: give the https URL of the OIDC discovery provider, or choose `cluster.exchange: service-account`" }}{{ end -}}
{{- if eq .Values.spire.issuer "spire-downstream" }}{{ fail "`spire.issuer`: below an intermediate of its own a broker believes no authority of its trust domain, and this chart's is one: choose `spire-mint`" }}{{ end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) }}{{ fail "`networkPolicy.egress`: say where the API server and the SPIRE server are, or set `networkPolicy.enabled` to false" }}{{ end -}}
{{- if and .Values.sab.enabled (not .Values.sab.authoritySecret) }}{{ fail "`sab.authoritySecret`: name the Secret with the authority's signing key, `svid.pem` and `key.pem`" }}{{ end -}}
{{- end }}

{{/* The security of a pod, and of a container, as the restricted standard asks. */}}
{{- define "seb.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "seb.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* The scheduling of a component, from its values. */}}
{{- define "seb.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* The resources of a target and those that they are subresources of: a JSON list. */}}
{{- define "seb.readable" -}}
{{- $all := list -}}
{{- range .resources -}}
  {{- $all = concat $all (list (splitList "/" . | first) .) | uniq -}}
{{- end -}}
{{ toJson $all }}
{{- end }}
