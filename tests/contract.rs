//! The execution contract as its users meet it: the document, the schema, every rule, and what holds of any contract.

#![cfg(test)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use seb::contract::{Bounds, Choice, Contract, Json, Number, Pointer, StepName, json_schema};
use seb::digest::Digest;
use seb::reason::Reason;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn sandbox() -> Value {
    json!({
        "schema": "seb.dev/contract/v1",
        "target": { "kind": "sandbox", "name": "demo" },
        "steps": [{
            "name": "scale",
            "mutation": {
                "verb": "merge",
                "resource": { "collection": "services", "name": "checkout" },
                "body": { "replicas": 10, "tag": null, "flags": [true, false] },
                "parameters": [
                    {
                        "pointer": "/replicas", "required": false,
                        "bounds": { "type": "integer", "minimum": 3, "maximum": 50 },
                    },
                    {
                        "pointer": "/tag", "required": true,
                        "bounds": { "type": "string", "min_length": 1, "max_length": 8, "pattern": "v[0-9]+" },
                    },
                ],
            },
            "baseline": { "mode": "exact", "identity": "services/checkout", "version": "42" },
        }],
        "limits": {
            "uses": 1, "spacing_seconds": 0,
            "not_before": "2026-11-21T00:00:00Z", "not_after": "2026-11-24T00:00:00Z",
        },
        "deadline_seconds": 30,
    })
}

fn kubernetes() -> Value {
    let mut contract = sandbox();
    contract["target"]["kind"] = json!("kubernetes");
    contract["steps"][0]["mutation"] = json!({
        "verb": "create",
        "resource": { "group": "", "version": "v1", "resource": "configmaps", "namespace": "shop", "name": "system:x" },
        "body": { "metadata": { "name": "system:x", "namespace": "shop" }, "data": { "a": "1" } },
        "parameters": [{
            "pointer": "/data/a", "required": false, "bounds": { "type": "enumeration", "values": ["1", "2"] },
        }],
    });
    contract["steps"][0]["baseline"] = json!({ "mode": "absent" });
    contract
}

fn aws() -> Value {
    let mut contract = sandbox();
    contract["target"]["kind"] = json!("aws");
    contract["steps"][0]["mutation"] = json!({
        "verb": "s3:PutBucketPolicy",
        "resource": {
            "account": "123456789012", "region": "eu-west-1",
            "actions": ["s3:PutBucketPolicy"], "arns": ["arn:aws:s3:::bucket"],
        },
        "detached": { "media_type": "application/json", "size": 5, "digest": Digest::of(b"hello").to_string() },
    });
    contract["steps"][0]["baseline"] = json!({
        "mode": "fields", "identity": "arn:aws:s3:::bucket", "version": "\"etag\"",
        "fields": { "/Policy": null, "": {} },
    });
    contract
}

/// Four steps that refer to each other: `a`, `b` after `a` and compensated by `d`, `c` after `b`, and `d`.
fn steps() -> Value {
    let mut contract = sandbox();
    let step = |name: &str| {
        let mut step = sandbox()["steps"][0].clone();
        step["name"] = json!(name);
        step
    };
    contract["steps"] = json!([step("a"), step("b"), step("c"), step("d")]);
    contract["steps"][1]["after"] = json!({ "step": "a", "outcome": "succeeded" });
    contract["steps"][1]["compensation"] = json!("d");
    contract["steps"][2]["after"] = json!({ "step": "b", "outcome": "failed" });
    contract
}

fn compile(value: &Value) -> Contract {
    Contract::compile(&value.to_string()).unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

/// The examples of the document: its fenced blocks of JSON.
fn examples() -> Vec<String> {
    let document = read("docs/contract.md");
    document.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_the_document_are_contracts() {
    let [single, several] = examples().try_into().unwrap();
    let single = Contract::compile(&single).unwrap();
    assert_eq!(single.single_step().unwrap().mutation().parameters().len(), 1);
    let paths = single.steps()[0].mutation().resource().paths();
    assert_eq!(paths, ["apps/v1/namespaces/shop/deployments/checkout/scale"]);
    let several = Contract::compile(&several).unwrap();
    assert_eq!(several.steps().len(), 3);
    assert_eq!(several.single_step().unwrap_err().reason, Reason::ContractStepsUnsupported);
}

/// `UPDATE=1 cargo test --test contract` writes the file anew.
#[test]
fn the_published_schema_is_that_of_the_code() {
    let text = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(format!("{ROOT}/docs/contract.schema.json"), &text).unwrap();
    }
    assert_eq!(read("docs/contract.schema.json"), text, "run `UPDATE=1 cargo test --test contract`");
}

#[test]
fn every_legal_sample_keeps_the_schema_too() {
    let schema = jsonschema::validator_for(&json_schema()).unwrap();
    let mut samples = vec![sandbox(), kubernetes(), aws(), steps()];
    samples.extend(examples().iter().map(|text| serde_json::from_str(text).unwrap()));
    for (pointer, value) in [
        ("/steps/0/mutation/resource/region", json!("aws-global")),
        ("/steps/0/mutation/verb", json!("ec2:RunInstances")),
        ("/steps/0/baseline", json!({ "mode": "absent" })),
        ("/limits/uses", json!(10_000)),
    ] {
        let mut sample = aws();
        *sample.pointer_mut(pointer).unwrap() = value;
        samples.push(sample);
    }
    for sample in samples {
        let contract = compile(&sample);
        schema.validate(&sample).unwrap_or_else(|error| panic!("{error}: {sample}"));
        assert_eq!(Contract::parse(contract.canonical().as_bytes()).unwrap(), contract);
        assert_eq!(contract.digest(), Digest::of(contract.canonical().as_bytes()));
    }
}

/// Puts a value, or removes what is there, at a pointer whose parent exists.
fn edit(document: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match (document.pointer_mut(parent).unwrap(), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(last.to_owned(), value)),
        (Value::Object(members), None) => drop(members.remove(last).unwrap()),
        (Value::Array(values), Some(value)) => values[last.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer}"),
    }
}

