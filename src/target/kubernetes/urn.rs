//! The name of the exact call, as an API server's admission sees it.

use std::fmt;

use crate::contract::KubernetesResource;

/// What admission calls an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// An object is made, also by server-side apply; or a subresource is posted to, such as `eviction`.
    Create,
    /// An object is changed: by PUT, or by any kind of PATCH.
    Update,
    /// An object is deleted.
    Delete,
    /// A stream is opened: `exec`, `attach`, `portforward`, `proxy`. The broker never does; the name is for policies.
    Connect,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Connect];

    /// The name in `request.operation`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of a call: what the second audience of a JWT-SVID says, and what an admission policy compares with the
/// request.
///
/// `urn:seb:call:<OPERATION>:<group>/<resource>[/<subresource>]:<namespace>/<name>`, with nothing in the place of the core
/// group, and nothing in that of a namespace where there is none. The version of the API is not part of it: an API server
/// converts between versions, and admission policies match any of them.
///
/// No two calls share a name: everything before the last part is free of `:`, and a name is free of `/`.
pub fn call_urn(operation: Operation, resource: &KubernetesResource) -> String {
    let KubernetesResource { group, resource: plural, subresource, namespace, name, .. } = resource;
    let slash = if subresource.is_some() { "/" } else { "" };
    let (subresource, namespace) = (subresource.as_deref().unwrap_or(""), namespace.as_deref().unwrap_or(""));
    format!("urn:seb:call:{operation}:{group}/{plural}{slash}{subresource}:{namespace}/{name}")
}

/// The name of a dry run of a call: the same, in a name space of its own, so that it is nobody's leave to make the call.
pub fn dry_run_urn(operation: Operation, resource: &KubernetesResource) -> String {
    call_urn(operation, resource).replacen("urn:seb:call:", "urn:seb:dry-run:", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn resource(
        group: &str,
        plural: &str,
        subresource: Option<&str>,
        namespace: Option<&str>,
        name: &str,
    ) -> KubernetesResource {
        KubernetesResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: plural.to_owned(),
            subresource: subresource.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    #[test]
    fn calls_are_named_as_admission_sees_them() {
        for (operation, resource, urn) in [
            (
                Operation::Update,
                resource("apps", "deployments", None, Some("shop"), "checkout"),
                "urn:seb:call:UPDATE:apps/deployments:shop/checkout",
            ),
            (
                Operation::Update,
                resource("apps", "deployments", Some("scale"), Some("shop"), "checkout"),
                "urn:seb:call:UPDATE:apps/deployments/scale:shop/checkout",
            ),
            (
                Operation::Create,
                resource("", "pods", Some("eviction"), Some("shop"), "a-1"),
                "urn:seb:call:CREATE:/pods/eviction:shop/a-1",
            ),
            (Operation::Delete, resource("", "nodes", None, None, "n1"), "urn:seb:call:DELETE:/nodes:/n1"),
            (
                Operation::Connect,
                resource("rbac.authorization.k8s.io", "clusterroles", None, None, "system:x:y"),
                "urn:seb:call:CONNECT:rbac.authorization.k8s.io/clusterroles:/system:x:y",
            ),
        ] {
            assert_eq!(call_urn(operation, &resource), urn);
        }
    }

    fn any_call() -> impl Strategy<Value = (Operation, KubernetesResource)> {
        let label = || "[a-z0-9]([a-z0-9-]{0,3}[a-z0-9])?";
        let group = prop_oneof![Just(String::new()), "[a-z]{1,3}(\\.[a-z]{1,3}){0,2}"];
        let name = "[!-$&-.0-~]{1,6}".prop_filter("is no name", |name| name != "." && name != "..");
        let parts = (group, label(), proptest::option::of(label()), proptest::option::of(label()), name);
        let resource = parts.prop_map(|(group, plural, sub, space, name)| {
            resource(&group, &plural, sub.as_deref(), space.as_deref(), &name)
        });
        (proptest::sample::select(&Operation::ALL[..]), resource)
    }

    /// Reads a name back.
    fn read(urn: &str) -> Option<(Operation, KubernetesResource)> {
        let mut parts = urn.strip_prefix("urn:seb:call:")?.splitn(3, ':');
        let operation =
            Operation::ALL.into_iter().find(|operation| Some(operation.as_str()) == parts.clone().next())?;
        let mut what = parts.nth(1)?.split('/');
        let (namespace, name) = parts.next()?.split_once('/')?;
        let namespace = (!namespace.is_empty()).then_some(namespace);
        Some((operation, resource(what.next()?, what.next()?, what.next(), namespace, name)))
    }

    proptest! {
        /// Two calls that share a name would be one to the admission policy.
        #[test]
        fn i5_every_call_has_a_name_of_its_own(call in any_call()) {
            prop_assert_eq!(read(&call_urn(call.0, &call.1)), Some(call));
        }
    }
}
