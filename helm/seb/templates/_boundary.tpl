{{/*
The admission policies. Each is given once, and rendered twice: as an object of the API, and, with the suffix that names
of static admission must have, into the manifests for the API server's disk: (dict "root" $ "suffix" TEXT).
*/}}
{{- define "seb.boundary.documents" -}}
{{ include "seb.boundary.calls" . }}
{{- include "seb.boundary.self" . }}
{{- include "seb.boundary.tokens" . }}
{{- include "seb.boundary.rbac" . }}
{{- include "seb.boundary.certificates" . }}
{{- include "seb.boundary.nodeProxy" . }}
{{- end }}

{{- define "seb.boundary.metadata" -}}
name: {{ include "seb.fullname" .root }}-{{ .name }}{{ .suffix }}
labels: {{- include "seb.labels" .root | nindent 2 }}
{{- end }}

{{/* A binding without conditions of its own: (dict "root" $ "suffix" S "name" N). */}}
{{- define "seb.boundary.binding" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{- include "seb.boundary.metadata" . | nindent 2 }}
spec:
  policyName: {{ include "seb.fullname" .root }}-{{ default .name .policy }}{{ .suffix }}
  validationActions: {{ include "seb.boundary.actions" .root }}
{{- end }}

{{- define "seb.boundary.actions" -}}
{{- if eq .Values.boundary.mode "deny" }}[Deny, Audit]{{ else }}[Audit]{{ end -}}
{{- end }}

{{/* The variables that say who asks, and for which exact call. */}}
{{- define "seb.boundary.variables" -}}
- name: username
  expression: "request.userInfo.username"
- name: groups
  expression: "has(request.userInfo.groups) ? request.userInfo.groups : []"
- name: installer
  expression: {{ printf "variables.username in %s" (toJson .Values.boundary.installers) | quote }}
# A service account's own token, not a client certificate that bears its name.
- name: bearer
  expression: >-
    has(request.userInfo.extra) && 'authentication.kubernetes.io/credential-id' in request.userInfo.extra
    && request.userInfo.extra['authentication.kubernetes.io/credential-id'].exists(id, id.startsWith('JTI='))
- name: resource
  expression: >-
    request.requestResource.resource
    + (has(request.requestSubResource) && request.requestSubResource != '' ? '/' + request.requestSubResource : '')
- name: name
  expression: "has(request.name) ? request.name : ''"
- name: inNamespace
  expression: "has(request.namespace) && request.requestResource.resource != 'namespaces' ? request.namespace : ''"
- name: call
  expression: >-
    'urn:seb:call:' + request.operation + ':' + request.requestResource.group + '/' + variables.resource
    + ':' + variables.inNamespace + '/' + variables.name
- name: calls
  expression: >-
    has(request.userInfo.extra) && 'seb.dev/call' in request.userInfo.extra
    ? request.userInfo.extra['seb.dev/call'] : []
- name: dryRuns
  expression: >-
    has(request.userInfo.extra) && 'seb.dev/dry-run' in request.userInfo.extra
    ? request.userInfo.extra['seb.dev/dry-run'] : []
- name: minted
  expression: >-
    variables.username.startsWith('seb:spiffe://{{ .Values.trustDomain }}/seb/execution/')
    && 'seb:executors' in variables.groups
- name: mutation
  expression: "variables.username.substring(variables.username.lastIndexOf('/') + 1)"
- name: certified
  expression: >-
    variables.minted && variables.name != '' && variables.calls.size() == 1 && variables.calls[0] == variables.call
# A dry run that is without effect: of other subresources (`token`, for one) it is not.
- name: dry
  expression: >-
    has(request.dryRun) && request.dryRun && (!variables.resource.contains('/')
    || ['/scale', '/status', '/eviction'].exists(it, variables.resource.endsWith(it)))
# What a check has rehearsed: by an identity for the dry run of this very call, which is nobody's leave to make it.
- name: rehearsed
  expression: >-
    variables.minted && variables.name != '' && variables.calls.size() == 0 && variables.dryRuns.size() == 1
    && variables.dryRuns[0] == variables.call.replace('urn:seb:call:', 'urn:seb:dry-run:', 1)
    && variables.dry
{{- end }}

{{/* What execution identities may do by themselves, as the beginning of a condition: nothing where executors make the calls. */}}
{{- define "seb.boundary.mintedOr" -}}
{{- if not (include "seb.executors" .) }}variables.certified || variables.rehearsed || {{ end -}}
{{- end }}

{{/* One exemption as a condition. */}}
{{- define "seb.boundary.exemption" -}}
{{- if .username -}}
variables.username == {{ toJson .username }}
{{- if hasPrefix "system:serviceaccount:" .username }} && variables.bearer{{ end -}}
{{- else -}}
{{ toJson .group }} in variables.groups
{{- end }} && (
{{- range $i, $rule := .rules -}}
{{- if $i }} || {{ end -}}
(request.operation in {{ toJson $rule.operations }}
{{- if ne $rule.group "*" }} && request.requestResource.group == {{ toJson $rule.group }}{{ end -}}
{{- if not (has "*" $rule.resources) }} && variables.resource in {{ toJson $rule.resources }}{{ end -}}
)
{{- end -}}
)
{{- with .condition }} && ({{ . }}){{ end -}}
{{- end }}

{{/* What an account may do at a target, as a condition: (dict "root" $ "target" TARGET "account" NAME). */}}
{{- define "seb.boundary.granted" -}}
{{- $target := .target -}}
{{- $operations := list -}}
{{- range $target.verbs -}}
  {{- $operation := get (dict "create" "CREATE" "delete" "DELETE") . | default "UPDATE" -}}
  {{- $operations = append $operations $operation | uniq -}}
{{- end -}}
variables.username == {{ printf "system:serviceaccount:%s:%s" .root.Release.Namespace .account | toJson }}
 && request.operation in {{ toJson $operations }}
 && request.requestResource.group == {{ toJson $target.group }} && variables.resource in {{ toJson $target.resources }}
 && variables.inNamespace == {{ toJson $target.namespace }} && variables.name != ''
{{- if $target.names }} && variables.name in {{ toJson $target.names }}{{ end -}}
{{- end }}

{{/* The resources of a scope, without subresources, and with all of them: a JSON list. */}}
{{- define "seb.boundary.resources" -}}
{{- $all := list -}}
{{- range .resources -}}
  {{- $base := splitList "/" . | first -}}
  {{- $all = concat $all (list $base (printf "%s/*" $base)) | uniq -}}
{{- end -}}
{{ toJson $all }}
{{- end }}

{{/* What is protected: nobody but the identity that was minted for this very call. */}}
{{- define "seb.boundary.calls" -}}
{{- $root := .root -}}
{{- $suffix := .suffix -}}
{{- $scopes := concat $root.Values.targets $root.Values.protect -}}
{{- if $scopes -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "calls" "suffix" $suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: ["*"], apiVersions: ["*"], resources: ["*/*"], operations: ["*"] }
  variables:
    {{- include "seb.boundary.variables" $root | nindent 4 }}
    # Whether this request writes the object itself, and not a subresource.
    - name: marks
      expression: "variables.certified && request.operation in ['CREATE', 'UPDATE'] && !variables.resource.contains('/')"
    - name: marked
      expression: >-
        has(object.metadata.annotations) && ['seb.dev/mutation', 'seb.dev/applied'].exists(mark,
        mark in object.metadata.annotations && object.metadata.annotations[mark] == variables.mutation)
    - name: granted
      expression: >-
        {{- if and (include "seb.executors" $root) $root.Values.targets }}
        variables.bearer && (
        {{- range $i, $target := $root.Values.targets }}
        {{ if $i }}|| {{ end }}({{ include "seb.boundary.granted" (dict "root" $root "target" $target "account" (include "seb.executor" (dict "root" $root "target" $target))) | nindent 8 | trim }})
        {{- end }})
        {{- else }}
        false
        {{- end }}
    # Where no execution identity reaches the API server, an account that makes dry runs and nothing else.
    - name: tried
      expression: >-
        {{- if and (include "seb.rehearsers" $root) $root.Values.targets }}
        variables.bearer && variables.dry && (
        {{- range $i, $target := $root.Values.targets }}
        {{ if $i }}|| {{ end }}({{ include "seb.boundary.granted" (dict "root" $root "target" $target "account" (include "seb.rehearser" (dict "root" $root "target" $target))) | nindent 8 | trim }})
        {{- end }})
        {{- else }}
        false
        {{- end }}
    - name: exemption
      expression: >-
        {{- range $name, $exemption := $root.Values.boundary.exemptions }}
        {{- if $exemption.enabled }}
        {{ include "seb.boundary.exemption" $exemption }} ? {{ toJson $name }} :
        {{- end }}
        {{- end }}
        ''
  validations:
    - expression: "variables.minted || variables.granted || variables.tried || variables.exemption != ''"
      reason: Forbidden
      messageExpression: >-
        'seb: not_minted: this is changed only by an identity that the broker minted for the very call, not by `'
        + variables.username + '`; propose the change to the authority'
    {{- if include "seb.executors" $root }}
    # An executor makes the call; execution identities themselves only rehearse it, and ask for its token.
    - expression: >-
        !variables.minted || variables.rehearsed || (variables.certified && variables.resource == 'serviceaccounts/token'
        && variables.inNamespace == {{ toJson $root.Release.Namespace }})
    {{- else }}
    - expression: "!variables.minted || variables.certified || variables.rehearsed"
    {{- end }}
      reason: Forbidden
      messageExpression: >-
        'seb: not_certified: this identity was minted for '
        + (variables.calls.size() == 1 ? '`' + variables.calls[0] + '`'
        : variables.dryRuns.size() == 1 ? '`' + variables.dryRuns[0] + '`' : string(variables.calls.size()) + ' calls')
        + ', not for `' + variables.call + '`{{ if include "seb.executors" $root }} by itself{{ end }}'
    # The mark that the broker writes with the change: without it there is no evidence, and by it a second use shows.
    - expression: "!variables.marks || variables.marked"
      reason: Forbidden
      messageExpression: >-
        'seb: not_marked: the object does not say `seb.dev/mutation: ' + variables.mutation + '`'
    - expression: >-
        !variables.marks || oldObject == null || !has(oldObject.metadata.annotations)
        || !['seb.dev/mutation', 'seb.dev/applied'].exists(mark, mark in oldObject.metadata.annotations
        && oldObject.metadata.annotations[mark] == variables.mutation)
      reason: Forbidden
      messageExpression: >-
        'seb: repeated: `' + variables.mutation + '` was done already'
  auditAnnotations:
    - key: admitted-by
      valueExpression: >-
        {{ if not (include "seb.executors" $root) }}variables.certified ? 'certified ' + variables.call
        : {{ end }}variables.rehearsed || variables.tried ? 'dry run ' + variables.call
        : variables.granted ? 'executor ' + variables.username
        : variables.exemption != '' ? 'exemption ' + variables.exemption
        : 'nothing'
{{- range $scope := $scopes }}
{{- $name := printf "calls-%s" $scope.name }}
{{ include "seb.boundary.binding" (dict "root" $root "suffix" $suffix "policy" "calls" "name" $name) }}
  matchResources:
    {{- with $scope.namespace }}
    namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ . | quote }} } }
    {{- end }}
    resourceRules:
      - apiGroups: [{{ $scope.group | quote }}]
        apiVersions: ["*"]
        resources: {{ include "seb.boundary.resources" $scope }}
        operations: ["*"]
        scope: {{ ternary "Namespaced" "Cluster" (not (empty $scope.namespace)) }}
        {{- if not $scope.namespace }}
        resourceNames: {{ toJson $scope.names }}
        {{- end }}
{{- end }}
{{- $namespaces := list }}
{{- range $scopes }}
{{- if .namespace }}
{{- $namespaces = append $namespaces .namespace | uniq }}
{{- end }}
{{- end }}
{{- if $namespaces }}
{{ include "seb.boundary.binding" (dict "root" $root "suffix" $suffix "policy" "calls" "name" "calls.namespaces") }}
  matchResources:
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["*"]
        resources: [namespaces]
        operations: [DELETE]
        resourceNames: {{ toJson $namespaces }}
      - apiGroups: [""]
        apiVersions: ["*"]
        resources: [namespaces/finalize, namespaces/status]
        operations: ["*"]
        resourceNames: {{ toJson $namespaces }}
{{- end }}
{{- $cluster := list }}
{{- range $scopes }}
{{- if not .namespace }}
{{- $cluster = append $cluster . }}
{{- end }}
{{- end }}
{{- if $cluster }}
---
# A collection has no name, so that a rule by names does not see it.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "collections" "suffix" $suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      {{- range $cluster }}
      - apiGroups: [{{ .group | quote }}]
        apiVersions: ["*"]
        resources: [{{ range $i, $resource := .resources }}{{ if $i }}, {{ end }}{{ splitList "/" $resource | first }}{{ end }}]
        operations: [DELETE]
        scope: Cluster
      {{- end }}
  matchConditions:
    - name: a-collection
      expression: "!has(request.name) || request.name == ''"
  validations:
    # For none of them: the API server deletes one after the other, and asks for each only when its turn comes.
    - expression: "false"
      reason: Forbidden
      message: "seb: collection: some objects of this kind are protected by name; delete the others one by one"
{{ include "seb.boundary.binding" (dict "root" $root "suffix" $suffix "name" "collections") }}
{{- end }}
{{- end }}
{{- $created := list }}
{{- range $root.Values.targets }}
{{- if and (not .namespace) (has "create" .verbs) }}
{{- $created = append $created . }}
{{- end }}
{{- end }}
{{- if $created }}
---
# RBAC cannot bind the name of what does not exist, and a rule by names does not see another name.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "creations" "suffix" $suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      {{- range $created }}
      - apiGroups: [{{ .group | quote }}]
        apiVersions: ["*"]
        resources: [{{ range $i, $resource := .resources }}{{ if $i }}, {{ end }}{{ splitList "/" $resource | first }}{{ end }}]
        operations: [CREATE]
        scope: Cluster
      {{- end }}
  matchConditions:
    - name: of-the-broker
      expression: >-
        request.userInfo.username.startsWith('seb:')
        || request.userInfo.username.startsWith({{ printf "system:serviceaccount:%s:" $root.Release.Namespace | toJson }})
  validations:
    - expression: >-
        has(request.name) && (
        {{- range $i, $target := $created }}
        {{ if $i }}|| {{ end }}(request.requestResource.group == {{ toJson $target.group }} && request.requestResource.resource in {{ toJson $target.resources }}
        && request.name in {{ toJson $target.names }})
        {{- end }})
      reason: Forbidden
      message: "seb: not_named: of this kind the broker creates only the objects that a target names"
{{ include "seb.boundary.binding" (dict "root" $root "suffix" $suffix "name" "creations") }}
{{- end }}
{{- end }}