/// Edits that break one rule each: base, pointer, new value (none: removed), and what the refusal says.
type Broken = (fn() -> Value, &'static str, Option<Value>, &'static str);

/// Holds the edits against the reader, and where they break the structure against the schema.
fn refused(cases: &[Broken], reason: Reason, structural: bool) {
    let schema = jsonschema::validator_for(&json_schema()).unwrap();
    for (base, pointer, value, says) in cases {
        let mut document = base();
        edit(&mut document, pointer, value.clone());
        let denial = Contract::compile(&document.to_string()).map(|_| ()).unwrap_err();
        let about = format!("{pointer} = {value:?}: {denial}");
        assert_eq!(denial.reason, reason, "{about}");
        assert!(denial.detail.contains(says), "{about}");
        assert_eq!(schema.is_valid(&document), !structural, "{about}");
    }
}

fn list(count: usize, value: impl Fn(usize) -> Value) -> Option<Value> {
    Some((0..count).map(value).collect())
}

#[test]
fn what_breaks_the_structure_is_refused_by_reader_and_schema() {
    let cases: &[Broken] = &[
        (sandbox, "/schema", None, "`/schema`: must be `seb.dev/contract/v1`"),
        (sandbox, "/schema", Some(json!("seb.dev/contract/v2")), "`/schema`"),
        (sandbox, "/extra", Some(json!(1)), "unknown field `extra`"),
        (sandbox, "/target", None, "missing field `target`"),
        (sandbox, "/target", Some(json!(["sandbox", "demo"])), "`/target`: invalid type"),
        (sandbox, "/target/kind", Some(json!("postgres")), "`/target/kind`: unknown variant"),
        (sandbox, "/target/kind", Some(json!({ "sandbox": null })), "`/target/kind`: invalid type"),
        (sandbox, "/target/name", Some(json!("Demo")), "`/target/name`: `Demo` is not the name"),
        (sandbox, "/target/x", Some(json!(1)), "unknown field"),
        (sandbox, "/steps", Some(json!([])), "`/steps`: must have at least one"),
        (sandbox, "/steps", Some(json!({})), "`/steps`: invalid type"),
        (sandbox, "/steps/0/name", Some(json!("a b")), "`/steps/0/name`"),
        (sandbox, "/steps/0/name", Some(json!("a".repeat(33))), "`/steps/0/name`"),
        (sandbox, "/steps/0/after", Some(Value::Null), "`/steps/0/after`: invalid type"),
        (sandbox, "/steps/0/compensation", Some(Value::Null), "`/steps/0/compensation`: invalid type"),
        (sandbox, "/steps/0/dry_run", Some(json!(false)), "`/steps/0/dry_run`: must be `true`: leave it out instead"),
        (sandbox, "/steps/0/dry_run", Some(json!("yes")), "`/steps/0/dry_run`: invalid type"),
        (sandbox, "/steps/0/when", Some(json!(1)), "unknown field"),
        (steps, "/steps/1/after/outcome", Some(json!("unknown")), "`/steps/1/after/outcome`: unknown variant"),
        (steps, "/steps/1/after/x", Some(json!(1)), "unknown field"),
        (sandbox, "/steps/0/mutation/verb", Some(json!("patch")), "`/steps/0/mutation/verb`: `patch` is not a verb"),
        (sandbox, "/steps/0/mutation/verb", Some(json!("update")), "`update` is not a verb of a target of kind"),
        (sandbox, "/steps/0/mutation/verb", Some(json!("s3:PutObject")), "is not a verb of a target of kind"),
        (aws, "/steps/0/mutation/verb", Some(json!("delete")), "is not a verb of a target of kind"),
        (aws, "/steps/0/mutation/verb", Some(json!("s3:*")), "is not a verb"),
        (aws, "/steps/0/mutation/verb", Some(json!("s3:putObject")), "is not a verb"),
        (sandbox, "/steps/0/mutation/detached", Some(aws()["steps"][0]["mutation"]["detached"].clone()), "keep one"),
        (
            sandbox,
            "/steps/0/mutation/parameters",
            Some(json!([])),
            "`/steps/0/mutation/parameters`: must have at least",
        ),
        (sandbox, "/steps/0/mutation/parameters", Some(Value::Null), "invalid type"),
        (sandbox, "/steps/0/mutation/parameters/0/pointer", Some(json!("replicas")), "is not a JSON pointer"),
        (sandbox, "/steps/0/mutation/parameters/0/required", None, "missing field `required`"),
        (sandbox, "/steps/0/mutation/parameters/0/bounds/step", Some(json!(2)), "unknown field"),
        (sandbox, "/steps/0/mutation/parameters/0/bounds/minimum", Some(json!(3.5)), "invalid type"),
        (sandbox, "/steps/0/mutation/parameters/0/bounds", Some(json!(["boolean"])), "must be an object"),
        (sandbox, "/steps/0/mutation/resource", Some(json!(["services", "checkout"])), "`/steps/0/mutation/resource`"),
        (sandbox, "/steps/0/mutation/resource/name", Some(json!("a/b")), "`/steps/0/mutation/resource/name`: expected"),
        (sandbox, "/steps/0/mutation/resource/collection", Some(json!("")), "`/steps/0/mutation/resource/collection`"),
        (sandbox, "/steps/0/mutation/resource/x", Some(json!("")), "unknown field"),
        (
            kubernetes,
            "/steps/0/mutation/resource",
            Some(sandbox()["steps"][0]["mutation"]["resource"].clone()),
            "unknown",
        ),
        (kubernetes, "/steps/0/mutation/resource/group", Some(json!("Apps")), "`/steps/0/mutation/resource/group`"),
        (kubernetes, "/steps/0/mutation/resource/version", Some(json!("")), "`/steps/0/mutation/resource/version`"),
        (
            kubernetes,
            "/steps/0/mutation/resource/resource",
            Some(json!("a/b")),
            "`/steps/0/mutation/resource/resource`",
        ),
        (kubernetes, "/steps/0/mutation/resource/namespace", Some(Value::Null), "invalid type"),
        (
            kubernetes,
            "/steps/0/mutation/resource/namespace",
            Some(json!("a.b")),
            "`/steps/0/mutation/resource/namespace`",
        ),
        (kubernetes, "/steps/0/mutation/resource/subresource", Some(json!("")), "resource/subresource`"),
        (kubernetes, "/steps/0/mutation/resource/name", Some(json!("a/b")), "`/steps/0/mutation/resource/name`"),
        (kubernetes, "/steps/0/mutation/resource/name", Some(json!("a%2fb")), "`/steps/0/mutation/resource/name`"),
        (kubernetes, "/steps/0/mutation/resource/name", Some(json!("a".repeat(254))), "resource/name`"),
        (aws, "/steps/0/mutation/resource/account", Some(json!("12345678901")), "12 digits"),
        (aws, "/steps/0/mutation/resource/region", Some(json!("")), "a region id"),
        (aws, "/steps/0/mutation/resource/region", Some(json!("global")), "a region id"),
        (aws, "/steps/0/mutation/resource/actions", Some(json!([])), "actions`"),
        (aws, "/steps/0/mutation/resource/actions/0", Some(json!("s3:Put*")), "actions/0`"),
        (aws, "/steps/0/mutation/resource/actions", Some(json!(["s3:GetObject", "s3:GetObject"])), "distinct"),
        (aws, "/steps/0/mutation/resource/arns/0", Some(json!("arn:aws:s3:::*")), "ARNs"),
        (aws, "/steps/0/mutation/resource/arns/0", Some(json!("arn:aws:s3:::a?")), "ARNs"),
        (aws, "/steps/0/mutation/resource/arns/0", Some(json!("bucket")), "ARNs"),
        (aws, "/steps/0/mutation/detached/size", Some(json!(0)), "`/steps/0/mutation/detached/size`"),
        (aws, "/steps/0/mutation/detached/digest", Some(json!("sha256:00")), "is not a digest"),
        (aws, "/steps/0/mutation/detached/media_type", Some(json!("json")), "a media type"),
        (aws, "/steps/0/mutation/detached/media_type", Some(json!("text/plain; charset=utf-8")), "a media type"),
        (sandbox, "/steps/0/baseline", Some(json!({ "mode": "any" })), "`/steps/0/baseline`: unknown variant"),
        (sandbox, "/steps/0/baseline", Some(json!({ "mode": "absent", "version": "1" })), "unknown field"),
        (sandbox, "/steps/0/baseline", Some(json!(["exact", "a", "1"])), "must be an object"),
        (sandbox, "/steps/0/baseline/fields", Some(json!({ "/a": 1 })), "unknown field"),
        (sandbox, "/steps/0/baseline/identity", Some(json!("")), "`/steps/0/baseline/identity`"),
        (sandbox, "/steps/0/baseline/identity", Some(json!("a\u{85}")), "`/steps/0/baseline/identity`"),
        (sandbox, "/steps/0/baseline/version", Some(json!("")), "is not a version token"),
        (sandbox, "/steps/0/baseline/version", Some(json!(42)), "invalid type"),
        (aws, "/steps/0/baseline/fields", Some(json!({})), "`/steps/0/baseline/fields`: must have at least one"),
        (aws, "/steps/0/baseline/fields", Some(json!({ "a": 1 })), "is not a JSON pointer"),
        (sandbox, "/limits/uses", Some(json!(0)), "`/limits/uses`"),
        (sandbox, "/limits/uses", Some(json!(10_001)), "`/limits/uses`"),
        (sandbox, "/limits/uses", Some(json!(1.5)), "`/limits/uses`"),
        (sandbox, "/limits/uses", Some(json!("1")), "`/limits/uses`"),
        (sandbox, "/limits/spacing_seconds", Some(json!(31_536_001)), "`/limits/spacing_seconds`"),
        (sandbox, "/limits/spacing_seconds", Some(json!(-1)), "`/limits/spacing_seconds`"),
        (
            sandbox,
            "/limits/not_before",
            Some(json!("2026-11-21T00:00:00.500Z")),
            "`/limits/not_before`: must be a whole",
        ),
        (sandbox, "/limits/not_after", Some(json!("2026-11-24")), "`/limits/not_after`"),
        (sandbox, "/limits/not_after", None, "missing field"),
        (sandbox, "/deadline_seconds", Some(json!(0)), "`/deadline_seconds`"),
        (sandbox, "/deadline_seconds", Some(json!(3601)), "`/deadline_seconds`"),
    ];
    refused(cases, Reason::ContractSchema, true);
}

