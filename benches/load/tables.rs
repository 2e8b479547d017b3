//! What the harnesses for real targets have in common: what they say of the machine, where their JSON goes, and how their tables
//! read it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

/// How busy the machine is, as Linux tells it.
pub(crate) fn load_average() -> anyhow::Result<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.trim().to_owned())
}

/// What was measured by phase, with what there is to say of the machine.
pub(crate) fn measured(load_average_before: &str, phases: Vec<(&str, Vec<Value>)>) -> anyhow::Result<Value> {
    let mut all = Map::new();
    all.insert("processors".to_owned(), json!(std::thread::available_parallelism()?.get()));
    all.insert("load_average_before".to_owned(), json!(load_average_before));
    all.insert("load_average_after".to_owned(), json!(load_average()?));
    all.extend(phases.into_iter().map(|(phase, rows)| (phase.to_owned(), Value::Array(rows))));
    Ok(Value::Object(all))
}

/// Prints the tables, and the machine below them; writes the JSON, under `name`, to the file if there is one.
pub(crate) fn publish(name: &str, measured: &Value, tables: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let (processors, before) = (number(measured, "/processors"), said(measured, "load_average_before"));
    let after = said(measured, "load_average_after");
    let mut out = std::io::stdout().lock();
    writeln!(out, "{tables}\n{processors:.0} processors; load average {before} before, {after} after.")?;
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&json!({ name: measured }))?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    Ok(())
}

/// The rows of a phase.
pub(crate) fn rows<'a>(measured: &'a Value, phase: &str) -> &'a [Value] {
    measured.get(phase).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A number of a row.
pub(crate) fn number(row: &Value, pointer: &str) -> f64 {
    row.pointer(pointer).and_then(Value::as_f64).unwrap_or_default()
}

/// A word of a row.
pub(crate) fn said<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}