{{/* The release's own namespace: who runs a pod here, or reads a Secret into one, is the broker. */}}
{{- define "seb.boundary.self" -}}
{{- $root := .root -}}
{{- if $root.Values.boundary.installers }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "self" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ $root.Release.Namespace | quote }} } }
    resourceRules:
      - apiGroups: [""]
        apiVersions: ["*"]
        resources: [pods, pods/*, replicationcontrollers, replicationcontrollers/*, configmaps, secrets, serviceaccounts, persistentvolumeclaims]
        operations: ["*"]
        scope: Namespaced
      - apiGroups: [apps, batch]
        apiVersions: ["*"]
        resources: ["*/*"]
        operations: ["*"]
        scope: Namespaced
      - apiGroups: [rbac.authorization.k8s.io, networking.k8s.io]
        apiVersions: ["*"]
        resources: ["*"]
        operations: ["*"]
        scope: Namespaced
  variables:
    {{- include "seb.boundary.variables" $root | nindent 4 }}
    - name: controller
      expression: >-
        (variables.username.startsWith('system:serviceaccount:kube-system:') && variables.bearer)
        || ('system:nodes' in variables.groups && variables.resource in ['pods', 'pods/status']
        && request.operation in ['CREATE', 'UPDATE', 'DELETE'])
        || (variables.username == 'system:kube-scheduler' && variables.resource in ['pods/binding', 'pods/status'])
    - name: ending
      expression: >-
        {{- if include "seb.endings" $root }}
        variables.minted && variables.resource == 'secrets'
        {{- else if include "seb.executors" $root }}
        {{ include "seb.boundary.ending" $root | nindent 8 | trim }}
        {{- else }}
        false
        {{- end }}
  validations:
    - expression: "{{ include "seb.boundary.mintedOr" $root }}variables.installer || variables.controller || variables.ending"
      reason: Forbidden
      messageExpression: >-
        'seb: own_namespace: the broker runs here, and who changes this could be the broker; `'
        + variables.username + '` is no installer of it'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "self") }}
{{- end }}
{{- end }}

