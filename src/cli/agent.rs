//! `seb agent`: what an agent asks of the authority and of the broker.
//!
//! Nothing here holds authority: the certificate does, and the broker judges it.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;
use tonic::Code;
use tonic::transport::Channel;

use super::client::{Connection, MAX_ANSWER, failed, printable};
use super::{BAD, Exit, FAINT, Format, GOOD, Table, proposals, read, runtime};
use crate::attribute_certificate::read_file;
use crate::contract::{Contract, Json, Pointer};
use crate::execution::State;
use crate::grpc::convert;
use crate::proto::seb::v1 as wire;
use crate::proto::seb::v1::execution_service_client::ExecutionServiceClient;
use crate::timestamp::Timestamp;

/// How large a file with a certificate and its chain can be, in octets.
const MAX_CERTIFICATE: u64 = 4 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Propose a change to the authority; if it is admitted, the certificate is the answer
    ///
    /// Exit status: 0 it was admitted, 1 it was refused, 2 usage or unreadable input, 3 it waits for people to decide,
    /// 4 the authority is not available, or cannot decide now: try again later.
    Propose(Box<proposals::Propose>),
    /// Perform what a certificate admits, or ask whether it would be performed
    ///
    /// Exit status: 0 it was performed (or, with --check, it would be), 1 it was refused or failed and nothing was
    /// changed, 2 usage or unreadable input, 3 whether it was performed is not known yet, 4 the broker is not
    /// available: try again later, the same request is not performed twice.
    Execute(Box<Execute>),
    /// Print how an execution stands
    ///
    /// Exit status: as for `execute`; 3 while it is not settled.
    Status(StatusOf),
}

#[derive(Debug, Args)]
pub(super) struct Execute {
    /// The certificate with its chain, in PEM, as the authority issued it; `-` reads standard input
    certificate: PathBuf,
    /// A value for a parameter: JSON, or a text that is no JSON; repeatable
    #[arg(long = "set", value_name = "/POINTER=VALUE", value_parser = assignment)]
    values: Vec<Assignment>,
    /// The step to perform, where the contract has more than one
    #[arg(long)]
    step: Option<String>,
    /// The detached body, where the contract has one
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// A name for this use, where the certificate allows several
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Refuse unless the certificate is over this contract
    #[arg(long, value_name = "sha256:HEX")]
    expected_contract: Option<String>,
    /// Only ask whether it would be allowed now; nothing is consumed
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Args)]
pub(super) struct StatusOf {
    /// The mutation id, as `execute` printed it
    id: String,
    /// Go on until it is settled, printing each change
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    connection: Connection,
}

/// One `--set`.
#[derive(Debug, Clone)]
struct Assignment {
    pointer: String,
    json: String,
}

fn assignment(text: &str) -> Result<Assignment, String> {
    let (pointer, value) = text.split_once('=').ok_or("expected `/pointer=value`")?;
    Pointer::parse(pointer).map_err(|error| error.to_string())?;
    // What is no JSON is a text, as a shell would have it; what is JSON is taken as it is.
    let json = match Json::parse(value.as_bytes()) {
        Ok(_) => value.to_owned(),
        Err(_) => Json::string(value).to_canonical(),
    };
    Ok(Assignment { pointer: pointer.to_owned(), json })
}

impl Command {
    pub(super) fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let runtime = runtime()?;
        match self {
            Self::Propose(command) => runtime.block_on(command.run(format, out)),
            Self::Execute(command) => runtime.block_on(command.run(format, out)),
            Self::Status(command) => runtime.block_on(command.run(format, out)),
        }
    }
}

async fn client(connection: &Connection) -> anyhow::Result<ExecutionServiceClient<Channel>> {
    Ok(ExecutionServiceClient::new(connection.channel().await?).max_decoding_message_size(MAX_ANSWER))
}

