//! Facts as people write them, in YAML or JSON: a key that means nothing is an error, not a silence.
//!
//! What is said of anything (owner, tags, properties) stands beside what is said of a dataset or a run, so that the
//! derived readers cannot tell a misspelt key from one of the other part. What was read is written again and compared.

use serde_json::Value;

use super::Facts;

/// Why a text holds no facts.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Not YAML, or of another shape.
    #[error("{0}")]
    Shape(String),
    /// Keys that mean nothing, by path.
    #[error("unknown keys: {}", .0.join(", "))]
    Unknown(Vec<String>),
}

impl Facts {
    /// Reads `touchmark.lineage.yaml`, or the same as JSON.
    ///
    /// # Errors
    /// Where it cannot be read, and where it holds keys that mean nothing.
    pub fn parse(text: &str) -> Result<Self, FactsError> {
        let shape = |error: &dyn std::fmt::Display| FactsError::Shape(error.to_string());
        let facts: Self = serde_saphyr::from_str(text).map_err(|error| shape(&error))?;
        let said: Value = serde_saphyr::from_str(text).map_err(|error| shape(&error))?;
        facts.understood(&said)
    }

    /// Reads JSON and nothing else: what comes over a network is given no YAML, whose anchors multiply.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_json(bytes: &[u8]) -> Result<Self, FactsError> {
        let shape = |error: serde_json::Error| FactsError::Shape(error.to_string());
        let facts: Self = serde_json::from_slice(bytes).map_err(shape)?;
        facts.understood(&serde_json::from_slice(bytes).map_err(shape)?)
    }

    fn understood(self, said: &Value) -> Result<Self, FactsError> {
        let understood = serde_json::to_value(&self).map_err(|error| FactsError::Shape(error.to_string()))?;
        let mut unknown = Vec::new();
        compare(said, &understood, "", &mut unknown);
        if unknown.is_empty() { Ok(self) } else { Err(FactsError::Unknown(unknown)) }
    }
}

fn compare(said: &Value, understood: &Value, path: &str, unknown: &mut Vec<String>) {
    match (said, understood) {
        (Value::Object(said), Value::Object(understood)) => {
            for (key, value) in said {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match understood.get(key) {
                    Some(understood) => compare(value, understood, &path, unknown),
                    // Nothing was said, and nothing is written.
                    None if is_empty(value) => {}
                    None => unknown.push(path),
                }
            }
        }
        (Value::Array(said), Value::Array(understood)) => {
            for (at, (said, understood)) in said.iter().zip(understood).enumerate() {
                compare(said, understood, &format!("{path}[{at}]"), unknown);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let facts = Facts::parse(
            "models:\n  - id: fraud@v1\n    owner: risk\n    aliases: [champion]\n    tags: {tier: '1'}\n\
             runs:\n  - id: r1\n    kind: training\n    end: null\n    parameters: {depth: '6'}\n    outputs: ['model:fraud@v1']\n",
        )
        .unwrap();
        assert_eq!(facts.models[0].about.owner.as_deref(), Some("risk"));
        assert_eq!(facts.models[0].about.tags["tier"], "1");
        assert_eq!(facts.runs[0].parameters["depth"], "6");
        assert_eq!(facts, Facts::parse(&serde_json::to_string(&facts).unwrap()).unwrap());
    }

    #[test]
    fn misspelt_keys_are_named() {
        let text =
            "datasets:\n  - id: d@v1\n    digset: sha256:00\nmodels:\n  - {id: m@v1, tags: {any: x}, ownr: me}\n";
        let error = Facts::parse(text).unwrap_err();
        assert_eq!(error.to_string(), "unknown keys: datasets[0].digset, models[0].ownr");
    }

    #[test]
    fn json_is_read_as_json() {
        // As Python writes it.
        let facts = Facts::parse_json(br#"{"models":[{"id":"m@v1","owner":"\ud83d\ude00"}]}"#).unwrap();
        assert_eq!(facts.models[0].about.owner.as_deref(), Some("\u{1f600}"));
        let error = Facts::parse_json(br#"{"models":[{"id":"m@v1","ownr":"me"}]}"#).unwrap_err();
        assert_eq!(error.to_string(), "unknown keys: models[0].ownr");
        assert!(matches!(Facts::parse_json(b"models: []"), Err(FactsError::Shape(_))));
    }
}
