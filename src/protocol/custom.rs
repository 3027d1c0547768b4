//! Serving protocols of the user's own: a path pattern, and where bodies name the model.
//!
//! Patterns are compiled once, when the configuration is read; everything that can be wrong about them is said
//! then. Which backend they belong to is not known here.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::json::Names;
use super::path::Path;
use super::protobuf::Fields;
use super::reader::{Members, Rule};
use super::{Call, Protocol, Shape};

/// The most patterns; each costs a comparison on every request that none before it fits.
const PATTERNS_MAX: usize = 256;
/// The longest path of a pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;
/// The longest name of a JSON member, in bytes.
const MEMBER_BYTES_MAX: usize = 64;
/// The largest protobuf field number.
const FIELD_MAX: u32 = (1 << 29) - 1;

const NO_FIELD: &str = "is no protobuf field number: write the number of a string field, such as \"1\"";

/// A pattern as the configuration gives it. Only `POST`s fit.
///
/// A place in a body is, for JSON, a member's name (`model`) or an RFC 6901 pointer of one or two tokens
/// (`/response/model`); for gRPC it is the number of a string field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
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

/// Fixed text around what is captured.
#[derive(Debug)]
struct Segment {
    before: String,
    capture: Capture,
    after: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capture {
    /// Nothing: the text stands alone.
    None,
    Any,
    Model,
    Version,
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

impl Segment {
    /// What stands where the capture is; nothing of it where there is none.
    fn capture<'a>(&self, part: &'a str) -> Option<&'a str> {
        let captured = part.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (self.capture != Capture::None || captured.is_empty()).then_some(captured)
    }
}

/// The segments of a pattern's path, and whether more may follow.
fn segments(path: &str) -> Result<(Vec<Segment>, bool), &'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("does not begin with '/': write the whole path, such as /score/{model}");
    };
    if path.len() > PATTERN_BYTES_MAX {
        return Err("is longer than 1024 bytes: shorten it with {**}");
    }
    let (fixed, open) = match rest.strip_suffix("{**}") {
        Some("") => return Err("takes every path: begin it with a fixed segment"),
        Some(fixed) => (fixed.strip_suffix('/').ok_or("has {**} within a segment: put '/' before it")?, true),
        None => (rest, false),
    };
    let count = fixed.split('/').count();
    let mut segments = Vec::with_capacity(count);
    for (index, part) in fixed.split('/').enumerate() {
        if part.is_empty() && (open || index + 1 < count) {
            return Err("has an empty segment: remove one '/'");
        }
        segments.push(segment(part)?);
    }
    for capture in [Capture::Model, Capture::Version] {
        if segments.iter().filter(|segment| segment.capture == capture).count() > 1 {
            return Err("has the same placeholder twice: use {*} for one of them");
        }
    }
    Ok((segments, open))
}

fn segment(part: &str) -> Result<Segment, &'static str> {
    const UNKNOWN: &str = "has an unknown placeholder: write {model}, {version}, {*} or, at the end, {**}";
    let (before, capture, after) = match part.split_once('{') {
        None => (part, Capture::None, ""),
        Some((before, rest)) => {
            let (placeholder, after) = rest.split_once('}').ok_or(UNKNOWN)?;
            let capture = match placeholder {
                "model" => Capture::Model,
                "version" => Capture::Version,
                "*" => Capture::Any,
                _ => return Err(UNKNOWN),
            };
            (before, capture, after)
        }
    };
    if before.contains('}') || after.contains(['{', '}']) {
        return Err("has a segment with more than one placeholder: put '/' between them");
    }
    if before.contains(['?', '#']) || after.contains(['?', '#']) {
        return Err("has a query or fragment: give the path alone");
    }
    Ok(Segment { before: before.to_owned(), capture, after: after.to_owned() })
}

/// Where a body names model and version; an error says whether it is the model's place that is wrong.
fn rule(grpc: bool, model: Option<&str>, version: Option<&str>) -> Result<Rule, (bool, &'static str)> {
    if model.is_none() && version.is_none() {
        return Ok(Rule::Nothing);
    }
    if model == version {
        return Err((false, "is the model's place too: give it its own, or leave it out"));
    }
    if grpc {
        let field = |place: Option<&str>| place.map_or(Some(0), field_number);
        return Ok(Rule::Grpc(Fields {
            parent: 0,
            model: field(model).ok_or((true, NO_FIELD))?,
            version: field(version).ok_or((false, NO_FIELD))?,
        }));
    }
    let place = |place: Option<&str>| place.map(member).transpose();
    let (model, version) = (place(model).map_err(|problem| (true, problem))?, place(version).map_err(|p| (false, p))?);
    let parent = match (&model, &version) {
        (Some(model), Some(version)) if model.0 != version.0 => {
            return Err((false, "is not beside the model: both must stand in the same object"));
        }
        (Some((parent, _)), _) | (None, Some((parent, _))) => parent.clone(),
        (None, None) => None,
    };
    let slots = [model.map(|(_, name)| name.into()), version.map(|(_, name)| name.into()), None];
    let names = Members::Configured(Arc::new(Names { parent: parent.map(Cow::Owned), slots }));
    Ok(Rule::Json { document: names.clone(), event: names })
}

fn field_number(place: &str) -> Option<u32> {
    place.parse().ok().filter(|field| (1..=FIELD_MAX).contains(field))
}

