//! Leave to make a call of AWS, as a broker has it after a decision.

use std::collections::BTreeSet;

use seb::ceiling::{Rule, TargetCeiling};
use seb::contract::TargetKind;
use seb::decision::Permit;
use seb::timestamp::Timestamp;
use serde_json::{Value, json};

pub use crate::permit::Gate;
use crate::permit::{now, permit, permit_at};

/// A call to be permitted.
#[derive(Clone)]
pub struct Ask {
    pub verb: &'static str,
    pub actions: Vec<&'static str>,
    pub arns: Vec<&'static str>,
    pub read: Value,
    pub body: Value,
    pub baseline: Value,
    pub deadline: u32,
    /// How many seconds ago it was decided.
    pub ago: u64,
}

impl Ask {
    /// A call that needs the action of its own name.
    pub fn new(verb: &'static str, arn: &'static str, body: Value) -> Self {
        let baseline = json!({"mode": "exact", "identity": arn, "version": "unknown"});
        Self { verb, actions: vec![verb], arns: vec![arn], read: Value::Null, body, baseline, deadline: 30, ago: 0 }
    }

    pub fn resource(&self) -> Value {
        let mut resource = json!({
            "account": "123456789012", "region": "eu-west-1", "actions": self.actions, "arns": self.arns,
        });
        if !self.read.is_null() {
            resource["read"] = self.read.clone();
        }
        resource
    }

    /// Leave to make it, each time under another certificate and so under another mutation id.
    pub fn permit(&self) -> Permit {
        let mutation = json!({"verb": self.verb, "resource": self.resource(), "body": self.body});
        let rule = Rule {
            verbs: BTreeSet::from([self.verb.parse().unwrap()]),
            resources: ["**".parse().unwrap()].into(),
            actions: self.actions.iter().map(|action| action.parse().unwrap()).collect(),
            parameters: Vec::new(),
        };
        let ceiling = TargetCeiling {
            kind: TargetKind::Aws,
            rules: vec![rule],
            accounts: BTreeSet::from(["123456789012".to_owned()]),
            regions: BTreeSet::from(["eu-west-1".to_owned()]),
        };
        match self.ago {
            0 => permit(&mutation, &self.baseline, self.deadline, ceiling),
            ago => {
                let then = Timestamp::from_millis(now().millis() - ago * 1000).unwrap();
                permit_at(then, &mutation, &self.baseline, self.deadline, ceiling)
            }
        }
    }
}