{{/*
Whether a request makes or ends the Secret that an executor's token ends with, as a condition: empty, named after the
mutation, by the identity that may have the token and no other.
*/}}
{{- define "seb.boundary.ending" -}}
variables.resource == 'secrets' && request.operation in ['CREATE', 'DELETE']
{{- if include "seb.structured" . }}
{{- $calls := list -}}
{{- range $executor := include "seb.boundary.executors" . | fromJsonArray -}}
  {{- $calls = append $calls (printf "urn:seb:call:CREATE:/serviceaccounts/token:%s" $executor) -}}
{{- end }}
&& variables.minted && variables.calls.size() == 1 && variables.calls[0] in {{ toJson $calls }}
&& variables.name == variables.mutation
{{- else }}
&& variables.bearer && variables.username == {{ printf "system:serviceaccount:%s:%s-broker" .Release.Namespace (include "seb.fullname" .) | toJson }}
{{- end }}
&& [object, oldObject].all(o, o == null || (has(o.type) && o.type == 'seb.dev/execution' && !has(o.data) && !has(o.stringData)))
{{- end }}

{{/* The service accounts of executors, each as `namespace/name`: a JSON list. */}}
{{- define "seb.boundary.executors" -}}
{{- $root := . -}}
{{- $executors := list -}}
{{- if include "seb.executors" . -}}
  {{- range $target := .Values.targets -}}
    {{- $executors = append $executors (printf "%s/%s" $root.Release.Namespace (include "seb.executor" (dict "root" $root "target" $target))) -}}
  {{- end -}}
{{- end -}}
{{ toJson $executors }}
{{- end }}

