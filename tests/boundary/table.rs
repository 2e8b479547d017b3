//! The attack table: what is tried on the real API server, and what must become of it.
//!
//! `docs/boundary-kubernetes.md` shows it; `tests/boundary_kubernetes.rs` tries every row.

use std::fmt::Write as _;

/// What stops an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The API server does not take the credential.
    Authentication,
    /// RBAC.
    Rbac,
    /// A policy of the chart.
    Policy,
    /// A policy of the chart in static admission; without that, nothing: it is only found, by this event.
    Static(Event),
    /// Nothing: it is done, and only found.
    Nothing,
}

/// An event of the audit log: somebody does `verb` to `resource` of `admissionregistration.k8s.io`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    pub verb: &'static str,
    pub resource: &'static str,
}

/// One attack.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in the test.
    pub name: &'static str,
    /// Who does what.
    pub attack: &'static str,
    pub by: By,
    /// What the answer says; for what nothing stops, what finds it.
    pub says: &'static str,
}

const fn row(name: &'static str, by: By, says: &'static str, attack: &'static str) -> Row {
    Row { name, attack, by, says }
}

const fn found(verb: &'static str, resource: &'static str) -> By {
    By::Static(Event { verb, resource })
}

/// The exchange `jwt-svid`.
#[rustfmt::skip]
pub const ATTACKS: &[Row] = &[
    row("agent", By::Authentication, "Unauthorized", "an agent shows its own JWT-SVID, made for the cluster's audience"),
    row("agent-x509", By::Authentication, "Unauthorized", "an agent shows its own X.509-SVID as a client certificate"),
    row("no-call", By::Authentication, "Unauthorized", "an execution identity whose token names no call"),
    row("two-calls", By::Authentication, "Unauthorized", "an execution identity whose token names two calls"),
    row("long-token", By::Authentication, "Unauthorized", "an execution identity whose token lives for an hour"),
    row("expired", By::Authentication, "Unauthorized", "an execution token is used again after its life, and 10 s for the API server's cache"),
    row("cluster-admin", By::Policy, "not_minted", "somebody with the ClusterRole `cluster-admin` patches a protected Deployment"),
    row("masters", By::Policy, "not_minted", "a client certificate of `system:masters` patches it"),
    row("masters-dry-run", By::Policy, "not_minted", "the same as a dry run"),
    row("masters-apply", By::Policy, "not_minted", "the same as a server-side apply by force"),
    row("masters-create", By::Policy, "not_minted", "`system:masters` creates another Deployment beside it"),
    row("masters-delete", By::Policy, "not_minted", "`system:masters` deletes it"),
    row("masters-scale", By::Policy, "not_minted", "`system:masters` changes its `scale` instead"),
    row("masters-status", By::Policy, "not_minted", "`system:masters` changes its `status`"),
    row("masters-collection", By::Policy, "not_minted", "`system:masters` deletes all Deployments of the namespace as a collection"),
    row("impersonated-user", By::Policy, "not_minted", "`system:masters` impersonates a user of `system:masters`"),
    row("impersonated-executor", By::Policy, "not_certified", "`system:masters` impersonates an execution identity, without its call"),
    row("certificate-executor", By::Policy, "not_certified", "a client certificate in the name and group of an execution identity"),
    row("forged-call", By::Nothing, "audit: `impersonatedUser` with a name that begins with `seb:`", "`system:masters` impersonates an execution identity with a forged `seb.dev/call`"),
    row("other-object", By::Policy, "not_certified", "an execution token for one object, used on another that RBAC allows"),
    row("other-group", By::Policy, "not_certified", "an execution token for the object of this name in another group, `extensions`"),
    row("other-resource", By::Policy, "not_certified", "an execution token for a `replicasets` of this name"),
    row("unnamed-object", By::Rbac, "forbidden", "an execution token for one object, used on one that no target names"),
    row("other-verb", By::Policy, "not_certified", "an execution token for a patch, used to delete"),
    row("other-subresource", By::Policy, "not_certified", "an execution token for a patch, used on `scale`"),
    row("other-namespace", By::Policy, "not_certified", "an execution token for one namespace, used in another"),
    row("collection-token", By::Rbac, "forbidden", "an execution token that names an empty object, used to delete the collection"),
    row("unmarked", By::Policy, "not_marked", "an execution token for this very patch, without the mark of its mutation"),
    row("dry-run-done", By::Policy, "not_certified", "an identity for the dry run of a patch makes the patch"),
    row("dry-run-other", By::Policy, "not_certified", "the same, as a dry run on another object"),
    row("dry-run-call", By::Authentication, "Unauthorized", "a token that names both a call and a dry run"),
    row("dry-run-scale", By::Policy, "not_certified", "an identity for the dry run of a patch changes `scale`"),
    row("dry-run-delete", By::Policy, "not_certified", "an identity for the dry run of a deletion says so in the query, beside a body, where it does not count"),
    row("same-call", By::Policy, "repeated", "an execution token is used a second time for the same call, with another body"),
    row("same-scale", By::Nothing, "audit: two requests by one execution identity", "the same on a subresource, which holds no mark"),
    row("ephemeral-container", By::Policy, "not_minted", "`system:masters` adds an ephemeral container to a protected Pod"),
    row("exec", By::Policy, "not_minted", "`system:masters` runs a command in it (`exec`)"),
    row("attach", By::Policy, "not_minted", "`system:masters` attaches to it"),
    row("port-forward", By::Policy, "not_minted", "`system:masters` forwards a port of it"),
    row("pod-proxy", By::Policy, "not_minted", "`system:masters` sends it a request through the API server"),
    row("eviction", By::Policy, "not_minted", "`system:masters` evicts it"),
    row("own-pod", By::Policy, "not_minted", "`system:masters` makes a Pod of its own beside it"),
    row("replica-set", By::Policy, "not_minted", "`system:masters` scales the ReplicaSet below the Deployment"),
    row("node-proxy", By::Policy, "node_proxy", "`system:masters` asks a kubelet through `nodes/proxy` to run a command"),
    row("owner", By::Policy, "not_minted", "`system:masters` gives a protected object an owner that it can delete"),
    row("finalizer", By::Policy, "not_minted", "`system:masters` sets a finalizer that keeps it from ending"),
    row("owned", By::Nothing, "audit: `admitted-by: exemption generic-garbage-collector`; protect owners, too", "`system:masters` deletes the unprotected owner of a protected object that had one before"),
    row("namespace", By::Policy, "not_minted", "`system:masters` deletes the namespace"),
    row("cluster-object", By::Policy, "not_minted", "`system:masters` deletes a protected object of the cluster"),
    row("cluster-collection", By::Policy, "collection", "`system:masters` deletes all objects of its kind as a collection"),
    row("controller-token", By::Policy, "controller_token", "`system:masters` asks for a token of an exempted controller"),
    row("controller-certificate", By::Policy, "not_minted", "a client certificate in the name of an exempted controller"),
    row("controller-secret", By::Policy, "lasting_token", "`system:masters` makes a Secret that is filled with a lasting token of it"),
    row("forged-controller", By::Nothing, "audit: `impersonatedUser` with the name of a controller", "`system:masters` impersonates an exempted controller, and says it came by a token"),
    row("certificate-approval", By::Policy, "certificate", "`system:masters` approves a client certificate for any name"),
    row("grant-executors", By::Policy, "executor_grant", "`cluster-admin` binds a role to the group of execution identities"),
    row("grant-impersonation", By::Policy, "impersonation_grant", "`cluster-admin` makes a role that may impersonate"),
    row("grant-wide", By::Policy, "wide_grant", "`cluster-admin` binds `cluster-admin` to somebody else"),
    row("own-role", By::Policy, "own_role", "`cluster-admin` deletes the role of the executions"),
    row("own-namespace", By::Policy, "own_namespace", "`cluster-admin` makes a Pod in the broker's namespace with the broker's service account"),
    row("own-exec", By::Policy, "own_namespace", "`cluster-admin` runs a command in the broker's Pod"),
    row("broker-token", By::Policy, "broker_token", "`system:masters` asks for a token of the broker's service account"),
    row("mutating-policy", found("create", "mutatingadmissionpolicies"), "mutation", "`system:masters` makes a mutating policy that rewrites certified bodies"),
    row("mutating-webhook", found("create", "mutatingwebhookconfigurations"), "mutation", "`system:masters` makes a mutating webhook for protected objects"),
    row("delete-binding", found("delete", "validatingadmissionpolicybindings"), "own_policy", "`system:masters` deletes a binding of the policies"),
    row("delete-bindings", found("deletecollection", "validatingadmissionpolicybindings"), "own_policy", "`system:masters` deletes all bindings as a collection"),
    row("change-policy", found("patch", "validatingadmissionpolicies"), "own_policy", "`system:masters` changes a policy to admit everything"),
];

