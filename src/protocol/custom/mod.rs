//! Serving protocols of the user's own: a path pattern, and where bodies name the model.
//!
//! Patterns are compiled once, when the configuration is read; everything that can be wrong about them is said
//! then. Which backend they belong to is not known here.

mod place;
mod template;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::path::Path;
use super::reader::Rule;
use super::{Call, Protocol, Shape};

use place::rule;
use template::{Capture, Segment, segments};

/// The most patterns; each costs a comparison on every request that none before it fits.
const PATTERNS_MAX: usize = 256;

/// A pattern as the configuration gives it. `POST`s fit, and requests for another protocol (`Upgrade`), whatever their
/// method.
///
/// A place in a body is, for JSON, a member's name (`model`) or an RFC 6901 pointer of one or two tokens
/// (`/response/model`); for gRPC it is the number of a string field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PatternConfig {
    /// What errors call the pattern; default its path.
    #[serde(default)]
    pub name: Option<String>,
    /// The path, such as `/score/{model}/{version}`; it is the call's route. A segment may hold `{model}`,
    /// `{version}` or `{*}` (anything) between fixed text; `{**}` at the end stands for all further segments.
    pub path: String,
    /// Where the request names the model.
    #[serde(default)]
    pub request_model: Option<String>,
    /// Where the request names the version.
    #[serde(default)]
    pub request_version: Option<String>,
    /// Where the answer, or each of its server-sent events, names the model.
    #[serde(default)]
    pub answer_model: Option<String>,
    /// Where the answer, or each of its server-sent events, names the version.
    #[serde(default)]
    pub answer_version: Option<String>,
    /// Whether the path is a gRPC method.
    #[serde(default)]
    pub grpc: bool,
    /// Whether the gRPC method streams, either way.
    #[serde(default)]
    pub streaming: bool,
}

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There are too many.
    #[error("{count} patterns are more than the {PATTERNS_MAX} that are allowed: join some with {{*}}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// One is wrong.
    #[error("pattern '{pattern}': {key} '{value}' {problem}")]
    Wrong {
        /// Its name, or its path.
        pattern: String,
        /// The key that is wrong.
        key: &'static str,
        /// What the key says.
        value: String,
        /// What is wrong with it, and the mend.
        problem: &'static str,
    },
}

/// Compiled patterns; by default none. They are tried in order.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    patterns: Vec<Arc<Pattern>>,
}

#[derive(Debug)]
struct Pattern {
    route: String,
    segments: Vec<Segment>,
    /// Whether any further segments fit.
    open: bool,
    shape: Shape,
    request: Rule,
    answer: Rule,
}

impl Patterns {
    /// Compiles patterns; the first that is wrong is the error.
    pub fn compile(configs: &[PatternConfig]) -> Result<Self, PatternError> {
        if configs.len() > PATTERNS_MAX {
            return Err(PatternError::TooMany { count: configs.len() });
        }
        let patterns = configs.iter().map(|config| Pattern::compile(config).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// The prediction that a path names by a pattern.
    pub(super) fn recognise(&self, path: Path<'_>) -> Option<Call> {
        self.patterns.iter().find_map(|pattern| pattern.recognise(path))
    }
}

impl Pattern {
    fn recognise(&self, path: Path<'_>) -> Option<Call> {
        let mut parts = path.text.strip_prefix('/')?.split('/');
        let (mut model, mut version) = (None, None);
        for segment in &self.segments {
            let captured = segment.capture(parts.next()?)?;
            match segment.capture {
                Capture::None => {}
                Capture::Any => drop(path.name(captured)?),
                Capture::Model => model = Some(path.name(captured)?),
                Capture::Version => version = Some(path.name(captured)?),
            }
        }
        if !self.open && parts.next().is_some() {
            return None;
        }
        let (request, answer) = (self.request.clone(), self.answer.clone());
        let call = Call::new(Protocol::Custom, self.shape, self.route.clone(), request, answer);
        Some(Call { model, version, ..call })
    }

    fn compile(config: &PatternConfig) -> Result<Self, PatternError> {
        let wrong = |key, value: &str, problem| PatternError::Wrong {
            pattern: config.name.clone().unwrap_or_else(|| config.path.clone()),
            key,
            value: value.to_owned(),
            problem,
        };
        let (segments, open) = segments(&config.path).map_err(|problem| wrong("path", &config.path, problem))?;
        for (capture, key, place) in [
            (Capture::Model, "request_model", &config.request_model),
            (Capture::Version, "request_version", &config.request_version),
        ] {
            if let (Some(place), true) = (place, segments.iter().any(|segment| segment.capture == capture)) {
                return Err(wrong(key, place, "is not needed, since the path names it already: remove one of them"));
            }
        }
        let shape = match (config.grpc, config.streaming) {
            (false, false) => Shape::Http,
            (true, false) => Shape::GrpcUnary,
            (true, true) => Shape::GrpcStream,
            (false, true) => {
                return Err(wrong("streaming", "true", "is for gRPC: remove it, or set grpc to true"));
            }
        };
        let rule = |model_key, model: &Option<String>, version_key, version: &Option<String>| {
            let (model, version) = (model.as_deref(), version.as_deref());
            rule(config.grpc, model, version).map_err(|(is_model, problem)| {
                let (key, value) = if is_model { (model_key, model) } else { (version_key, version) };
                wrong(key, value.unwrap_or(""), problem)
            })
        };
        let request = rule("request_model", &config.request_model, "request_version", &config.request_version)?;
        let answer = rule("answer_model", &config.answer_model, "answer_version", &config.answer_version)?;
        Ok(Self { route: config.path.clone(), segments, open, shape, request, answer })
    }
}

#[cfg(test)]
mod tests;