impl Execute {
    async fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let message = self.message()?;
        let mut client = client(&self.connection).await?;
        if self.check {
            let message = wire::CheckRequest { request: Some(message) };
            return match client.check(self.connection.request(message)).await {
                Ok(answer) => print_check(&answer.into_inner(), format, out),
                Err(status) => failed(&status, format, out),
            };
        }
        match client.execute(self.connection.request(message)).await {
            Ok(answer) => {
                let execution = answer.into_inner().execution.context("the broker's answer is empty")?;
                print_execution(&execution, format, out)
            }
            Err(status) => match failed(&status, format, out)? {
                // The broker may be at it; the same request again gives its answer.
                Exit::Unavailable
                    if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled | Code::Unknown) =>
                {
                    Ok(Exit::Unsettled)
                }
                exit => Ok(exit),
            },
        }
    }

    fn message(&self) -> anyhow::Result<wire::ExecuteRequest> {
        let file = read_file(&read(&self.certificate, MAX_CERTIFICATE)?)
            .with_context(|| format!("`{}` is no certificate", self.certificate.display()))?;
        let body = self.body.as_ref().map(|path| read(path, Contract::MAX_DETACHED.into())).transpose()?;
        let value = |Assignment { pointer, json }: &Assignment| wire::ParameterValue {
            pointer: pointer.clone(),
            json: json.clone(),
        };
        Ok(wire::ExecuteRequest {
            certificate: file.certificate,
            chain: file.chain,
            step: self.step.clone().unwrap_or_default(),
            values: self.values.iter().map(value).collect(),
            body,
            idempotency_key: self.idempotency_key.clone().unwrap_or_default(),
            expected_contract: self.expected_contract.clone().unwrap_or_default(),
        })
    }
}

impl StatusOf {
    async fn run(self, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
        let mut client = client(&self.connection).await?;
        let message = wire::GetExecutionRequest { mutation_id: self.id.clone() };
        if !self.watch {
            return match client.get_execution(self.connection.request(message)).await {
                Ok(answer) => print_execution(&answer.into_inner(), format, out),
                Err(status) => failed(&status, format, out),
            };
        }
        // Watching has no end of its own: the time limit is for answers, not for what is waited for.
        let mut changes = match client.watch_execution(self.connection.lasting(message)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return failed(&status, format, out),
        };
        let mut last = Exit::Unsettled;
        loop {
            match changes.message().await {
                Ok(Some(execution)) => {
                    last = print_execution(&execution, format, out)?;
                    out.flush()?;
                }
                Ok(None) => return Ok(last),
                Err(status) => return failed(&status, format, out),
            }
        }
    }
}

fn print_check(checked: &wire::CheckResponse, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let denials: Vec<_> =
                checked.denials.iter().map(|d| json!({ "reason": d.reason, "detail": d.detail })).collect();
            let call: Option<serde_json::Value> = serde_json::from_str(&checked.call).ok();
            let dry_run = checked
                .dry_run
                .as_ref()
                .map(|run| json!({ "result": rehearsal(run), "rejection": run.rejection, "detail": run.detail }));
            let document = json!({
                "allowed": checked.allowed,
                "denials": denials,
                "call": call,
                "call_digest": checked.call_digest,
                "dry_run": dry_run,
            });
            writeln!(out, "{document}")?;
        }
        Format::Text => {
            match checked.allowed {
                true => writeln!(out, "{GOOD}allowed{GOOD:#} it would be performed now")?,
                false => writeln!(out, "{BAD}denied{BAD:#}")?,
            }
            let mut table = Table::default();
            for denial in &checked.denials {
                table.row(&printable(&denial.reason), printable(&denial.detail));
                if let Ok(reason) = denial.reason.parse::<crate::reason::Reason>() {
                    table.row("", format!("{} ({})", reason.mend(), reason.mender().as_str()));
                }
            }
            if let Some(run) = &checked.dry_run {
                let said = [rehearsal(run), &run.rejection, &run.detail];
                let said: Vec<_> = said.into_iter().filter(|said| !said.is_empty()).collect();
                table.row("dry run", printable(&said.join(": ")));
            }
            if !checked.call.is_empty() {
                table.row("call", printable(&checked.call)).row("digest", printable(&checked.call_digest));
            }
            table.print(out)?;
        }
    }
    let refused = checked.dry_run.as_ref().is_some_and(|run| run.result() == wire::dry_run::Result::Refused);
    Ok(if checked.allowed && !refused { Exit::Success } else { Exit::Refused })
}

/// What came of a rehearsal, in a word.
fn rehearsal(run: &wire::DryRun) -> &'static str {
    match run.result() {
        wire::dry_run::Result::Accepted => "accepted",
        wire::dry_run::Result::Refused => "refused",
        wire::dry_run::Result::Unavailable | wire::dry_run::Result::Unspecified => "unavailable",
    }
}

