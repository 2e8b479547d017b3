//! What is said about the chart is what it says itself: the tables of its values, of the exemptions and of the attacks.
//!
//! `UPDATE=1 cargo test --test helm` rewrites them. What the chart makes is tested by `tests/boundary_kubernetes.rs`.

#![cfg(test)]

#[path = "boundary/table.rs"]
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use table::{ACCOUNTS, ATTACKS, By, EXECUTORS, Row};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Holds the part `name` of a page against what it should be, or writes it there with `UPDATE=1`.
#[track_caller]
fn current_part(page: &str, name: &str, expected: &str) {
    // Two tests write parts of one page.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let text = read(page);
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} has no part {name}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the part {name} of {page} has no end"));
    let expected = format!("{before}{begin}{expected}{end}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(page), expected).unwrap();
    } else {
        assert!(text == expected, "{page} is not current: run `UPDATE=1 cargo test --test helm`");
    }
}

/// A key of values.yaml.
struct Key {
    path: String,
    /// Its value where it stands on the same line.
    value: String,
    /// The comment before it, of the form `# -- ...`.
    about: String,
}

/// The keys of values.yaml, in order: a mapping in the block style, as the chart has it.
fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut about = String::new();
    for line in read("helm/seb/values.yaml").lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(comment) = text.strip_prefix("# -- ") {
            about = comment.to_owned();
        } else if let Some((name, value)) = text.split_once(':')
            && !text.starts_with(['#', '-', '{'])
        {
            open.retain(|(of, _)| *of < indent);
            open.push((indent, name.to_owned()));
            let path = open.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(".");
            keys.push(Key { path, value: value.trim().to_owned(), about: std::mem::take(&mut about) });
        }
    }
    keys
}

const EXEMPTIONS: &str = "boundary.exemptions.";

/// What a key holds that stands above others.
fn is_table(keys: &[Key], path: &str) -> bool {
    keys.iter().any(|key| key.path.starts_with(&format!("{path}.")))
}

#[test]
fn the_tables_of_values_are_current() {
    let keys = keys();
    let mut out = String::from("\n| value | default | meaning |\n|---|---|---|\n");
    let mut undocumented = Vec::new();
    for Key { path, value, about } in &keys {
        let under_documented = keys.iter().any(|key| {
            !key.about.is_empty()
                && key.value.is_empty()
                && path.starts_with(&format!("{}.", key.path))
                && key.path.contains("resources")
        });
        if path.starts_with(EXEMPTIONS) || under_documented || (is_table(&keys, path) && about.is_empty()) {
            continue;
        }
        if about.is_empty() {
            undocumented.push(path.as_str());
        }
        let value = if value.is_empty() { "see below".to_owned() } else { format!("`{value}`") };
        writeln!(out, "| `{path}` | {} | {about} |", value.replace('|', "\\|")).unwrap();
    }
    assert!(undocumented.is_empty(), "without a line `# -- ...`: {undocumented:?}");
    current_part("helm/seb/README.md", "values", &format!("{out}\n"));
}

#[test]
fn the_table_of_exemptions_is_current() {
    let mut found = BTreeMap::<String, BTreeMap<String, String>>::new();
    for Key { path, value, .. } in keys() {
        if let Some((name, field)) = path.strip_prefix(EXEMPTIONS).and_then(|rest| rest.split_once('.')) {
            found.entry(name.to_owned()).or_default().insert(field.to_owned(), value);
        }
    }
    assert!(found.len() > 5, "{found:?}");
    let mut out = String::from("\n| exemption | on | who | opens |\n|---|---|---|---|\n");
    for (name, fields) in found {
        let who = fields.get("username").unwrap_or_else(|| &fields["group"]);
        let on = if fields["enabled"] == "true" { "yes" } else { "no" };
        writeln!(out, "| `{name}` | {on} | `{who}` | {} |", fields["opens"]).unwrap();
    }
    current_part("docs/boundary-kubernetes.md", "exemptions", &format!("{out}\n"));
}

#[test]
fn the_tables_of_attacks_are_current() {
    current_part("docs/boundary-kubernetes.md", "attacks", &table::markdown(ATTACKS));
    current_part("docs/boundary-kubernetes.md", "executors", &table::markdown(EXECUTORS));
    current_part("docs/boundary-kubernetes.md", "accounts", &table::markdown(ACCOUNTS));
}

#[test]
fn every_reason_of_the_table_is_explained() {
    let page = read("docs/boundary-kubernetes.md");
    let mut names = Vec::new();
    for Row { name, by, says, attack } in ATTACKS.iter().chain(EXECUTORS).chain(ACCOUNTS) {
        assert!(!names.contains(name), "`{name}` is there twice");
        names.push(*name);
        assert!(attack.len() > 20 && !says.is_empty(), "{name}");
        if matches!(by, By::Policy | By::Static(_)) {
            assert!(page.contains(&format!("`{says}`")), "{says}");
        }
    }
}

/// No key of the schema is without a default, and no default without its key: a typing error would be neither.
#[test]
fn the_schema_knows_the_values_that_there_are() {
    let schema: Value = serde_json::from_str(&read("helm/seb/values.schema.json")).unwrap();
    jsonschema::validator_for(&schema).unwrap();
    let mut of_schema = Vec::new();
    properties(&schema, "", &mut of_schema);
    of_schema.retain(|path| path != "global");
    let keys = keys();
    let missing: Vec<_> = of_schema.iter().filter(|path| !keys.iter().any(|key| key.path == **path)).collect();
    assert!(missing.is_empty(), "of the schema, not of values.yaml: {missing:?}");
    assert!(of_schema.len() > 60, "{of_schema:?}");
    let free = ["broker.resources.", "sab.resources.", EXEMPTIONS];
    let unknown =
        keys.iter().filter(|key| !of_schema.contains(&key.path) && !free.iter().any(|path| key.path.starts_with(path)));
    let unknown: Vec<_> = unknown.map(|key| &key.path).collect();
    assert!(unknown.is_empty(), "of values.yaml, not of the schema: {unknown:?}");
}

/// The paths of all properties, each of which must refuse others beside it.
fn properties(schema: &Value, path: &str, out: &mut Vec<String>) {
    let Some(all) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path}");
    for (name, inner) in all {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        out.push(path.clone());
        properties(inner, &path, out);
    }
}