{{/* The service accounts that rehearse, in the same way. */}}
{{- define "seb.boundary.rehearsers" -}}
{{- $root := . -}}
{{- $rehearsers := list -}}
{{- if include "seb.rehearsers" . -}}
  {{- range $target := .Values.targets -}}
    {{- $rehearsers = append $rehearsers (printf "%s/%s" $root.Release.Namespace (include "seb.rehearser" (dict "root" $root "target" $target))) -}}
  {{- end -}}
{{- end -}}
{{ toJson $rehearsers }}
{{- end }}

{{/* Tokens of executors, and of the controllers that are exempted. */}}
{{- define "seb.boundary.tokens" -}}
{{- $root := .root -}}
{{- if $root.Values.boundary.guardTokens }}
{{- $namespace := $root.Release.Namespace }}
{{- $executors := include "seb.boundary.executors" $root | fromJsonArray }}
{{- $rehearsers := include "seb.boundary.rehearsers" $root | fromJsonArray }}
{{- $controllers := list }}
{{- range $root.Values.boundary.exemptions }}
{{- if and .enabled .username }}
{{- $parts := splitList ":" .username }}
{{- if hasPrefix "system:serviceaccount:" .username }}
{{- $controllers = append $controllers (printf "%s/%s" (index $parts 2) (index $parts 3)) | uniq }}
{{- end }}
{{- end }}
{{- end }}
{{- $own := list (printf "%s/%s-broker" $namespace (include "seb.fullname" $root)) (printf "%s/%s-sab" $namespace (include "seb.fullname" $root)) }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "tokens" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [""], apiVersions: ["*"], resources: [serviceaccounts/token], operations: ["*"] }
  variables:
    {{- include "seb.boundary.variables" $root | nindent 4 }}
    - name: account
      expression: "variables.inNamespace + '/' + variables.name"
    - name: executor
      expression: {{ printf "variables.account in %s" (toJson $executors) | squote }}
    - name: rehearser
      expression: {{ printf "variables.account in %s" (toJson $rehearsers) | squote }}
    - name: broker
      expression: {{ if eq $root.Values.cluster.exchange "service-account" -}}
        {{ printf "variables.username == %s && variables.bearer" (printf "system:serviceaccount:%s:%s-broker" $namespace (include "seb.fullname" $root) | toJson) | squote }}
        {{- else }}"false"{{ end }}
  validations:
    - expression: "!(variables.executor || variables.rehearser) || variables.certified || variables.broker"
      reason: Forbidden
      messageExpression: >-
        'seb: executor_token: a token of `' + variables.account + '` is made only for what the broker does, not for `' + variables.username + '`'
    - expression: >-
        !(variables.executor || variables.rehearser)
        || (has(object.spec.expirationSeconds) && object.spec.expirationSeconds <= 600
        && (variables.rehearser || (has(object.spec.boundObjectRef) && has(object.spec.boundObjectRef.kind) && object.spec.boundObjectRef.kind == 'Secret'
        {{- if include "seb.structured" $root }}
        && has(object.spec.boundObjectRef.name) && object.spec.boundObjectRef.name == variables.mutation
        {{- end }})))
      reason: Forbidden
      message: "seb: executor_token: such a token lives 600 seconds at most, and that of an executor is bound to the Secret of its mutation"
    - expression: >-
        !(variables.account in {{ toJson $controllers }}) || variables.username == 'system:kube-controller-manager'
      reason: Forbidden
      messageExpression: >-
        'seb: controller_token: `' + variables.account + '` may work on protected resources, and only the controller manager makes its tokens'
    - expression: >-
        !(variables.account in {{ toJson $own }})
        || ('system:nodes' in variables.groups && has(object.spec.boundObjectRef) && has(object.spec.boundObjectRef.kind) && object.spec.boundObjectRef.kind == 'Pod')
      reason: Forbidden
      messageExpression: >-
        'seb: broker_token: a token of `' + variables.account + '` is made only by the node of its pod'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "tokens") }}