/// How a command ends for an execution in this state.
const fn exit(state: State) -> Exit {
    match state {
        State::Succeeded | State::ReconciledApplied => Exit::Success,
        State::Rejected | State::NotStarted | State::Aborted | State::ReconciledNotApplied => Exit::Refused,
        State::Running | State::Unknown | State::Indeterminate => Exit::Unsettled,
    }
}

/// What a state means to whoever asked, and what to do.
const fn advice(state: State) -> &'static str {
    match state {
        State::Running => "ask again with `seb agent status`, or watch it",
        State::Succeeded => "the target performed it",
        State::Rejected => "the target refused it and nothing was changed: propose again from the object as it is now",
        State::NotStarted => "nothing was sent: propose again",
        State::Aborted => "it was revoked, or knowledge grew stale, before the call: nothing was sent",
        State::Unknown => {
            "whether it took effect is not known yet: do not propose it again, watch it until it is settled"
        }
        State::ReconciledApplied => "evidence at the target shows that it took effect",
        State::ReconciledNotApplied => "evidence at the target shows that it did not take effect: propose again",
        State::Indeterminate => "evidence cannot settle it: a person has to look at the target",
    }
}

/// What a grade means to whoever asked; one that is not known here, as it is.
fn drift(grade: &str) -> &str {
    match grade {
        "atomic" => "atomic: the target itself refuses the call if the baseline does not hold",
        "bounded" => "bounded: the baseline was checked shortly before the call",
        "detect_only" => "detect_only: drift is noticed after the call",
        other => other,
    }
}

fn print_execution(execution: &wire::Execution, format: Format, out: &mut impl Write) -> anyhow::Result<Exit> {
    let state = convert::state(execution.state).context("the broker's answer has a state that is not known here")?;
    let time = |time: &Option<prost_types::Timestamp>| {
        let time = time.as_ref()?;
        let millis = u64::try_from(time.seconds).ok()?.checked_mul(1000)?;
        let millis = millis.checked_add(u64::try_from(time.nanos).ok()? / 1_000_000)?;
        Timestamp::from_millis(millis).ok()
    };
    let (decided, settled) = (time(&execution.decided_at), time(&execution.settled_at));
    match format {
        Format::Json => {
            let document = json!({
                "mutation_id": execution.mutation_id,
                "state": state.as_str(),
                "settled": state.is_settled(),
                "decision_record": execution.decision_record,
                "outcome_record": (execution.outcome_record > 0).then_some(execution.outcome_record),
                "detail": execution.detail,
                "certificate": execution.certificate,
                "call_digest": execution.call_digest,
                "decided_at": decided,
                "settled_at": settled,
                "repeated": execution.repeated,
                "version": execution.version,
                "target": execution.target,
                "resource": execution.resource,
                "grade": execution.grade,
                "reason": execution.reason,
                "rejection": execution.rejection,
            });
            writeln!(out, "{document}")?;
        }
        Format::Text => {
            let style = match exit(state) {
                Exit::Success => GOOD,
                Exit::Unsettled | Exit::Unavailable => FAINT,
                Exit::Refused => BAD,
            };
            let again = if execution.repeated { " (an earlier request began it)" } else { "" };
            writeln!(out, "{style}{}{style:#} {}{again}", state.as_str(), advice(state))?;
            let mut table = Table::default();
            let mut said = |name: &str, text: &str| {
                if !text.is_empty() {
                    table.row(name, printable(text));
                }
            };
            said("mutation", &execution.mutation_id);
            said("target", &execution.target);
            said("resource", &execution.resource);
            said("detail", &execution.detail);
            said("rejected for", &execution.rejection);
            said("version", &execution.version);
            said("drift", drift(&execution.grade));
            said("certificate", &execution.certificate);
            said("call", &execution.call_digest);
            let moment = |time: Option<Timestamp>| time.map(|time| format!(", {time}")).unwrap_or_default();
            said("decided", &format!("record {}{}", execution.decision_record, moment(decided)));
            if execution.outcome_record > 0 {
                said("ended", &format!("record {}{}", execution.outcome_record, moment(settled)));
            }
            if let Ok(reason) = execution.reason.parse::<crate::reason::Reason>() {
                said("reason", reason.code());
                said("what to do", &format!("{} (mended by {})", reason.mend(), reason.mender().as_str()));
            }
            table.print(out)?;
        }
    }
    Ok(exit(state))
}
