{{/* For the API server: `--authentication-config`. */}}
{{- define "seb.authentication" -}}
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
  - issuer:
      url: {{ .Values.spire.jwtIssuer | quote }}
      audiences: [{{ .Values.cluster.audience | quote }}]
      audienceMatchPolicy: MatchAny
      {{- with .Values.spire.jwtIssuerCA }}
      certificateAuthority: {{ toJson . }}
      {{- end }}
    claimValidationRules:
      - expression: "claims.sub.startsWith('spiffe://{{ .Values.trustDomain }}/seb/execution/')"
        message: only an identity that was minted for one call comes in by this issuer
      - expression: "int(claims.exp) - int(claims.iat) <= {{ int .Values.cluster.tokenSeconds }}"
        message: the token lives longer than {{ int .Values.cluster.tokenSeconds }} seconds
      - expression: "dyn(claims.aud).filter(a, a.startsWith('urn:seb:')).size() == 1"
        message: the token is not for exactly one call
    claimMappings:
      username:
        expression: "'seb:' + claims.sub"
      groups:
        expression: "['seb:executors']"
      extra:
        - key: seb.dev/call
          valueExpression: "dyn(claims.aud).filter(a, a.startsWith('urn:seb:call:'))"
        - key: seb.dev/dry-run
          valueExpression: "dyn(claims.aud).filter(a, a.startsWith('urn:seb:dry-run:'))"
{{- end }}

{{/* For the API server: `--admission-control-config-file`, since 1.37 (1.36: the feature gate). */}}
{{- define "seb.admissionConfiguration" -}}
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: ValidatingAdmissionPolicy
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: ValidatingAdmissionPolicyConfiguration
      staticManifestsDir: /etc/kubernetes/seb/static-admission
{{- end }}

{{/* For the API server: `--audit-policy-file`. What the boundary cannot refuse is found in this log. */}}
{{- define "seb.audit" -}}
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  # Also who reads them; never a body.
  - level: Metadata
    namespaces: [{{ .Release.Namespace | quote }}]
    resources:
      - { group: "", resources: [secrets] }
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
    resources:
      - { group: "", resources: [secrets, serviceaccounts/token] }
      - { group: authentication.k8s.io, resources: ["*"] }
  {{- range concat .Values.targets .Values.protect }}
  # The bodies as they were sent and as they were stored: a rewritten one shows.
  - level: RequestResponse
    verbs: [create, update, patch, delete, deletecollection]
    {{- with .namespace }}
    namespaces: [{{ . | quote }}]
    {{- end }}
    resources:
      - { group: {{ .group | quote }}, resources: {{ include "seb.boundary.resources" . }} }
  {{- end }}
  - level: RequestResponse
    verbs: [create, update, patch, delete, deletecollection]
    resources:
      - { group: admissionregistration.k8s.io, resources: ["*"] }
      - { group: rbac.authorization.k8s.io, resources: ["*"] }
      - { group: certificates.k8s.io, resources: ["*"] }
  - level: None
    verbs: [get, list, watch]
  - level: Metadata
{{- end }}