#[test]
fn what_breaks_a_rule_between_fields_is_refused() {
    let cases: &[Broken] = &[
        (sandbox, "/steps/0/mutation/body", None, "needs `body` or `detached`"),
        (sandbox, "/steps/0/mutation/body", Some(json!({ "tag": null })), "`/replicas` is no place of the body"),
        (sandbox, "/steps/0/mutation/body/replicas", Some(json!(2)), "0/bounds`: the default is 2, and must be from 3"),
        (sandbox, "/steps/0/mutation/body/replicas", Some(Value::Null), "0/bounds`: the default is null"),
        (sandbox, "/steps/0/mutation/body/tag", Some(json!("v1")), "put null into its place"),
        (sandbox, "/steps/0/mutation/parameters/0/pointer", Some(json!("")), "not all of it"),
        (sandbox, "/steps/0/mutation/parameters/0/pointer", Some(json!("/flags/-")), "is no place of the body"),
        (sandbox, "/steps/0/mutation/parameters/0/pointer", Some(json!("/flags/2")), "is no place of the body"),
        (sandbox, "/steps/0/mutation/parameters/1/bounds/pattern", Some(json!("\\d+")), "instead of `\\d`"),
        (
            sandbox,
            "/steps/0/mutation/parameters",
            Some(json!([
                { "pointer": "/flags/0", "required": false, "bounds": { "type": "boolean" } },
                {
                    "pointer": "/flags", "required": false,
                    "bounds": { "type": "list", "min_items": 0, "max_items": 3, "items": { "type": "boolean" } },
                },
            ])),
            "`/flags` and `/flags/0` overlap",
        ),
        (
            sandbox,
            "/steps/0/mutation/parameters/1",
            Some(sandbox()["steps"][0]["mutation"]["parameters"][0].clone()),
            "overlap",
        ),
        (sandbox, "/steps/0/mutation/verb", Some(json!("delete")), "a `delete` has no body"),
        (sandbox, "/steps/0/mutation/verb", Some(json!("create")), "must be `absent`"),
        (sandbox, "/steps/0/baseline", Some(json!({ "mode": "absent" })), "must not be `absent`"),
        (sandbox, "/steps/0/baseline/version", Some(json!("042")), "is not the version token of a `sandbox` object"),
        (sandbox, "/steps/0/baseline/version", Some(json!("18446744073709551616")), "version token of a `sandbox`"),
        (sandbox, "/steps/0/baseline/version", Some(json!("+1")), "version token of a `sandbox`"),
        (kubernetes, "/steps/0/mutation/resource/group", Some(json!("core")), "nothing for the core group"),
        (kubernetes, "/steps/0/mutation/resource/group", Some(json!("a..b")), "DNS-1123 subdomain"),
        (kubernetes, "/steps/0/mutation/resource/name", Some(json!("..")), "not `.` or `..`"),
        (
            kubernetes,
            "/steps/0/mutation/body",
            Some(json!([])),
            "`/steps/0/mutation/body`: is array, and must be an object",
        ),
        (kubernetes, "/steps/0/mutation/body/metadata/name", Some(json!("other")), "body/metadata/name`: must be the"),
        (kubernetes, "/steps/0/mutation/body/metadata/name", None, "body/metadata/name`: must be the resource's name"),
        (
            kubernetes,
            "/steps/0/mutation/body/metadata/namespace",
            Some(json!("other")),
            "must be the resource's namespace",
        ),
        (kubernetes, "/steps/0/mutation/resource/namespace", None, "must be absent: the resource has no namespace"),
        (
            kubernetes,
            "/steps/0/mutation/parameters/0",
            Some(json!({
                "pointer": "/metadata/name", "required": false,
                "bounds": { "type": "enumeration", "values": ["system:x"] },
            })),
            "parameters/0`: leaves `/metadata/name` open",
        ),
        (
            kubernetes,
            "/steps/0/baseline",
            Some(json!({ "mode": "exact", "identity": "uid", "version": "1" })),
            "must be `absent`: `create` makes a new object",
        ),
        (kubernetes, "/steps/0/mutation/verb", Some(json!("update")), "must not be `absent`"),
        (kubernetes, "/steps/0/mutation/verb", Some(json!("json-patch")), "must be an array"),
        (
            aws,
            "/steps/0/mutation/resource/arns/0",
            Some(json!("arn:aws:s3:::a/${aws:username}")),
            "without `*`, `?` and `${`",
        ),
        (aws, "/steps/0/mutation/resource/arns/0", Some(json!("arn:aws:s3::")), "complete ARNs"),
        (
            aws,
            "/steps/0/mutation/parameters",
            Some(json!([{ "pointer": "/a", "required": false, "bounds": { "type": "boolean" } }])),
            "there is no inline body",
        ),
        (steps, "/steps/2/name", Some(json!("a")), "`/steps/2/name`: another step has this name"),
        (steps, "/steps/1/after/step", Some(json!("b")), "`/steps/1/after`: must name an earlier step"),
        (steps, "/steps/1/after/step", Some(json!("c")), "must name an earlier step"),
        (steps, "/steps/1/after/step", Some(json!("x")), "must name an earlier step"),
        (
            steps,
            "/steps/1/compensation",
            Some(json!("a")),
            "`/steps/1/after`: must not name a step that compensates another",
        ),
        (steps, "/steps/1/compensation", Some(json!("b")), "`/steps/1`: compensates another step"),
        (steps, "/steps/1/compensation", Some(json!("x")), "must name a later step"),
        (steps, "/steps/1/compensation", Some(json!("c")), "`/steps/2`: compensates another step"),
        (
            steps,
            "/steps/3/after",
            Some(json!({ "step": "a", "outcome": "failed" })),
            "`/steps/3`: compensates another step",
        ),
        (steps, "/steps/0/compensation", Some(json!("b")), "`/steps/1`: compensates another step"),
        (sandbox, "/limits/not_after", Some(json!("2026-11-20T23:59:59Z")), "`/limits/not_after`: must not be before"),
    ];
    refused(cases, Reason::ContractSchema, false);
    let mut earlier = steps();
    edit(&mut earlier, "/steps/1/after", None);
    edit(&mut earlier, "/steps/1/compensation", Some(json!("a")));
    let denial = Contract::compile(&earlier.to_string()).unwrap_err();
    assert!(denial.detail.contains("`/steps/1/compensation`: must name a later step"), "{denial}");
}

