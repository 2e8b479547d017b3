//! The published schema of the format.

use schemars::generate::SchemaSettings;

use super::document::Contract;
use super::wire::ContractWire;

/// The JSON Schema (draft 2020-12) of a contract, as `docs/contract.schema.json` has it.
///
/// It holds the structure: fields, types, forms, ranges. The rules between fields (verb and kind, body and
/// parameters, steps that refer to each other) are only checked by [`Contract::parse`].
pub fn json_schema() -> serde_json::Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<ContractWire>();
    schema.insert("$id".into(), Contract::SCHEMA.into());
    schema.to_value()
}
