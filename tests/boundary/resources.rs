//! The custom resources that the chart makes: of the SPIRE Controller Manager and of the Prometheus operator, with those
//! of their fields that the chart may set; others are refused when the chart is installed.

use serde_json::{Value, json};

/// Their definitions.
pub fn definitions() -> [Value; 2] {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": text() });
    let selector = || {
        let labels = json!({ "type": "object", "additionalProperties": text() });
        json!({ "type": "object", "properties": { "matchLabels": labels } })
    };
    let endpoint = json!({ "port": text(), "path": text(), "interval": text() });
    [
        definition(
            ("spire.spiffe.io", "v1alpha1", "ClusterSPIFFEID", "clusterspiffeids", "Cluster"),
            &["spiffeIDTemplate"],
            &json!({
                "admin": { "type": "boolean" },
                "className": text(),
                "downstream": { "type": "boolean" },
                "federatesWith": texts(),
                "hint": text(),
                "jwtTtl": text(),
                "namespaceSelector": selector(),
                "podSelector": selector(),
                "spiffeIDTemplate": text(),
                "ttl": text(),
                "workloadSelectorTemplates": texts(),
            }),
        ),
        definition(
            ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors", "Namespaced"),
            &["selector", "endpoints"],
            &json!({
                "selector": selector(),
                "endpoints": { "type": "array", "items": { "type": "object", "properties": endpoint } },
            }),
        ),
    ]
}

fn definition(
    (group, version, kind, plural, scope): (&str, &str, &str, &str, &str),
    required: &[&str],
    spec: &Value,
) -> Value {
    let spec = json!({ "type": "object", "required": required, "properties": spec });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "names": { "kind": kind, "plural": plural },
            "scope": scope,
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } },
            }],
        },
    })
}