#[test]
fn what_is_too_long_is_refused_as_too_large() {
    let step = |index: usize| {
        let mut step = json!({
            "mutation": { "verb": "delete", "resource": { "collection": "a", "name": "b" } },
            "baseline": { "mode": "exact", "identity": "i", "version": "1" },
        });
        step["name"] = json!(format!("s{index}"));
        step
    };
    let arns = list(33, |index| json!(format!("arn:aws:s3:::bucket-{index}")));
    let actions = list(17, |index| json!(format!("s3:Action{index}")));
    let fields: Value =
        (0..65).map(|index| (format!("/{index}"), json!(index))).collect::<serde_json::Map<_, _>>().into();
    let parameters =
        list(65, |index| json!({ "pointer": format!("/{index}"), "required": false, "bounds": { "type": "boolean" } }));
    let cases: &[Broken] = &[
        (sandbox, "/steps", list(17, step), "has 17 steps"),
        (sandbox, "/steps/0/mutation/parameters", parameters, "has 65 parameters"),
        (aws, "/steps/0/mutation/resource/arns", arns, "has 33 ARNs"),
        (aws, "/steps/0/mutation/resource/actions", actions, "has 17 actions"),
        (aws, "/steps/0/mutation/detached/size", Some(json!(4 * 1024 * 1024 + 1)), "at most 4 MiB"),
        (aws, "/steps/0/baseline/fields", Some(fields), "has 65 fields"),
    ];
    refused(cases, Reason::ContractTooLarge, true);
    let mut sixteen = sandbox();
    sixteen["steps"] = list(16, step).unwrap();
    assert_eq!(compile(&sixteen).steps().len(), 16);
}