/// A member's parent, if any, and its name.
fn member(place: &str) -> Result<(Option<String>, String), &'static str> {
    let (parent, name) = match place.strip_prefix('/') {
        None => (None, place.to_owned()),
        Some(tokens) => match tokens.split_once('/') {
            None => (None, unescape(tokens)),
            Some((_, name)) if name.contains('/') => {
                return Err("is too deep: only members of the document or of an object right in it are read");
            }
            Some((parent, name)) => (Some(unescape(parent)), unescape(name)),
        },
    };
    let is_wrong = |name: &str| name.is_empty() || name.len() > MEMBER_BYTES_MAX;
    if is_wrong(&name) || parent.as_deref().is_some_and(is_wrong) {
        return Err("is no member's name: write 1 to 64 bytes, such as model or /response/model");
    }
    Ok((parent, name))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &str) -> PatternConfig {
        PatternConfig {
            name: None,
            path: path.to_owned(),
            request_model: None,
            request_version: None,
            answer_model: None,
            answer_version: None,
            grpc: false,
            streaming: false,
        }
    }

    fn captured(pattern: &str, path: &str) -> Option<(Option<String>, Option<String>)> {
        let patterns = Patterns::compile(&[config(pattern)]).unwrap();
        patterns.recognise(Path::encoded(path)).map(|call| {
            assert_eq!(call.route, pattern);
            (call.model, call.version)
        })
    }

    fn names(model: &str, version: &str) -> (Option<String>, Option<String>) {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (text(model), text(version))
    }

    #[test]
    fn paths_are_matched_segment_by_segment() {
        assert_eq!(captured("/score/{model}/{version}", "/score/fraud/v%202"), Some(names("fraud", "v 2")));
        assert_eq!(captured("/score/{model}/{version}", "/score/fraud"), None);
        assert_eq!(captured("/score/{model}/{version}", "/score/fraud/1/x"), None);
        assert_eq!(captured("/score/{model}/{version}", "/score//1"), None);
        assert_eq!(captured("/v1/models/{model}:predict", "/v1/models/a:b:predict"), Some(names("a:b", "")));
        assert_eq!(captured("/v1/models/{model}:predict", "/v1/models/:predict"), None);
        assert_eq!(captured("/{*}/score", "/tenant/score"), Some(names("", "")));
        assert_eq!(captured("/{*}/score", "/score"), None);
        assert_eq!(captured("/a/{model}/{**}", "/a/m"), Some(names("m", "")));
        assert_eq!(captured("/a/{model}/{**}", "/a/m/b/c"), Some(names("m", "")));
        assert_eq!(captured("/a/{model}/{**}", "/b/m/b/c"), None);
        assert_eq!(captured("/", "/"), Some(names("", "")));
        assert_eq!(captured("/predict", "/predictor"), None);
    }

    #[test]
    fn wrong_patterns_name_key_value_and_mend() {
        let broken = |path: &str| Patterns::compile(&[config(path)]).unwrap_err().to_string();
        assert!(broken("score").starts_with("pattern 'score': path 'score' does not begin with '/'"));
        assert!(broken("/a/{modle}").contains("{model}, {version}"));
        assert!(broken("/a/{model").contains("placeholder"));
        assert!(broken("/a/{model}/{model}").contains("twice"));
        assert!(broken("/a/{model}-{version}").contains("more than one"));
        assert!(broken("/a//b").contains("empty segment"));
        assert!(broken("/{**}").contains("every path"));
        assert!(broken("/a{**}").contains("within a segment"));
        assert!(broken("/a?b").contains("query"));
        assert!(broken(&format!("/{}", "a".repeat(PATTERN_BYTES_MAX))).contains("1024"));

        let broken = |change: fn(&mut PatternConfig)| {
            let mut config = PatternConfig { name: Some("scores".to_owned()), ..config("/score/{model}") };
            change(&mut config);
            Patterns::compile(&[config]).unwrap_err().to_string()
        };
        assert!(broken(|c| c.request_model = Some("m".into())).contains("request_model 'm' is not needed"));
        assert!(broken(|c| c.answer_model = Some("/a/b/c".into())).contains("too deep"));
        assert!(broken(|c| c.answer_model = Some(String::new())).contains("1 to 64 bytes"));
        assert!(
            broken(|c| (c.answer_model, c.answer_version) = (Some("/a/m".into()), Some("v".into())))
                .contains("answer_version 'v' is not beside")
        );
        assert!(
            broken(|c| (c.answer_model, c.answer_version) = (Some("m".into()), Some("m".into())))
                .contains("answer_version 'm'")
        );
        assert!(broken(|c| (c.grpc, c.answer_version) = (true, Some("model".into()))).contains("field number"));
        assert!(broken(|c| c.streaming = true).starts_with("pattern 'scores': streaming"));
        assert!(Patterns::compile(&vec![config("/a"); PATTERNS_MAX + 1]).is_err());
    }

    #[test]
    fn unknown_keys_are_refused() {
        let read = |text| serde_json::from_str::<PatternConfig>(text);
        assert_eq!(read(r#"{"path":"/a"}"#).unwrap(), config("/a"));
        assert!(read(r#"{"path":"/a","mode":"b"}"#).is_err());
        assert!(read("{}").is_err());
    }
}
