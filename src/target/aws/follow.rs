//! Follows what AWS goes on with after its answer, by this process's own session, which can only read.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::cloud_control::{Asked, Progress, Stage, is_token};
use super::driver::{Aws, Bound, READ};
use super::evidence;
use super::request::answer::{Answer, Refusal};
use crate::clock;
use crate::contract::Json;
use crate::decision::Terms;
use crate::identity::Backoff;
use crate::target::failure::{Failure, now};
use crate::target::{Evidence, Performed};
use crate::timestamp::Timestamp;

/// The shortest and the longest time before an operation is asked for again, where AWS says none.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How long AWS keeps what it tells of an operation.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What there is of an operation.
enum Status {
    Progress(Progress),
    /// AWS knows no such token: not yet, or not any more.
    Unknown,
}

impl Aws {
    /// Follows the operation of which `output` is the beginning until it ends, or until `end`.
    pub(super) async fn follow(
        &self,
        region: &str,
        asked: &Asked,
        output: &Value,
        end: Instant,
        binding: &str,
    ) -> Performed {
        let mut progress = match Progress::read(output, asked) {
            Ok(progress) => progress,
            Err(why) => return Performed::Unknown { detail: format!("an answer that cannot be: {why}") },
        };
        let (mut waits, mut unread) = (Backoff::new(PAUSES), None);
        while progress.stage == Stage::Going {
            let Ok(now) = now() else { break };
            let again = clock::instant().checked_add(progress.pause(now, waits.next()));
            let Some(again) = again.filter(|again| *again < end) else { break };
            sleep_until(again).await;
            match self.status(region, asked, &progress.token, end).await {
                Ok(Status::Progress(next)) => (progress, unread) = (next, None),
                Ok(Status::Unknown) => unread = Some("AWS does not know the token".to_owned()),
                Err(Failure(detail)) => unread = Some(detail),
            }
        }
        progress.performed(binding, unread.as_deref())
    }

    async fn status(&self, region: &str, asked: &Asked, token: &str, end: Instant) -> Result<Status, Failure> {
        let end = end.min(clock::instant() + READ);
        let operation = "cloudcontrol:GetResourceRequestStatus".parse();
        let operation = operation.map_err(|_| Failure("the operation has no name".to_owned()))?;
        let input = Json::object([("RequestToken", Json::from(token))]);
        match self.ask(region, &operation, &input, end).await? {
            Answer::Accepted { output, .. } => {
                let progress = Progress::read(&output, asked).map_err(Failure)?;
                match progress.token == token {
                    true => Ok(Status::Progress(progress)),
                    false => Err(Failure("AWS tells of another request".to_owned())),
                }
            }
            Answer::Refused(Refusal { code, .. }) if code == "RequestTokenNotFoundException" => Ok(Status::Unknown),
            Answer::Refused(Refusal { code, message, .. }) => Err(Failure(format!("{code}: {message}"))),
            Answer::Failed { detail } | Answer::NotCredible { detail } => Err(Failure(detail)),
        }
    }

    /// What became of the operation that `handle` names; `None` where it names none.
    pub(super) async fn became(&self, terms: &Terms, handle: &str) -> Option<Evidence> {
        let bound = Bound::of(terms.call(), terms.mutation_id()).ok()?;
        let asked = Asked::of(&bound.operation, &bound.input).filter(|_| is_token(handle))?;
        let status = self.status(&bound.resource.region, &asked, handle, clock::instant() + READ).await;
        let late = now().is_ok_and(|now| now > kept(terms));
        Some(match now().and_then(|now| Ok(became(terms, &status?, now))) {
            Ok(Some(evidence)) => evidence,
            Err(Failure(detail)) if !late => Evidence::Unavailable { detail },
            Ok(None) | Err(_) => evidence::lost(terms, &bound.operation, handle),
        })
    }
}

/// Until when AWS tells of it.
fn kept(terms: &Terms) -> Timestamp {
    terms.deadline().saturating_add(KEPT)
}

/// What the status says at `now`; `None` where AWS will not tell any more.
fn became(terms: &Terms, status: &Status, now: Timestamp) -> Option<Evidence> {
    match status {
        Status::Unknown => evidence::early(terms, now),
        Status::Progress(progress) => progress.evidence(now).or_else(|| {
            let until = progress.after.unwrap_or(now).max(now);
            (now <= kept(terms)).then_some(Evidence::Open { until })
        }),
    }
}