#[test]
fn bounds_on_size_and_depth_are_those_of_the_document() {
    // A body of exactly so many octets.
    let with_body = |octets: usize| {
        let mut contract = sandbox();
        contract["steps"][0]["mutation"]["body"] = json!("a".repeat(octets - 2));
        contract["steps"][0]["mutation"].as_object_mut().unwrap().remove("parameters");
        contract
    };
    compile(&with_body(Contract::MAX_INLINE));
    let denial = Contract::compile(&with_body(Contract::MAX_INLINE + 1).to_string()).unwrap_err();
    assert_eq!(denial.reason, Reason::ContractTooLarge);
    assert!(denial.detail.starts_with("`/steps/0/mutation/body`: has more than 16 KiB"), "{denial}");

    let denial = Contract::parse(&vec![b' '; Contract::MAX_OCTETS + 1]).unwrap_err();
    assert_eq!(denial.reason, Reason::ContractTooLarge);
    let denial = Contract::parse(&vec![b' '; Contract::MAX_OCTETS]).unwrap_err();
    assert_eq!(denial.reason, Reason::ContractEncoding);
    // White space may make the author's text longer than the contract.
    let spaces = " ".repeat(Contract::MAX_OCTETS);
    assert!(Contract::compile(&format!("{}{spaces}", sandbox())).is_ok());

    let mut deep = sandbox();
    for _ in 0..40 {
        deep["steps"][0]["mutation"]["body"] = json!([deep["steps"][0]["mutation"]["body"]]);
    }
    assert_eq!(Contract::compile(&deep.to_string()).unwrap_err().reason, Reason::ContractTooLarge);
}