---
# A Secret of this type is filled with a token that does not end.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "token-secrets" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [""], apiVersions: ["*"], resources: [secrets], operations: [CREATE, UPDATE] }
  matchConditions:
    - name: a-token
      expression: "has(object.type) && object.type == 'kubernetes.io/service-account-token'"
  validations:
    - expression: >-
        !has(object.metadata.annotations) || !('kubernetes.io/service-account.name' in object.metadata.annotations)
        || !(request.namespace + '/' + object.metadata.annotations['kubernetes.io/service-account.name']
        in {{ concat $executors $rehearsers $controllers $own | toJson }})
      reason: Forbidden
      messageExpression: >-
        'seb: lasting_token: no Secret holds a token of `' + object.metadata.annotations['kubernetes.io/service-account.name'] + '`'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "token-secrets") }}
{{- if include "seb.endings" $root }}
---
# RBAC lets execution identities make and delete Secrets here; this says which.
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "endings" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ $namespace | quote }} } }
    resourceRules:
      - { apiGroups: [""], apiVersions: ["*"], resources: [secrets], operations: ["*"], scope: Namespaced }
  matchConditions:
    - name: an-execution
      expression: "request.userInfo.username.startsWith('seb:')"
  variables:
    {{- include "seb.boundary.variables" $root | nindent 4 }}
  validations:
    - expression: >-
        {{ include "seb.boundary.ending" $root | nindent 8 | trim }}
      reason: Forbidden
      messageExpression: >-
        'seb: executor_secret: `' + variables.mutation + '` makes and ends the one Secret of its name, without data, for its token'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "endings") }}
{{- end }}
{{- end }}
{{- end }}

