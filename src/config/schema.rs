//! The JSON Schema of the configuration, for editors and pipelines: `config/touchmark.schema.json`. Tests only.
//!
//! It is made from the types that the loader fills, so that it cannot say otherwise. What is wrong by meaning it does
//! not see: that is for `touchmark check config`.

use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::Config;
use crate::admin::Secret;
use crate::lineage::DatasetConfig;
use crate::units::{Period, Size};

/// Set to write the file anew.
const UPDATE: &str = "UPDATE_SCHEMA";

impl JsonSchema for Period {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["250ms", "1s", "2m", "1h"]})
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$", "examples": ["512B", "64KiB", "1GiB"]},
            {"type": "integer", "minimum": 0, "description": "Bytes."},
        ]})
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true})
    }
}

impl JsonSchema for DatasetConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Dataset".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mapping = generator.subschema_for::<crate::lineage::DatasetMapping>();
        json_schema!({"anyOf": [
            {"type": "string", "pattern": "^.+@.+$", "description": "[NAMESPACE/]NAME@VERSION"},
            mapping,
        ]})
    }
}

/// No key but those that are known, and any scalar where text is meant: the loader takes `1.10` as it is written.
fn as_the_loader_reads(schema: &mut Schema) {
    if schema.get("properties").is_some() {
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    let is_free = ["enum", "const", "pattern", "format", "writeOnly"].iter().all(|key| schema.get(*key).is_none());
    match schema.get_mut("type") {
        Some(Value::String(kind)) if kind == "string" && is_free => {
            schema.insert("type".to_owned(), json!(["string", "number", "boolean"]));
        }
        Some(Value::Array(kinds)) if is_free && kinds.contains(&json!("string")) => {
            kinds.extend([json!("number"), json!("boolean")]);
        }
        _ => {}
    }
}

fn schema() -> String {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(as_the_loader_reads));
    let mut schema = settings.into_generator().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), json!("Touchmark's configuration"));
    let mut text = serde_json::to_string_pretty(&schema).unwrap();
    text.push('\n');
    text
}

#[test]
fn the_schema_is_what_the_loader_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/touchmark.schema.json");
    let made = schema();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "config/touchmark.schema.json is not current: {UPDATE}=1 cargo test --lib config::schema");
}

#[test]
fn every_key_is_described() {
    fn look(path: &str, schema: &Value, bare: &mut Vec<String>) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            if inner["description"].is_null() && inner["$ref"].is_null() {
                bare.push(format!("{path}.{key}"));
            }
        }
    }
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut bare = Vec::new();
    look("", &schema, &mut bare);
    for (name, inner) in schema["$defs"].as_object().unwrap() {
        look(name, inner, &mut bare);
    }
    assert_eq!(bare, Vec::<String>::new());
}