/// The exchange `projected-token`, where it differs.
#[rustfmt::skip]
pub const EXECUTORS: &[Row] = &[
    row("executor-token", By::Policy, "executor_token", "`system:masters` asks for a token of the executor's service account"),
    row("executor-unbound", By::Policy, "executor_token", "an execution identity, certified for the token, asks for one that is bound to no Secret"),
    row("executor-bound", By::Policy, "executor_token", "it asks for one that is bound to the Secret of another mutation"),
    row("executor-long-token", By::Policy, "executor_token", "it asks for one that lives for an hour"),
    row("secret-name", By::Policy, "executor_secret", "it makes a Secret of another name than its mutation's"),
    row("secret-data", By::Policy, "executor_secret", "it makes its Secret with data"),
    row("secret-text", By::Policy, "executor_secret", "the same by `stringData`"),
    row("secret-type", By::Policy, "executor_secret", "it makes a Secret of another type"),
    row("secret-namespace", By::Rbac, "forbidden", "it makes its Secret in another namespace"),
    row("secret-deletion", By::Policy, "executor_secret", "it deletes another Secret of the namespace"),
    row("secret-theft", By::Rbac, "forbidden", "it reads the Secrets of the namespace"),
    row("secret-call", By::Policy, "executor_secret", "an execution identity for another call makes the Secret of its mutation"),
    row("executor-patch", By::Policy, "not_certified", "an execution identity, certified for the token, patches a protected object of the target by itself"),
    row("executor-account", By::Rbac, "forbidden", "the same asks for a token of another service account"),
    row("executor-direct", By::Policy, "not_certified", "an execution identity that was minted for this very patch makes it by itself, without the executor"),
    row("executor-dry-run", By::Policy, "not_certified", "an identity for the dry run of a patch makes the patch"),
    row("executor-secret", By::Policy, "lasting_token", "`system:masters` makes a Secret that is filled with a lasting token of it"),
    row("executor-outside", By::Rbac, "forbidden", "the executor's token is used outside its target"),
    row("executor-other", By::Rbac, "forbidden", "it is used on what another target's executor may change"),
    row("executor-widened", By::Policy, "not_minted", "the same, after somebody gave it the role for that"),
    row("executor-ended", By::Authentication, "Unauthorized", "it is used after the end of its execution, and 10 s for the API server's cache"),
    row("executor-inside", By::Nothing, "audit: `admitted-by: executor ...`; the token is in the broker's memory only", "a stolen token of the executor is used for another call inside its target, before the end of its execution"),
];