{{/* Grants that lead around the boundary. */}}
{{- define "seb.boundary.rbac" -}}
{{- $root := .root -}}
{{- if and $root.Values.boundary.guardRbac $root.Values.boundary.installers }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "rbac" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [rbac.authorization.k8s.io], apiVersions: ["*"], resources: ["*"], operations: ["*"] }
  matchConditions:
    - name: not-an-installer
      expression: {{ printf "!(request.userInfo.username in %s)" (toJson $root.Values.boundary.installers) | squote }}
    # It makes the roles that it ships with again at each start.
    - name: not-the-api-server
      expression: "request.userInfo.username != 'system:apiserver'"
    - name: not-the-aggregation
      expression: "request.userInfo.username != 'system:serviceaccount:kube-system:clusterrole-aggregation-controller'"
  variables:
    {{- include "seb.boundary.variables" $root | nindent 4 }}
    - name: ours
      expression: >-
        [object, oldObject].exists(o, o != null && has(o.metadata.labels) && 'app.kubernetes.io/part-of' in o.metadata.labels
        && o.metadata.labels['app.kubernetes.io/part-of'] == 'seb')
    - name: subjects
      expression: "object != null && has(object.subjects) ? object.subjects : []"
    - name: rules
      expression: "object != null && has(object.rules) ? object.rules : []"
    - name: role
      expression: "object != null && has(object.roleRef) && object.roleRef.kind == 'ClusterRole' ? object.roleRef.name : ''"
  validations:
    - expression: "{{ include "seb.boundary.mintedOr" $root }}!variables.ours"
      reason: Forbidden
      messageExpression: >-
        'seb: own_role: `' + variables.name + '` belongs to the broker; `' + variables.username + '` is no installer of it'
    - expression: >-
        {{ include "seb.boundary.mintedOr" $root }}variables.subjects.all(s, !(s.kind == 'User' && s.name.startsWith('seb:'))
        && !(s.kind == 'Group' && s.name.startsWith('seb:'))
        && !(s.kind == 'ServiceAccount' && has(s.namespace) && s.namespace == {{ toJson $root.Release.Namespace }}))
      reason: Forbidden
      message: "seb: executor_grant: identities of the broker have the roles of its release, and no others"
    - expression: >-
        {{ include "seb.boundary.mintedOr" $root }}variables.rules.all(r, !(r.verbs.exists(v, v == '*' || v.startsWith('impersonate'))
        && has(r.apiGroups) && r.apiGroups.exists(g, g in ['', '*', 'authentication.k8s.io'])
        && has(r.resources) && r.resources.exists(n, n in ['*', '*/*', 'users', 'groups', 'uids', 'serviceaccounts']
        || n.startsWith('userextras'))))
      reason: Forbidden
      message: "seb: impersonation_grant: who may impersonate can be an execution identity; no new role may allow it"
    - expression: >-
        {{ include "seb.boundary.mintedOr" $root }}!(variables.role in {{ toJson $root.Values.boundary.refusedClusterRoles }})
        || (has(request.namespace) && !(request.namespace in ['', 'kube-system', {{ toJson $root.Release.Namespace }}]))
      reason: Forbidden
      messageExpression: >-
        'seb: wide_grant: `' + variables.role + '` may impersonate; only an installer binds it here'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "rbac") }}
{{- end }}
{{- end }}

