//! What patterns fit, and how wrong ones are refused.

use super::template::PATTERN_BYTES_MAX;
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