/// The exchange `service-account`, where it differs.
#[rustfmt::skip]
pub const ACCOUNTS: &[Row] = &[
    row("account-token", By::Policy, "executor_token", "`system:masters` asks for a token of the executor's service account"),
    row("account-secret", By::Policy, "lasting_token", "an installer makes a Secret that is filled with a lasting token of it"),
    row("account-bound", By::Policy, "own_namespace", "`system:masters` makes a Secret to which such a token could be bound"),
    row("account-broker", By::Policy, "broker_token", "`system:masters` asks for a token of the broker's service account"),
    row("account-direct", By::Rbac, "forbidden", "the token of the broker's Pod is used on a protected object"),
    row("account-widened", By::Policy, "not_minted", "the same, after somebody gave the broker the role for that"),
    row("account-unbound", By::Policy, "executor_token", "it asks for an executor's token that is not bound to a Secret"),
    row("account-of-a-pod", By::Policy, "executor_token", "it asks for one that is bound to its Pod"),
    row("account-long", By::Policy, "executor_token", "it asks for one that is bound to a Secret and lives for an hour"),
    row("account-other", By::Rbac, "forbidden", "it asks for a token of another service account"),
    row("account-theft", By::Rbac, "forbidden", "it reads the Secret with the authority's key"),
    row("account-data", By::Policy, "own_namespace", "it makes a Secret like those, with data"),
    row("account-deletion", By::Policy, "own_namespace", "it deletes a Secret that is not one of those that end tokens"),
    row("account-tries-token", By::Policy, "executor_token", "`system:masters` asks for a token of the service account that rehearses"),
    row("account-tries-long", By::Policy, "executor_token", "the broker asks for one that lives for an hour"),
    row("account-tries-done", By::Policy, "not_minted", "a token of the service account that rehearses is used for the call itself"),
    row("account-tries-delete", By::Policy, "not_minted", "the same for a deletion that is a dry run in the query, beside a body, where it does not count"),
    row("account-tries-name", By::Policy, "not_named", "it creates an object of the cluster that no target names, where RBAC cannot bind the name"),
    row("account-creates-name", By::Policy, "not_named", "the same with a token of the executor"),
    row("account-tries-outside", By::Rbac, "forbidden", "that of the rehearsing account is used for a dry run outside its targets"),
    row("account-outside", By::Rbac, "forbidden", "the executor's token is used outside its targets"),
    row("account-taken", By::Nothing, "audit: `admitted-by: executor ...` without a decision record", "whoever has the token of the broker's Pod gets an executor's, and uses it inside its target"),
];

/// The part of `docs/boundary-kubernetes.md` that shows them.
pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::from("\n| attack | stopped by | answer, or what finds it |\n|---|---|---|\n");
    for Row { attack, by, says, .. } in rows {
        let says = match by {
            By::Nothing => (*says).to_owned(),
            By::Static(Event { verb, resource }) => format!("`{says}`; without it audit: `{verb}` of `{resource}`"),
            _ => format!("`{says}`"),
        };
        let by = match by {
            By::Authentication => "authentication",
            By::Rbac => "RBAC",
            By::Policy => "policy",
            By::Static(_) => "policy, with static admission only",
            By::Nothing => "**nothing**",
        };
        writeln!(out, "| {attack} | {by} | {says} |").unwrap();
    }
    out + "\n"
}
