//! Verifies a log, record after record, without I/O.

use std::collections::BTreeMap;

use super::genesis::{Genesis, InvalidGenesis};
use super::head::Head;
use super::statement::{InvalidStatement, Statement, beginning, verify_signature};
use super::{About, Kind, MAX_NUMBER, body};
use crate::digest::Digest;
use crate::execution::State;
use crate::timestamp::Timestamp;

/// Verifies a log from its first record on.
///
/// After an error nothing more can be said of the log: every further call repeats that it ended there.
#[derive(Debug, Default)]
pub struct Verifier {
    log: Option<Log>,
    kept: BTreeMap<u64, Digest>,
    broken: bool,
    summary: Summary,
    executions: BTreeMap<Name, Standing>,
}

/// What is known of the records so far.
#[derive(Debug)]
struct Log {
    genesis: Genesis,
    head: Head,
    time: Timestamp,
}

/// Half of a digest: enough to tell things apart, and small.
type Name = [u8; 16];

/// An execution in the log: where it was decided, and how it stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    decision: u64,
    state: State,
    about: Name,
}

/// What a log was found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many records of each kind there are.
    pub records: BTreeMap<Kind, u64>,
    /// How many requests were allowed.
    pub allowed: u64,
    /// How many were denied.
    pub denied: u64,
    /// How many executions have no final outcome yet.
    pub open: u64,
    /// The newest record.
    pub head: Option<Head>,
    /// The times of the first and of the newest record.
    pub times: Option<(Timestamp, Timestamp)>,
}

