//! The Terraform modules without their provider: form, sizes, refused inputs, and every policy held against the attacks of
//! `docs/terraform.md`, evaluated as IAM documents it.
//!
//! The policies are those that are deployed: `variables.tf` and `policies.tf` of a module need nothing but its inputs.
//! `UPDATE=1 cargo test --test terraform` rewrites the generated parts of pages.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod detection;
#[cfg(test)]
#[path = "../support/iam.rs"]
mod iam;
#[cfg(test)]
mod inputs;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod readers;
#[cfg(test)]
mod render;
#[cfg(test)]
mod table;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use crate::render::{MODULES, POLICIES, deployed, root, terraform};

    #[test]
    fn modules_and_examples_are_formatted() {
        let (status, output) = terraform(&root(), &["fmt", "-check", "-recursive", "-list=true", "terraform"]);
        assert!(status.success(), "not formatted, run `terraform fmt -recursive terraform`:\n{output}");
    }

    #[test]
    fn every_module_is_tested() {
        let mut found: Vec<_> = std::fs::read_dir(root().join("terraform/modules")).unwrap().collect();
        found.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        let found: Vec<_> = found.into_iter().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(found, MODULES);
    }

    /// Characters that AWS takes.
    fn limit(name: &str) -> usize {
        match name {
            _ if name.contains("_trust") || name.ends_with("/trust") => 2048,
            _ if name.ends_with("bootstrap_permissions") || name.ends_with("pattern") => 2048,
            _ if name.starts_with("guardrails") => 5120,
            "boundary/boundary" | "roles/reader" => 6144,
            _ => 10_240,
        }
    }

    #[test]
    fn policies_keep_the_limits_of_aws() {
        assert!(POLICIES.len() > 15, "{:?}", POLICIES.keys());
        for (name, text) in POLICIES.iter() {
            assert!(text.chars().count() <= limit(name), "{name}: {} of {}", text.chars().count(), limit(name));
            // Minified: every character counts in SCPs and RCPs.
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value.to_string().len(), text.len(), "{name}");
        }
    }

    #[test]
    fn policies_keep_the_grammar_of_their_kind() {
        for (name, text) in POLICIES.iter().filter(|(name, _)| !name.ends_with("pattern")) {
            let value: Value = serde_json::from_str(text).unwrap();
            let mut sids = Vec::new();
            for statement in value["Statement"].as_array().unwrap() {
                let has = |key: &str| statement.get(key).is_some();
                assert!(has("Effect") && (has("Action") != has("NotAction")), "{name}: {statement}");
                if let Some(sid) = statement["Sid"].as_str() {
                    assert!(
                        sid.bytes().all(|octet| octet.is_ascii_alphanumeric()) && !sids.contains(&sid),
                        "{name}: {sid}"
                    );
                    sids.push(sid);
                }
                let about_others = name.contains("trust") || name.ends_with("/queue") || name.ends_with("/resources");
                assert_eq!(has("Principal"), about_others, "{name}: {statement}");
                assert_eq!(has("Resource") || has("NotResource"), !name.contains("trust"), "{name}: {statement}");
                if name.starts_with("guardrails") {
                    assert_eq!(statement["Effect"], "Deny", "{name}: what they allow, AWS's own policy does");
                }
                // Not taken in resource control policies: `NotAction`, and every action at once.
                if name.ends_with("/resources") {
                    assert!(!has("NotAction") && statement["Principal"] == "*", "{statement}");
                    assert!(!crate::iam::texts(&statement["Action"]).contains(&"*".to_owned()), "{statement}");
                }
            }
        }
    }

    /// `main.tf` deploys the texts that are tested here, and no other.
    #[test]
    fn nothing_else_is_deployed() {
        let (mut texts, mut resources) = (0, 0);
        for module in MODULES {
            let main = std::fs::read_to_string(root().join("terraform/modules").join(module).join("main.tf")).unwrap();
            resources +=
                main.matches("resource \"aws_iam_").count() + main.matches("resource \"aws_organizations").count();
            for line in main.lines() {
                let Some((key, value)) = line.split_once(" = ") else { continue };
                let keys = ["assume_role_policy", "policy", "session_policy", "content", "event_pattern"];
                if keys.contains(&key.trim()) {
                    texts += 1;
                    let value = value.trim();
                    assert!(value.starts_with("local.policies") || value == "each.value", "{module}: {line}");
                }
            }
            assert!(!main.contains("jsonencode") && !main.contains("data \""), "{module}");
        }
        assert!(texts >= 12 && resources >= 8, "{texts} {resources}");
    }

    #[test]
    fn a_policy_that_is_too_long_is_refused_before_it_is_deployed() {
        let arns: Vec<_> = (0..150).map(|n| format!("\"arn:aws:sqs:eu-west-1:123456789012:queue-{n:030}\"")).collect();
        let source = format!(
            "module \"long\" {{\n  source                  = \"./modules/organization-guardrails\"\n  target_ids              = [\"r-abcd\"]\n  \
             protected               = {{ actions = [\"sqs:DeleteQueue\"], resources = [{}] }}\n  \
             administrator_role_arns = [\"arn:aws:iam::*:role/infra\"]\n}}\n",
            arns.join(", ")
        );
        let (status, output) = deployed(&source);
        assert!(!status.success());
        assert!(output.contains("AWS takes 5120 characters, and these have more: mutations ("), "{output}");
    }

    /// The policy that a reader has in `examples/aws`, where an emulator holds it against what is read.
    #[test]
    fn the_reader_of_the_examples_has_the_policy_of_the_module() {
        let text = serde_json::to_string_pretty(&value(&POLICIES["roles/reader"])).unwrap() + "\n";
        let path = root().join("examples/aws/reader.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let has = std::fs::read_to_string(&path).unwrap();
        assert_eq!(has, text, "run `UPDATE=1 cargo test --test terraform`");
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// `tests/aws` tries an emulator's evaluation of them, without Terraform. `UPDATE=1` writes them.
    #[test]
    fn the_service_control_policies_that_are_tried_elsewhere_are_these() {
        let path = root().join("tests/golden/service-control-policies.json");
        let policies: BTreeMap<_, Value> = ["controls", "mutations", "sessions"]
            .map(|name| (name, serde_json::from_str(&POLICIES[&format!("guardrails/{name}")]).unwrap()))
            .into();
        let text = serde_json::to_string_pretty(&policies).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let has = std::fs::read_to_string(&path).unwrap();
        assert_eq!(has, text, "run `UPDATE=1 cargo test --test terraform`");
    }
}
