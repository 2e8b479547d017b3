//! Rehearsing a call: the very request, as a server-side dry run.
//!
//! It goes out under an identity whose second audience names a dry run and no call; or, where the API server takes no such
//! identities, by a service account that rehearses. The API server tells them from those that make calls, and its policies
//! take the one for the one request with `dryRun=All`, the other for such requests, and neither for anything else
//! (`docs/boundary-kubernetes.md`): so no decision, no use of a certificate and no fence stand before it. What must be true:
//! a request that leaves here says `dryRun=All`, in the place where an API server looks for it.

use std::time::Duration;

use http::{Method, StatusCode};

use super::answer::{Meaning, meaning, would_make};
use super::connection::{Answer, Sent};
use super::plan::{MAX_BODY, Plan, Unfit, Wire};
use super::{Early, Failure, Kubernetes, request};
use crate::clock;
use crate::contract::{Call, Json};
use crate::decision::Terms;
use crate::execution::{Performed, Rejection};
use crate::identity::ExecutionIdentity;
use crate::reason::Denial;
use crate::target::{Rehearsed, Rehearser};

/// How long one may take.
const REHEARSAL: Duration = Duration::from_secs(5);

/// Whether a dry run of this subresource is surely without effect: a token is made all the same, for one.
fn is_rehearsed(subresource: &str) -> bool {
    ["scale", "status", "eviction"].contains(&subresource)
}

impl Kubernetes {
    pub(super) fn rehearser(&self, call: &Call) -> Option<Rehearser> {
        let plan = Plan::of(call).ok().filter(|plan| plan.resource.subresource.as_deref().is_none_or(is_rehearsed))?;
        let urn = plan.dry_run_urn();
        self.performing.as_ref()?.exchanger.rehearsal(call, urn)
    }

    pub(super) async fn dry_run(&self, terms: &Terms, identity: Option<ExecutionIdentity>) -> Rehearsed {
        self.try_dry_run(terms, identity).await.unwrap_or_else(|detail| Rehearsed::Unavailable { detail })
    }

    async fn try_dry_run(&self, terms: &Terms, identity: Option<ExecutionIdentity>) -> Result<Rehearsed, String> {
        let performing = self.performing.as_ref().ok_or("this process only reads the API server")?;
        let fits = match (self.rehearser(terms.call()), &identity) {
            (Some(Rehearser::Identity(form)), Some(identity)) => {
                identity.plan().mutation() == terms.mutation_id() && *identity.plan().form() == form
            }
            (Some(Rehearser::Account), None) => true,
            _ => false,
        };
        if !fits {
            return Err("the identity was not minted for this rehearsal".to_owned());
        }
        let end = clock::instant() + REHEARSAL;
        let plan = Plan::of(terms.call())?;
        let text = |Failure(detail): Failure| detail;
        let refused = |drift: Denial| Rehearsed::Refused { reason: Rejection::Precondition, detail: drift.to_string() };
        let seen = match self.needed(&plan, terms.call().baseline()).await {
            Ok(seen) => seen,
            Err(Early::Drift(drift)) => return Ok(refused(drift)),
            Err(Early::Unreadable(detail)) => return Err(detail),
        };
        let wire = match plan.request(terms.mutation_id(), REHEARSAL.as_secs(), seen.as_ref()) {
            Ok(wire) => wire.dry_run()?,
            Err(Unfit::Drift(drift)) => return Ok(refused(drift)),
            Err(Unfit::Call(detail)) => return Err(detail),
        };
        let (pool, exchanger) = (&performing.pool, &performing.exchanger);
        let bearer = exchanger.rehearsing(pool, terms, identity, end).await.map_err(text)?;
        let request = request(pool.endpoint(), wire, &bearer, terms.mutation_id().as_str()).map_err(text)?;
        let answer = match pool.send(request, None, end).await {
            Sent::Answered(answer) => answer,
            Sent::NotWritten(failure) | Sent::Lost(failure) => return Err(text(failure)),
            Sent::Denied(denial) => return Err(denial.to_string()),
        };
        if let Some(detail) = says_nothing(&answer, exchanger.rehearses_apart()) {
            return Err(detail);
        }
        if would_make(&plan, &answer) {
            return Ok(Rehearsed::Accepted);
        }
        let performed = match meaning(terms, &plan, &answer) {
            Meaning::Settled(performed) | Meaning::Rewritten { performed, .. } => performed,
            Meaning::Refused { reason, detail } => self.compared(terms, &plan, reason, detail).await,
        };
        Ok(match performed {
            Performed::Succeeded { .. } => Rehearsed::Accepted,
            Performed::Rejected { reason, detail, drift: Some(drift) } => {
                Rehearsed::Refused { reason, detail: format!("{detail}; {drift}") }
            }
            Performed::Rejected { reason, detail, drift: None } => Rehearsed::Refused { reason, detail },
            Performed::Unknown { detail } | Performed::Begun { detail, .. } | Performed::NotStarted { detail } => {
                Rehearsed::Unavailable { detail }
            }
            Performed::Aborted { denial } => Rehearsed::Unavailable { detail: denial.to_string() },
        })
    }
}

