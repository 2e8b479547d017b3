//! What is in an account, read by AWS's own API and not by Terraform.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};

use crate::testbed::aws::{Api, Asked, Keys, element, elements};

/// An account, and whoever may do everything in it.
pub struct Account<'a> {
    pub api: &'a Api,
    pub keys: Keys,
}

/// A role, as IAM has it.
#[derive(Debug)]
pub struct Role {
    pub trust: Value,
    pub boundary: Option<String>,
    pub policies: BTreeMap<String, Value>,
}

impl Account<'_> {
    pub async fn ask(&self, asked: &Asked) -> String {
        let (status, answer) = self.api.send(&self.keys, asked).await;
        assert_eq!(status, StatusCode::OK, "{answer}\n{asked:?}");
        answer
    }

    async fn json(&self, service: &'static str, target: &str, body: Value) -> Value {
        let answer = self.ask(&Asked::json(service, target, &body)).await;
        serde_json::from_str(&answer).unwrap()
    }

    async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.ask(&Asked::query("iam", action, parameters)).await
    }

    /// The names of everything that Terraform could have made here, and that is not about to be deleted.
    pub async fn inventory(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let local = [("Scope", "Local")];
        for (action, parameters) in
            [("ListRoles", &[][..]), ("ListPolicies", &local), ("ListOpenIDConnectProviders", &[]), ("ListUsers", &[])]
        {
            let answer = self.iam(action, parameters).await;
            assert_ne!(element(&answer, "IsTruncated").as_deref(), Some("true"), "{answer}");
            found.extend(elements(&answer, "Arn"));
        }
        found.extend(elements(&self.ask(&Asked::query("sns", "ListTopics", &[])).await, "TopicArn"));
        let rules = self.json("events", "AWSEvents.ListRules", json!({})).await;
        found.extend(texts(&rules["Rules"], "Arn"));
        let alarms = self.json("monitoring", "GraniteServiceVersion20100801.DescribeAlarms", json!({})).await;
        found.extend(texts(&alarms["MetricAlarms"], "AlarmArn"));
        let queues = self.json("sqs", "AmazonSQS.ListQueues", json!({})).await;
        found.extend(queues["QueueUrls"].as_array().into_iter().flatten().map(|url| url.as_str().unwrap().to_owned()));
        let keys = self.json("kms", "TrentService.ListKeys", json!({})).await;
        for id in texts(&keys["Keys"], "KeyId") {
            let key = self.json("kms", "TrentService.DescribeKey", json!({ "KeyId": id })).await;
            if key["KeyMetadata"]["KeyState"] == "Enabled" {
                found.insert(id);
            }
        }
        found
    }

    pub async fn role(&self, name: &str) -> Role {
        let by_name = ("RoleName", name);
        let answer = self.iam("GetRole", &[by_name]).await;
        let mut policies = BTreeMap::new();
        for policy in elements(&self.iam("ListRolePolicies", &[by_name]).await, "member") {
            let text = self.iam("GetRolePolicy", &[by_name, ("PolicyName", &policy)]).await;
            policies.insert(policy, document(&text, "PolicyDocument"));
        }
        Role {
            trust: document(&answer, "AssumeRolePolicyDocument"),
            boundary: element(&answer, "PermissionsBoundaryArn"),
            policies,
        }
    }

    pub async fn managed_policy(&self, arn: &str) -> Value {
        let answer = self.iam("GetPolicy", &[("PolicyArn", arn)]).await;
        let version = element(&answer, "DefaultVersionId").unwrap();
        document(&self.iam("GetPolicyVersion", &[("PolicyArn", arn), ("VersionId", &version)]).await, "Document")
    }

    pub async fn pattern(&self, rule: &str) -> Value {
        let answer = self.json("events", "AWSEvents.DescribeRule", json!({ "Name": rule })).await;
        assert_eq!(answer["State"], "ENABLED", "{answer}");
        serde_json::from_str(answer["EventPattern"].as_str().unwrap()).unwrap()
    }

    /// To what a rule leads.
    pub async fn targets(&self, rule: &str) -> Vec<String> {
        let answer = self.json("events", "AWSEvents.ListTargetsByRule", json!({ "Rule": rule })).await;
        texts(&answer["Targets"], "Arn")
    }

    /// Who is told of each alarm, by its name.
    pub async fn alarms(&self) -> BTreeMap<String, Value> {
        let answer = self.json("monitoring", "GraniteServiceVersion20100801.DescribeAlarms", json!({})).await;
        let alarms = answer["MetricAlarms"].as_array().unwrap().iter();
        alarms.map(|alarm| (alarm["AlarmName"].as_str().unwrap().to_owned(), alarm["AlarmActions"].clone())).collect()
    }

    pub async fn queue_policy(&self, queue: &str) -> Value {
        let body = json!({ "QueueUrl": self.queue(queue).await, "AttributeNames": ["Policy"] });
        let answer = self.json("sqs", "AmazonSQS.GetQueueAttributes", body).await;
        serde_json::from_str(answer["Attributes"]["Policy"].as_str().unwrap()).unwrap()
    }

    async fn queue(&self, name: &str) -> Value {
        self.json("sqs", "AmazonSQS.GetQueueUrl", json!({ "QueueName": name })).await["QueueUrl"].clone()
    }

    /// Puts an event on the bus, as CloudTrail does.
    pub async fn happens(&self, source: &str, detail: &Value) {
        let kind = "AWS API Call via CloudTrail";
        let entry = json!({ "Source": source, "DetailType": kind, "Detail": detail.to_string() });
        let answer = self.json("events", "AWSEvents.PutEvents", json!({ "Entries": [entry] })).await;
        assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
    }

    /// Takes what is in a queue now: the details of the events.
    pub async fn take(&self, queue: &str) -> Vec<Value> {
        let body = json!({ "QueueUrl": self.queue(queue).await, "MaxNumberOfMessages": 10 });
        let answer = self.json("sqs", "AmazonSQS.ReceiveMessage", body).await;
        let bodies = texts(&answer["Messages"], "Body").into_iter();
        bodies.map(|body| serde_json::from_str::<Value>(&body).unwrap()["detail"].clone()).collect()
    }

    /// The organization's own policies of a kind: id and content, by name.
    pub async fn organization_policies(&self, kind: &str) -> BTreeMap<String, (String, Value)> {
        let mut found = BTreeMap::new();
        let listed = self.organization("ListPolicies", json!({ "Filter": kind })).await;
        for id in texts(&listed["Policies"], "Id").into_iter().filter(|id| id != "p-FullAWSAccess") {
            let policy = &self.organization("DescribePolicy", json!({ "PolicyId": id })).await["Policy"];
            let content = serde_json::from_str(policy["Content"].as_str().unwrap()).unwrap();
            found.insert(policy["PolicySummary"]["Name"].as_str().unwrap().to_owned(), (id, content));
        }
        found
    }

    /// To what a policy of the organization is attached.
    pub async fn attached(&self, policy: &str) -> Vec<String> {
        let answer = self.organization("ListTargetsForPolicy", json!({ "PolicyId": policy })).await;
        texts(&answer["Targets"], "TargetId")
    }

    /// A call of AWS Organizations.
    pub async fn organization(&self, operation: &str, body: Value) -> Value {
        self.api.organization(&self.keys, operation, &body).await
    }
}

/// A member of each of a list.
fn texts(list: &Value, member: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|each| each[member].as_str().unwrap().to_owned()).collect()
}

/// A document of IAM, which is escaped as in a URL.
fn document(answer: &str, element_name: &str) -> Value {
    let text = element(answer, element_name).unwrap_or_else(|| panic!("no {element_name}: {answer}"));
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            octets.extend(base16ct::mixed::decode_vec(&after[..2]).unwrap());
            rest = &after[2..];
        } else {
            octets.push(*first);
        }
    }
    serde_json::from_slice(&octets).unwrap()
}