{{/* Client certificates could bear the name of a controller that is exempted. */}}
{{- define "seb.boundary.certificates" -}}
{{- $root := .root -}}
{{- if $root.Values.boundary.guardCertificates }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "certificates" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [certificates.k8s.io], apiVersions: ["*"], resources: [certificatesigningrequests/approval], operations: ["*"] }
  matchConditions:
    - name: a-client-of-the-cluster
      expression: "oldObject.spec.signerName == 'kubernetes.io/kube-apiserver-client'"
  validations:
    - expression: {{ printf "request.userInfo.username in %s" (toJson $root.Values.boundary.certificateApprovers) | squote }}
      reason: Forbidden
      messageExpression: >-
        'seb: certificate: a client certificate can bear the name of a controller; `' + request.userInfo.username + '` may not approve it'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "certificates") }}
{{- end }}
{{- end }}

{{/* Through `nodes/proxy` a kubelet runs commands in pods, and no admission sees which. */}}
{{- define "seb.boundary.nodeProxy" -}}
{{- $root := .root -}}
{{- if $root.Values.boundary.guardNodeProxy }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "node-proxy" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [""], apiVersions: ["*"], resources: [nodes/proxy], operations: [CONNECT] }
  validations:
    - expression: "false"
      reason: Forbidden
      message: "seb: node_proxy: a kubelet would run commands in protected pods, and nobody would be asked"
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "node-proxy") }}
{{- end }}
{{- end }}

{{/* Only static admission can police the objects of admission itself. */}}
{{- define "seb.boundary.admission" -}}
{{- $root := .root }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{- include "seb.boundary.metadata" (dict "root" $root "name" "admission" "suffix" .suffix) | nindent 2 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - { apiGroups: [admissionregistration.k8s.io], apiVersions: ["*"], resources: ["*"], operations: ["*"] }
  matchConditions:
    - name: not-an-installer
      expression: {{ printf "!(request.userInfo.username in %s)" (toJson $root.Values.boundary.installers) | squote }}
  validations:
    - expression: >-
        ![object, oldObject].exists(o, o != null && has(o.metadata.labels) && 'app.kubernetes.io/part-of' in o.metadata.labels
        && o.metadata.labels['app.kubernetes.io/part-of'] == 'seb')
      reason: Forbidden
      messageExpression: >-
        'seb: own_policy: this belongs to the boundary of the broker; `' + request.userInfo.username + '` is no installer of it'
    - expression: >-
        !(request.operation in ['CREATE', 'UPDATE'] && request.resource.resource.startsWith('mutating'))
        || request.userInfo.username in {{ toJson $root.Values.boundary.mutators }}
      reason: Forbidden
      messageExpression: >-
        'seb: mutation: a mutating policy could rewrite what was certified; `' + request.userInfo.username + '` may not make one'
{{ include "seb.boundary.binding" (dict "root" $root "suffix" .suffix "name" "admission") }}
{{- end }}