/// What is wrong with a log, and at which record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {number}")]
pub struct VerifyError {
    /// The number of the record that should be here.
    pub number: u64,
    /// What is wrong with what is here.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a record, or with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Another number stands here: records are missing, too many, or in another order.
    #[error("number {0} stands in its place: records were removed, inserted or reordered")]
    Number(u64),
    /// The envelope or the statement is none, or the signature does not hold.
    #[error("it was changed or forged")]
    Statement(#[source] InvalidStatement),
    /// The first record does not bind the key.
    #[error("it does not begin a log")]
    Genesis(#[source] InvalidGenesis),
    /// The first record is of another kind.
    #[error("a log begins with `genesis`, not with `{0}`")]
    Beginning(Kind),
    /// Another genesis record.
    #[error("a second `genesis`: the key of a log does not change this way")]
    SecondGenesis,
    /// It names another record as the one before.
    #[error("it names {found} as the record before, which is {expected}: records were removed, inserted or changed")]
    Previous {
        /// The digest of the record before.
        expected: Digest,
        /// What it names.
        found: Digest,
    },
    /// It is earlier than the record before.
    #[error("its time {found} is before {previous}, that of the record before")]
    Time {
        /// The time of the record before.
        previous: Timestamp,
        /// Its time.
        found: Timestamp,
    },
    /// Its body is not of the schema of its kind, or contradicts the fields by which it is found.
    #[error("its body is not that of its kind: {0}")]
    Body(String),
    /// It cannot follow what the log says of the same mutation.
    #[error("{0}")]
    Execution(&'static str),
    /// The record that was kept has another digest.
    #[error("it is {found}, but {kept} was kept: this is another log, or the log was rewritten")]
    Kept {
        /// The digest that was kept.
        kept: Digest,
        /// What is here.
        found: Digest,
    },
    /// The log ends before a record that was kept.
    #[error("the log ends before it: its end was removed")]
    Truncated,
    /// There is no record.
    #[error("the log is empty")]
    Empty,
    /// An earlier record was found wrong.
    #[error("an earlier record is wrong")]
    Broken,
}

impl Verifier {
    /// A verifier that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects a record that was kept earlier; as many of them as there are. What was kept is what shows that the end of a
    /// log was removed, or all of it rewritten.
    pub fn expect(&mut self, kept: Head) {
        self.kept.insert(kept.number, kept.digest);
    }

    /// Takes the next record: the number under which it is stored, and its envelope.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn push(&mut self, number: u64, envelope: &[u8]) -> Result<Statement, VerifyError> {
        let expected = self.log.as_ref().map_or(1, |log| log.head.number + 1);
        let result = if self.broken { Err(Problem::Broken) } else { self.next(expected, number, envelope) };
        result.map_err(|problem| {
            self.broken = true;
            VerifyError { number: expected, problem }
        })
    }

    /// Ends the log.
    ///
    /// # Errors
    /// A record that was kept is missing, or there is no record at all.
    pub fn finish(mut self) -> Result<Summary, VerifyError> {
        let fail = |number, problem| Err(VerifyError { number, problem });
        let Some(log) = &self.log else { return fail(1, Problem::Empty) };
        if self.broken {
            return fail(log.head.number + 1, Problem::Broken);
        }
        if let Some(number) = self.kept.keys().copied().find(|number| *number > log.head.number || *number == 0) {
            return fail(number, Problem::Truncated);
        }
        let open = self.executions.values().filter(|standing| !standing.state.is_settled()).count();
        self.summary.open = u64::try_from(open).unwrap_or(u64::MAX);
        Ok(self.summary)
    }

    /// What the first record says, once it was taken.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.log.as_ref().map(|log| &log.genesis)
    }

    fn next(&mut self, expected: u64, number: u64, envelope: &[u8]) -> Result<Statement, Problem> {
        if number != expected || number > MAX_NUMBER {
            return Err(Problem::Number(number));
        }
        let (statement, genesis) = match &self.log {
            Some(log) => (follow(log, envelope)?, None),
            None => {
                let (statement, genesis) = begin(envelope)?;
                (statement, Some(genesis))
            }
        };
        if statement.link.number != expected {
            return Err(Problem::Number(statement.link.number));
        }
        let digest = Digest::of(envelope);
        if let Some(kept) = self.kept.get(&expected).copied().filter(|kept| *kept != digest) {
            return Err(Problem::Kept { kept, found: digest });
        }
        body::check(statement.kind, &statement.about, &statement.body).map_err(Problem::Body)?;
        self.execution(&statement)?;
        self.count(&statement, Head { number: expected, digest });
        match (&mut self.log, genesis) {
            (Some(log), _) => (log.head, log.time) = (Head { number: expected, digest }, statement.time),
            (log, Some(genesis)) => {
                *log = Some(Log { genesis, head: Head { number: expected, digest }, time: statement.time });
            }
            (None, None) => return Err(Problem::Empty),
        }
        Ok(statement)
    }

    /// Holds the record against what the log says of the same mutation (I1, I3, I6).
    fn execution(&mut self, statement: &Statement) -> Result<(), Problem> {
        let Some(mutation) = &statement.about.mutation_id else { return Ok(()) };
        let (name, about) = (name(mutation.as_str()), name(&lasting(&statement.about)));
        match statement.kind {
            Kind::Decision => {
                let standing = Standing { decision: statement.link.number, state: State::Running, about };
                if self.executions.insert(name, standing).is_some() {
                    return Err(Problem::Execution("a second decision allows the same mutation"));
                }
            }
            Kind::Outcome => {
                let standing = self.executions.get_mut(&name);
                let standing = standing.ok_or(Problem::Execution("an outcome of a mutation that was never allowed"))?;
                if body::decision_of(statement) != Some(standing.decision) {
                    return Err(Problem::Execution("the outcome names another decision than the mutation's"));
                }
                if standing.about != about {
                    return Err(Problem::Execution("the outcome is about something else than its decision"));
                }
                let next = statement.about.state.ok_or(Problem::Execution("an outcome without a state"))?;
                if !standing.state.may_become(next) {
                    return Err(Problem::Execution("the outcome cannot follow the one before"));
                }
                standing.state = next;
            }
            Kind::Genesis | Kind::Epoch | Kind::Boundary | Kind::Admission => {}
        }
        Ok(())
    }

    fn count(&mut self, statement: &Statement, head: Head) {
        let summary = &mut self.summary;
        *summary.records.entry(statement.kind).or_default() += 1;
        if statement.kind == Kind::Decision {
            match statement.about.decision {
                Some(super::Decided::Allow) => summary.allowed += 1,
                _ => summary.denied += 1,
            }
        }
        summary.head = Some(head);
        let first = summary.times.map_or(statement.time, |(first, _)| first);
        summary.times = Some((first, statement.time));
    }
}

fn begin(envelope: &[u8]) -> Result<(Statement, Genesis), Problem> {
    // The key is in the record itself, which the identity vouches for.
    let statement = Statement::from_envelope(envelope).map_err(Problem::Statement)?;
    if statement.kind != Kind::Genesis {
        return Err(Problem::Beginning(statement.kind));
    }
    let genesis = Genesis::read(&statement).map_err(Problem::Genesis)?;
    let statement = verify_signature(envelope, genesis.key()).map_err(Problem::Statement)?;
    if statement.link.previous != beginning() {
        return Err(Problem::Previous { expected: beginning(), found: statement.link.previous });
    }
    Ok((statement, genesis))
}

fn follow(log: &Log, envelope: &[u8]) -> Result<Statement, Problem> {
    let statement = verify_signature(envelope, log.genesis.key()).map_err(Problem::Statement)?;
    if statement.kind == Kind::Genesis {
        return Err(Problem::SecondGenesis);
    }
    if statement.link.previous != log.head.digest && statement.link.number == log.head.number + 1 {
        return Err(Problem::Previous { expected: log.head.digest, found: statement.link.previous });
    }
    if statement.time < log.time {
        return Err(Problem::Time { previous: log.time, found: statement.time });
    }
    Ok(statement)
}

fn name(text: &str) -> Name {
    let mut name = Name::default();
    name.iter_mut().zip(Digest::of(text.as_bytes()).as_bytes()).for_each(|(to, from)| *to = *from);
    name
}

/// What a decision and all its outcomes have in common.
fn lasting(about: &About) -> String {
    About { decision: None, state: None, reason: None, ..about.clone() }.to_json().to_canonical()
}