#[test]
fn only_the_canonical_text_is_read() {
    let contract = compile(&sandbox());
    let text = contract.canonical();
    for (other, reason) in [
        (format!("{text} "), Reason::ContractEncoding),
        (format!(" {text}"), Reason::ContractEncoding),
        (format!("\u{feff}{text}"), Reason::ContractEncoding),
        (text.replace("\"uses\":1", "\"uses\":1.0"), Reason::ContractEncoding),
        (text.replace("\"uses\":1", "\"uses\":1,\"uses\":1"), Reason::ContractEncoding),
        (text.replace("\"scale\"", "\"sc\\u0061le\""), Reason::ContractEncoding),
        (text.replace("\"replicas\":10", "\"replicas\":9007199254740993"), Reason::ContractEncoding),
        (serde_json::to_string_pretty(&sandbox()).unwrap(), Reason::ContractEncoding),
        (String::new(), Reason::ContractEncoding),
        ("[".repeat(40_000), Reason::ContractTooLarge),
        ("null".to_owned(), Reason::ContractSchema),
    ] {
        assert_eq!(Contract::parse(other.as_bytes()).unwrap_err().reason, reason, "{other:.60}");
    }
    assert_eq!(Contract::parse(text.as_bytes()).unwrap(), contract);
}

#[test]
fn a_contract_made_of_its_parts_is_the_same() {
    for sample in [sandbox(), kubernetes(), aws(), steps()] {
        let contract = compile(&sample);
        let made = Contract::new(contract.target(), contract.steps(), contract.limits(), contract.deadline());
        assert_eq!(made.unwrap(), contract);
    }
    let contract = compile(&sandbox());
    let (target, steps, limits) = (contract.target(), contract.steps(), contract.limits());
    for seconds in [0.0, 0.5, 3601.0, 1e18] {
        let deadline = std::time::Duration::from_secs_f64(seconds);
        assert_eq!(Contract::new(target, steps, limits, deadline).unwrap_err().reason, Reason::ContractSchema);
    }
    assert_eq!(Contract::new(target, &[], limits, contract.deadline()).unwrap_err().reason, Reason::ContractSchema);
}