/// Why an answer says nothing of the call, if it does not: it is about the rehearsal. `apart`: who rehearses is somebody else
/// than who makes the call.
fn says_nothing(answer: &Answer, apart: bool) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let names = |what: &str| text.contains(what);
    let why = match answer.status {
        StatusCode::UNAUTHORIZED => "the API server does not know the identity that rehearses",
        StatusCode::TOO_MANY_REQUESTS => "the API server has too much to do",
        StatusCode::BAD_REQUEST if names("does not support dry run") => {
            "a webhook of the API server supports no dry run"
        }
        StatusCode::FORBIDDEN if names("seb: not_minted") || names("seb: not_certified") => {
            "the policies do not know the identity that rehearses: render them anew"
        }
        // RBAC's own words.
        StatusCode::FORBIDDEN if apart && names(r#"User \""#) && names(" cannot ") => {
            "RBAC does not let the identity rehearse that is there for it"
        }
        _ => return None,
    };
    Some(format!("{why} ({})", answer.status))
}

impl Wire {
    /// The same request without any effect. Of a deletion that has a body an API server reads the options there, and no
    /// others: `dryRun` beside it in the query would be passed over, and the object deleted.
    pub(super) fn dry_run(mut self) -> Result<Self, String> {
        if self.method == Method::DELETE {
            let mut body = Json::parse_within(&self.body, MAX_BODY).map_err(|error| error.to_string())?;
            let Json::Object(options) = &mut body else { return Err("a deletion without options".to_owned()) };
            options.insert("dryRun".to_owned(), Json::Array(vec!["All".into()]));
            self.body = body.to_canonical().into_bytes();
        } else {
            self.target.push_str("&dryRun=All");
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::plan::tests::call;
    use super::*;

    #[test]
    fn what_is_about_the_rehearsal_says_nothing_of_the_call() {
        let answer = |status: u16, message: &str| {
            let body = json!({ "kind": "Status", "message": message }).to_string();
            Answer { status: StatusCode::from_u16(status).unwrap(), body: body.into() }
        };
        let webhook = "admission webhook \"a.b.c\" does not support dry run";
        let policy = "ValidatingAdmissionPolicy 'seb' denied request: seb: not_minted: this is changed only by";
        for (status, message) in [(401, "Unauthorized"), (429, "too many requests"), (400, webhook), (403, policy)] {
            assert!(says_nothing(&answer(status, message), false).is_some(), "{status} {message}");
        }
        // Of the one who makes the call it says something.
        let rbac = "deployments.apps \"a\" is forbidden: User \"b\" cannot patch resource \"deployments\"";
        assert!(says_nothing(&answer(403, rbac), true).is_some());
        assert_eq!(says_nothing(&answer(403, rbac), false), None);
        for (status, message) in
            [(200, "ok"), (400, "bad"), (403, "exceeded quota"), (409, "conflict"), (422, "invalid")]
        {
            assert_eq!(says_nothing(&answer(status, message), true), None, "{status} {message}");
        }
    }

    #[test]
    fn i4_a_rehearsal_is_the_very_request() {
        let baseline = json!({"mode": "exact", "identity": "uid-1", "version": "42"});
        let resource = json!({
            "group": "apps", "version": "v1", "resource": "deployments", "namespace": "shop", "name": "checkout",
        });
        let scaled = json!({"spec": {"replicas": 5}});
        for (verb, body) in [("merge-patch", &scaled), ("strategic-merge-patch", &scaled), ("delete", &Value::Null)] {
            let call = call(verb, &resource, body, &baseline);
            let plan = Plan::of(&call).unwrap();
            let terms = Terms::testing(call);
            let request = plan.request(terms.mutation_id(), 5, None).unwrap();
            let rehearsal = request.clone().dry_run().unwrap();
            assert_eq!(plan.dry_run_urn(), plan.urn().replace(":call:", ":dry-run:"));
            if verb == "delete" {
                let mut options: Value = serde_json::from_slice(&rehearsal.body).unwrap();
                assert_eq!(options.as_object_mut().unwrap().remove("dryRun"), Some(json!(["All"])));
                assert_eq!(options, serde_json::from_slice::<Value>(&request.body).unwrap());
                assert_eq!(Wire { body: request.body.clone(), ..rehearsal }, request);
            } else {
                assert_eq!(rehearsal.target.strip_suffix("&dryRun=All"), Some(request.target.as_str()));
                assert_eq!(Wire { target: request.target.clone(), ..rehearsal }, request);
            }
        }
    }
}
