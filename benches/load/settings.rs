//! The configurations of authority and broker that the harnesses for real targets begin with.

/// The authority's, but for its policies and targets.
pub(crate) const SAB: &str = r#"
identity.folder = "sab"
grpc.listen = "127.0.0.1:0"
http.listen = "127.0.0.1:0"
log.level = "warn"
store = { records = "sab-records.db", ledger = "sab-ledger.db", record_key = "sab-record-key.pem" }
epochs = { brokers = ["spiffe://example.org/seb"], staleness = "5s" }
roles.agents = ["spiffe://example.org/agent/*"]
"#;

/// The broker's, but for identity and targets; `AUTHORITY` stands for the authority's address. What bounds the load is out of its
/// way; whatever else costs time is as it is by default.
pub(crate) const BROKER: &str = r#"
grpc.listen = "127.0.0.1:0"
http.listen = "127.0.0.1:0"
store = { path = "broker.db", record_key = "store-key.pem" }
authorities = [{ id = "spiffe://example.org/sab", address = "AUTHORITY" }]
roles.agents = ["spiffe://example.org/agent/*"]
ceilings.max_validity_seconds = 86400
ceilings.knowledge = { boundary = "warn", staleness_ms = 5000, max_state_age_ms = 5000 }
ceilings.rates.agent = { executions = 1000000000, per_seconds = 60 }
ceilings.rates.authority = { executions = 1000000000, per_seconds = 60 }
"#;