#[test]
fn steps_are_found_by_name() {
    let name = |text: &str| text.parse::<StepName>().unwrap();
    let (one, four) = (compile(&sandbox()), compile(&steps()));
    assert_eq!(one.step(None).unwrap().name(), &name("scale"));
    assert_eq!(one.step(Some(&name("scale"))).unwrap().name(), &name("scale"));
    assert_eq!(one.step(Some(&name("other"))).unwrap_err().reason, Reason::StepUnknown);
    assert_eq!(four.step(None).unwrap_err().reason, Reason::StepUnknown);
    assert_eq!(four.step(Some(&name("c"))).unwrap().name(), &name("c"));
}

/// Any JSON of modest size whose numbers are exact.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u32>().prop_map(Json::from),
        (-1e6..1e6).prop_map(|it| Json::Number(Number::new(it).unwrap())),
        "\\PC{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            proptest::collection::vec(("[a-d~/é]{0,2}", inner), 0..4).prop_map(Json::object),
        ]
    })
}

/// A kind of bounds, and a value inside that is null where `required`.
fn any_parameter() -> impl Strategy<Value = (Value, Value, bool)> {
    let bounds = prop_oneof![
        Just((json!({ "type": "boolean" }), json!(true))),
        (0..20_i64, 0..20_i64)
            .prop_map(|(a, b)| { (json!({ "type": "integer", "minimum": a.min(b), "maximum": a.max(b) }), json!(a)) }),
        (0..8_u32, 0..8_u32).prop_map(|(a, b)| {
            (
                json!({ "type": "number", "minimum": f64::from(a.min(b)) / 8.0, "maximum": f64::from(a.max(b)) / 8.0 }),
                json!(f64::from(a) / 8.0),
            )
        }),
        Just((json!({ "type": "enumeration", "values": ["a", 1, true] }), json!(1))),
        Just((json!({ "type": "string", "min_length": 0, "max_length": 4, "pattern": "[a-z]*" }), json!("ab"))),
        Just((
            json!({ "type": "list", "min_items": 0, "max_items": 3, "items": { "type": "boolean" } }),
            json!([true, false])
        )),
    ];
    (bounds, any::<bool>())
        .prop_map(|((bounds, default), required)| (bounds, if required { Value::Null } else { default }, required))
}

/// Contracts of one step whose body has parameters at `/p0`, `/p1`, ..., and anything else beside them.
fn any_contract() -> impl Strategy<Value = (Value, Json)> {
    (proptest::collection::vec(any_parameter(), 0..5), any_json(), any::<u32>()).prop_map(|(open, beside, version)| {
        let mut contract = sandbox();
        let mut body = json!({ "beside": beside });
        let mut parameters = Vec::new();
        for (index, (bounds, default, required)) in open.into_iter().enumerate() {
            body[format!("p{index}")] = default;
            parameters.push(json!({ "pointer": format!("/p{index}"), "required": required, "bounds": bounds }));
        }
        let mutation = contract["steps"][0]["mutation"].as_object_mut().unwrap();
        mutation.remove("parameters");
        if !parameters.is_empty() {
            mutation.insert("parameters".into(), parameters.into());
        }
        mutation.insert("body".into(), body.clone());
        contract["steps"][0]["baseline"] = json!({
            "mode": "fields", "identity": "i", "version": version.to_string(), "fields": { "/x": beside },
        });
        let body = Json::parse(body.to_string().as_bytes()).unwrap();
        (contract, body)
    })
}

/// What an agent may send: values at the places of parameters and elsewhere, right and wrong ones.
fn any_choice() -> impl Strategy<Value = Choice> {
    let pointer = prop_oneof![4 => "/p[0-4]", 1 => "/beside(/[a-d])?", 1 => Just(String::new()), 1 => "/p[0-4]/0"];
    let value = prop_oneof![
        2 => any::<bool>().prop_map(Json::from),
        2 => (0..20_u32).prop_map(Json::from),
        2 => "[a-z]{0,5}".prop_map(Json::from),
        1 => proptest::collection::vec(any::<bool>().prop_map(Json::from), 0..4).prop_map(Json::Array),
        1 => any_json(),
    ];
    proptest::collection::btree_map(pointer.prop_map(|text| Pointer::parse(&text).unwrap()), value, 0..4)
        .prop_map(|values| Choice { values, body: None })
}

/// The value as text with other white space, and the members of each object rotated.
fn scramble(value: &Value, turn: usize, out: &mut String) {
    let space = ["", " ", "\n\t", "\r\n  "][turn % 4];
    match value {
        Value::Object(members) => {
            out.push('{');
            let count = members.len();
            for (index, (name, value)) in members.iter().cycle().skip(turn).take(count).enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                out.push_str(&format!("{space}{}{space}:", json!(name)));
                scramble(value, turn + index + 1, out);
            }
            out.push('}');
        }
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                scramble(value, turn + index, out);
                out.push_str(space);
            }
            out.push(']');
        }
        other => out.push_str(&format!("{space}{other}{space}")),
    }
}

