{{/*
A component with its own volume: one pod, because its store is one SQLite file.
(dict "root" $ "component" "broker" "home" "/var/lib/seb" "args" LIST "binary" "seb" "config" (dict FILE TEXT) "mounts" YAML "volumes" YAML)
*/}}
{{- define "seb.component" -}}
{{- $root := .root -}}
{{- $values := get $root.Values .component -}}
{{- $name := printf "%s-%s" (include "seb.fullname" $root) .component -}}
{{- $selector := include "seb.selector" (dict "root" $root "component" .component) -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "seb.labels" $root | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "seb.labels" $root | nindent 4 }}
data: {{- toYaml .config | nindent 2 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "seb.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  selector: {{- $selector | nindent 4 }}
  ports:
    - { name: grpc, port: {{ int $values.port }}, targetPort: grpc }
    - { name: http, port: {{ int $values.httpPort }}, targetPort: http }
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "seb.labels" $root | nindent 4 }}
spec:
  replicas: 1
  serviceName: {{ $name }}
  selector:
    matchLabels: {{- $selector | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "seb.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/config: {{ toJson .config | sha256sum }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ int $values.terminationSeconds }}
      securityContext: {{- include "seb.podSecurity" $root | nindent 8 }}
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with include "seb.scheduling" $values | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "seb.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: {{ toJson .command }}
          securityContext: {{- include "seb.containerSecurity" $root | nindent 12 }}
          ports:
            - { name: grpc, containerPort: {{ int $values.port }} }
            - { name: http, containerPort: {{ int $values.httpPort }} }
          startupProbe:
            httpGet: { path: /livez, port: http }
            periodSeconds: 1
            failureThreshold: 60
          livenessProbe:
            httpGet: { path: /livez, port: http }
            periodSeconds: 10
            timeoutSeconds: 5
          readinessProbe:
            httpGet: { path: /readyz, port: http }
            periodSeconds: 5
            timeoutSeconds: 5
          resources: {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - { name: config, mountPath: {{ .etc }}, readOnly: true }
            - { name: state, mountPath: {{ .home }} }
            - { name: workload-api, mountPath: /spiffe-workload-api, readOnly: true }
            - { name: cluster, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }
            {{- with .mounts }}
            {{- . | nindent 12 }}
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ $name }}
            items:
              {{- range $file, $_ := .config }}
              - { key: {{ $file }}, path: {{ $file }} }
              {{- end }}
        - name: workload-api
          csi: { driver: {{ $root.Values.spire.csiDriver }}, readOnly: true }
        - name: cluster
          projected:
            defaultMode: 0440
            sources:
              - serviceAccountToken: { path: token, expirationSeconds: 3600 }
              - configMap: { name: kube-root-ca.crt, items: [{ key: ca.crt, path: ca.crt }] }
        {{- with .volumes }}
        {{- . | nindent 8 }}
        {{- end }}
  volumeClaimTemplates:
    - metadata:
        name: state
      spec:
        accessModes: [ReadWriteOncePod]
        {{- with $values.storage.className }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests: { storage: {{ $values.storage.size }} }
{{- if $root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "seb.labels" $root | nindent 4 }}
spec:
  maxUnavailable: {{ int $root.Values.podDisruptionBudget.maxUnavailable }}
  # A pod that does not work may go at any time.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- $selector | nindent 6 }}
{{- end }}
{{- if $root.Values.serviceMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "seb.labels" $root | nindent 4 }}
    {{- with $root.Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels: {{- $selector | nindent 6 }}
  endpoints:
    - { port: http, path: /metrics, interval: {{ $root.Values.serviceMonitor.interval }} }
{{- end }}
{{- if $root.Values.networkPolicy.enabled }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "seb.labels" $root | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- $selector | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports: [{ port: grpc, protocol: TCP }]
      from:
        - podSelector: {}
        {{- with $root.Values.networkPolicy.clients }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $root.Values.networkPolicy.monitoring }}
    - ports: [{ port: http, protocol: TCP }]
      from: {{- toYaml . | nindent 8 }}
    {{- end }}
  egress:
    - ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
    - to: [{ podSelector: {} }]
    {{- range $root.Values.networkPolicy.egress }}
    - to: [{ ipBlock: { cidr: {{ .cidr | quote }} } }]
      ports: [{ port: {{ int .port }}, protocol: TCP }]
    {{- end }}
{{- end }}
{{- end }}
