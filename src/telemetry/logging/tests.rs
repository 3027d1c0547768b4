//! What is written, and that clients cannot write anything else.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;

use super::sink::tests::{Captured, counter};
use super::*;
use crate::exchange::{Payload, Prediction};
use crate::lineage::{Document, Identity};

fn identity() -> Arc<Identity> {
    let document = Document { digest: [0; 32], json: "{}".into() };
    Arc::new(Identity {
        model: "fraud".into(),
        version: "v1.2.3".into(),
        datasets: vec![],
        dataset_version: None,
        reproducible: false,
        document: Arc::new(document),
    })
}

fn exchange(identity: Option<&Arc<Identity>>) -> Exchange<'_> {
    Exchange {
        prediction: Prediction {
            id: Uuid::from_u128(0x0192_f0c1_7c4e_7a3b_8c11_2f6d_0f3e_9a10),
            time: SystemTime::UNIX_EPOCH,
            backend: Some("champion"),
            protocol: "oip-rest",
            route: "/v2/models/{model}/infer",
            identity,
            version_source: None,
            stated_model: Some("x\n{\"level\":\"INFO\"}\u{1b}[2J"),
            version_known: true,
        },
        duration: Duration::from_micros(2140),
        requested_version: None,
        observed_version: None,
        observed_model: None,
        input: Payload::default(),
        status: Some(200),
        grpc_status: None,
        output: Payload::default(),
        decision: None,
        outcome: Outcome::Complete,
        trace_id: [0xab; 16],
        span_id: [1; 8],
        parent: None,
        client_request_id: None,
        client: None,
    }
}

/// What is written while `work` runs.
fn logged(config: LogConfig, directives: Option<&str>, work: impl FnOnce()) -> String {
    let captured = Captured::default();
    let sink = LogSink::start(captured.clone(), counter()).unwrap();
    tracing::subscriber::with_default(subscriber(config, directives, sink.clone()).unwrap(), work);
    assert!(sink.flush(Duration::from_secs(30)));
    captured.text()
}

#[test]
fn a_failed_prediction_is_one_line_that_names_it() {
    let identity = identity();
    let failing = Exchange { outcome: Outcome::Timeout, status: None, ..exchange(Some(&identity)) };
    let text = logged(LogConfig::default(), None, || log_exchange(&failing, Predictions::Failed));
    let line: Value = serde_json::from_str(&text).unwrap();
    let expected = [
        ("level", Value::from("WARN")),
        ("message", "prediction failed".into()),
        ("prediction", "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10".into()),
        ("trace", "ab".repeat(16).into()),
        ("model", "fraud".into()),
        ("version", "v1.2.3".into()),
        ("backend", "champion".into()),
        ("protocol", "oip-rest".into()),
        ("route", "/v2/models/{model}/infer".into()),
        ("outcome", "timeout".into()),
        ("duration_us", 2140.into()),
    ];
    for (key, value) in expected {
        assert_eq!(line[key], value, "{key} in {text}");
    }
    assert!(line.get("status").is_none() && line.get("stated_model").is_none(), "{text}");
}

#[test]
fn the_policy_says_who_gets_a_line() {
    let good = exchange(None);
    let table = [
        (good, false),
        (Exchange { status: Some(404), ..good }, false),
        (Exchange { status: Some(500), ..good }, true),
        (Exchange { outcome: Outcome::ClientAbort, ..good }, true),
        (Exchange { grpc_status: Some(3), ..good }, false),
        (Exchange { grpc_status: Some(14), ..good }, true),
    ];
    for (exchange, fails) in table {
        for (policy, lines) in
            [(Predictions::Failed, usize::from(fails)), (Predictions::All, 1), (Predictions::None, 0)]
        {
            let text = logged(LogConfig::default(), None, || log_exchange(&exchange, policy));
            assert_eq!(text.lines().count(), lines, "{policy:?}: {text}");
            assert_eq!(text.contains("WARN"), fails && lines > 0);
        }
    }
}

#[test]
fn clients_cannot_forge_a_line() {
    let failing = Exchange { outcome: Outcome::Rejected, ..exchange(None) };
    for format in [LogFormat::Json, LogFormat::Text] {
        let config = LogConfig { format, ..LogConfig::default() };
        let text = logged(config, None, || {
            log_exchange(&failing, Predictions::Failed);
            tracing::warn!(
                model = failing.prediction.stated_model,
                "said {}",
                failing.prediction.stated_model.unwrap()
            );
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        if format == LogFormat::Json {
            let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert_eq!(line["stated_model"], failing.prediction.stated_model.unwrap());
        }
    }
}

#[test]
fn levels_and_directives_filter() {
    let lines = |level, directives: Option<&str>| {
        let config = LogConfig { level, ..LogConfig::default() };
        let text = logged(config, directives, || {
            tracing::debug!("one of ours");
            tracing::info!("one of ours");
            tracing::info!(target: "hyper", "a library's");
            tracing::error!(target: "hyper", "a library's");
        });
        text.lines().count()
    };
    assert_eq!(lines(LogLevel::Off, None), 0);
    assert_eq!(lines(LogLevel::Error, None), 1);
    assert_eq!(lines(LogLevel::Info, None), 2);
    assert_eq!(lines(LogLevel::Debug, None), 3);
    assert_eq!(lines(LogLevel::Off, Some("trace")), 4);
    let error = subscriber(LogConfig::default(), Some("a=b=c"), LogSink::start(io::sink(), counter()).unwrap());
    assert!(error.err().unwrap().to_string().contains("TOUCHMARK_LOG: 'a=b=c' is no filter"));
}

#[test]
fn the_section_is_strict() {
    assert_eq!(serde_json::from_str::<LogConfig>("{}").unwrap(), LogConfig::default());
    assert!(serde_json::from_str::<LogConfig>(r#"{"levle":"info"}"#).is_err());
    assert!(serde_json::from_str::<LogConfig>(r#"{"level":"loud"}"#).unwrap_err().to_string().contains("`info`"));
}