proptest! {
    #[test]
    fn a_contract_has_one_text_and_one_digest((value, _) in any_contract(), turn in 0_usize..100) {
        let contract = compile(&value);
        let again = Contract::parse(contract.canonical().as_bytes()).unwrap();
        prop_assert_eq!(again.digest(), contract.digest());
        prop_assert_eq!(&again, &contract);
        prop_assert_eq!(&Contract::compile(contract.canonical()).unwrap(), &contract);
        let mut scrambled = String::new();
        scramble(&value, turn, &mut scrambled);
        prop_assert_eq!(&Contract::compile(&scrambled).unwrap(), &contract);
        let made = Contract::new(contract.target(), contract.steps(), contract.limits(), contract.deadline());
        prop_assert_eq!(made.unwrap(), contract);
    }

    #[test]
    fn applying_values_touches_the_named_places_only((value, body) in any_contract(), choice in any_choice()) {
        let contract = compile(&value);
        let parameters = contract.steps()[0].mutation().parameters();
        match contract.call(None, &choice) {
            Ok(call) => {
                let seb::contract::CallBody::Inline(sent) = call.body() else { panic!() };
                let mut restored = sent.clone();
                for (pointer, value) in &choice.values {
                    prop_assert!(parameters.iter().any(|parameter| parameter.pointer() == pointer));
                    prop_assert_eq!(pointer.resolve(sent), Some(value));
                    let original = pointer.resolve(&body).unwrap().clone();
                    pointer.replace(&mut restored, original).unwrap();
                }
                prop_assert_eq!(restored, body);
                for parameter in parameters {
                    let sent = parameter.pointer().resolve(sent).unwrap();
                    prop_assert_eq!(parameter.bounds().check(sent), Ok(()));
                }
                prop_assert_eq!(call.digest(), contract.call(None, &choice).unwrap().digest());
            }
            Err(denials) => {
                prop_assert!(!denials.is_empty());
                prop_assert!(denials.is_sorted());
            }
        }
    }

    #[test]
    fn different_choices_give_different_calls(a in 3_u32..=50, b in 3_u32..=50) {
        let contract = compile(&sandbox());
        let digest = |replicas: u32| {
            let values = [("/replicas", Json::from(replicas)), ("/tag", "v1".into())];
            let values = values.map(|(pointer, value)| (Pointer::parse(pointer).unwrap(), value));
            contract.call(None, &Choice { values: BTreeMap::from(values), body: None }).unwrap().digest()
        };
        prop_assert_eq!(digest(a) == digest(b), a == b);
    }

    #[test]
    fn a_spoilt_contract_is_refused_or_another(
        sample in 0_usize..4, at: prop::sample::Index, with: u8, how in 0..3,
    ) {
        let contract = compile(&[sandbox(), kubernetes(), aws(), steps()][sample]);
        let mut octets = contract.canonical().as_bytes().to_vec();
        let at = at.index(octets.len());
        match how {
            0 => octets[at] = with,
            1 => octets.insert(at, with),
            _ => drop(octets.remove(at)),
        }
        if let Ok(other) = Contract::parse(&octets) {
            prop_assert_eq!(other.canonical().as_bytes(), &octets);
            prop_assert_eq!(other.digest() == contract.digest(), other == contract);
        }
    }

    #[test]
    fn no_octets_panic(octets: Vec<u8>, text in "\\PC{0,60}") {
        let _refused = Contract::parse(&octets);
        let _refused = Contract::compile(&text);
        let _refused = Pointer::parse(&text);
        let _refused = Bounds::string(0, 10, Some(&text));
    }

    #[test]
    fn no_value_in_the_place_of_another_panics(
        sample in 0_usize..4, at: prop::sample::Index, with in any_json(),
    ) {
        let mut document = [sandbox(), kubernetes(), aws(), steps()][sample].clone();
        let mut pointers = Vec::new();
        places(&document, String::new(), &mut pointers);
        *document.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = serde_json::to_value(&with).unwrap();
        if let Ok(contract) = Contract::compile(&document.to_string()) {
            prop_assert_eq!(&Contract::parse(contract.canonical().as_bytes()).unwrap(), &contract);
            let schema = jsonschema::validator_for(&json_schema()).unwrap();
            prop_assert!(schema.is_valid(&document), "the schema refuses what the reader accepts: {}", document);
        }
    }
}

/// The pointers to every value of a document.
fn places(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                places(value, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                places(value, format!("{at}/{index}"), out);
            }
        }
        _ => {}
    }
    out.push(at);
}
