//! What on-call sees: spans at a collector, metrics at a scrape, and neither in anybody's way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use touchmark::sha256::hex;
use touchmark::telemetry::{Protocol, SamplerKind};
use touchmark::units::Period;

use crate::support::ledger::sum;
use crate::support::message::{CHAT, HEALTH, INFER, INPUT, OUTPUT, get, head, infer, message, ok, post, post_with};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark};

/// Every trace to a collector that the test plays.
fn traced(model: &ModelServer, collector: &ModelServer) -> Setup {
    Setup::new(model).with(|config| {
        let traces = &mut config.telemetry.traces;
        traces.endpoint = Some(format!("http://{}", collector.address()));
        traces.protocol = Protocol::HttpProtobuf;
        traces.sampler = SamplerKind::ParentBasedAlwaysOn;
    })
}

async fn collector() -> ModelServer {
    ModelServer::answering(message("HTTP/1.1 200 OK", &[("content-type", "application/x-protobuf")], "")).await
}

/// Every span that a collector has been sent.
fn spans(collector: &ModelServer) -> Vec<Span> {
    let requests = collector.received().requests;
    let exports = requests.iter().map(|request| {
        assert_eq!(request.head.target(), "/v1/traces");
        ExportTraceServiceRequest::decode(&request.body[..]).unwrap()
    });
    exports
        .flat_map(|export| export.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

/// A span's attributes as text.
fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let text = |value: &Option<Value>| match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = span.attributes.iter();
    pairs.map(|pair| (pair.key.as_str(), text(&pair.value.as_ref().and_then(|value| value.value.clone())))).collect()
}

#[tokio::test]
async fn a_predictions_span_names_the_model_version() {
    let (model, collector) = (ModelServer::answering(ok(OUTPUT)).await, collector().await);
    let mut touchmark = traced(&model, &collector).start();
    touchmark.call(infer()).await;
    let entry = touchmark.prediction().await;
    touchmark.stop().await;
    let spans = spans(&collector);
    assert_eq!(spans.len(), 2, "one SERVER span, one CLIENT span: {spans:?}");
    let server = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let client = spans.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    let said = attributes(server);
    let version = server.attributes.iter().find(|pair| pair.key == "http.response.header.x-model-version").unwrap();
    assert!(format!("{version:?}").contains("v1.2.3"), "{version:?}");
    for (key, value) in [
        ("ml.model.name", "fraud"),
        ("ml.model.version", "v1.2.3"),
        ("ml.dataset.version", "v2.0"),
        ("touchmark.prediction.id", entry.id()),
        ("touchmark.backend", "champion"),
        ("touchmark.outcome", "complete"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/v2/models/{model}/infer"),
        ("url.path", INFER),
    ] {
        assert_eq!(said.get(key).map(String::as_str), Some(value), "{key} in {said:?}");
    }
    assert!(!said.contains_key("touchmark.input.sha256"), "only where configured");
    assert_eq!(Some(hex(&server.trace_id).as_str()), entry.text("/trace"));
    assert_eq!(Some(hex(&server.span_id).as_str()), entry.text("/span"));
    assert_eq!(client.parent_span_id, server.span_id);
    let told = model.request().head.one("traceparent").to_owned();
    assert_eq!(told.split('-').nth(2), Some(hex(&client.span_id).as_str()), "the model server goes on below us");
    assert!(told.ends_with("-01"), "sampled: {told}");
}

/// Bytes pass for as long as this at least.
const TUNNEL: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_tunnels_span_lasts_as_long_as_it_does() {
    for (path, cut) in [("/events", false), ("/events", true), ("/stream/fraud", false), ("/stream/fraud", true)] {
        let (model, collector) = (ModelServer::listen().await, collector().await);
        let mut touchmark = traced(&model, &collector)
            .with(|config| {
                let pattern = serde_json::json!({"path": "/stream/{model}"});
                config.proxy.patterns.push(serde_json::from_value(pattern).unwrap());
                // One that passes ends with the client's end, a moment after the server's.
                config.shutdown.grace = Period::secs(30);
            })
            .start();
        let mut client = touchmark.connect().await;
        client.send(get(path, &[("connection", "upgrade"), ("upgrade", "demo")])).await;
        let mut upstream = model.accept().await;
        upstream.request().await;
        let fields = [("connection", "upgrade"), ("upgrade", "demo")];
        upstream.send(head("HTTP/1.1 101 Switching Protocols", &fields)).await;
        assert_eq!(client.head().await.status(), 101);
        tokio::time::sleep(TUNNEL).await;
        if cut {
            upstream.reset();
        } else {
            drop(upstream);
        }
        client.read_to_end().await;
        drop(client);
        touchmark.stop().await;
        let spans = spans(&collector);
        assert_eq!(spans.len(), 2, "{spans:?}");
        for span in &spans {
            let lasted = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
            assert!(lasted >= TUNNEL, "{path}: {lasted:?}");
            assert_eq!(attributes(span).get("http.response.status_code").map(String::as_str), Some("101"));
        }
        let server = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
        let said = attributes(server);
        let outcome = if cut { "upstream_abort" } else { "complete" };
        assert_eq!(said.get("error.type").map(String::as_str), cut.then_some("upstream_abort"), "{path}");
        let recorded = path != "/events";
        assert_eq!(said.get("touchmark.outcome").map(String::as_str), recorded.then_some(outcome), "{path}");
        assert_eq!(said.get("http.route").map(String::as_str), recorded.then_some("/stream/{model}"));
    }
}

#[tokio::test]
async fn a_callers_trace_is_continued_and_its_decision_kept() {
    let (model, collector) = (ModelServer::answering(ok(OUTPUT)).await, collector().await);
    let mut touchmark = traced(&model, &collector).start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    for flags in ["01", "00"] {
        let parent = format!("00-{trace}-b7ad6b716920333{}-{flags}", &flags[1..]);
        touchmark.call(post_with(INFER, &[("traceparent", &parent)], INPUT)).await;
    }
    let entries = touchmark.predictions(2).await;
    assert!(entries.iter().all(|entry| entry.text("/trace") == Some(trace)), "sampling never affects the ledger");
    touchmark.stop().await;
    let spans = spans(&collector);
    let server: Vec<&Span> = spans.iter().filter(|span| span.kind() == SpanKind::Server).collect();
    let [span] = server[..] else { panic!("only the sampled one: {spans:?}") };
    assert_eq!(hex(&span.trace_id), trace);
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
}

#[tokio::test]
async fn every_request_has_its_span() {
    let (model, collector) = (ModelServer::answering(ok(OUTPUT)).await, collector().await);
    let mut touchmark = traced(&model, &collector).start();
    touchmark.call(get(HEALTH, &[])).await;
    touchmark.call(post(CHAT, r#"{"model":"fraud"}"#)).await;
    touchmark.prediction().await;
    touchmark.stop().await;
    let spans = spans(&collector);
    let server: Vec<&Span> = spans.iter().filter(|span| span.kind() == SpanKind::Server).collect();
    assert_eq!(server.len(), 2, "{spans:?}");
    let of = |path: &str| server.iter().map(|span| attributes(span)).find(|said| said["url.path"] == path).unwrap();
    assert!(!of(HEALTH).contains_key("touchmark.prediction.id"));
    let chat = of(CHAT);
    assert_eq!(chat["gen_ai.operation.name"], "chat");
    assert_eq!(chat["gen_ai.request.model"], "fraud");
}

#[tokio::test]
async fn a_failed_predictions_span_says_why() {
    let (model, collector) = (ModelServer::listen().await, collector().await);
    let mut touchmark = traced(&model, &collector).start();
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.reset();
    client.answer().await;
    touchmark.prediction().await;
    touchmark.stop().await;
    let spans = spans(&collector);
    let server = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let said = attributes(server);
    assert_eq!(said["touchmark.outcome"], "upstream_error");
    assert!(said.contains_key("error.type"), "{said:?}");
    assert_eq!(said["http.response.status_code"], "502");
}

#[tokio::test]
async fn a_collector_that_hangs_slows_nobody_down() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    // It listens, and nobody ever accepts.
    let collector = ModelServer::listen().await;
    let touchmark = traced(&model, &collector).start();
    let mut client = touchmark.connect().await;
    let began = Instant::now();
    // More spans than the exporter's queue holds.
    for _ in 0..3_000 {
        client.send(infer()).await;
        assert_eq!(client.answer().await.head.status(), 200);
    }
    assert!(began.elapsed() < crate::support::PATIENCE, "{:?}", began.elapsed());
    touchmark.predictions(3_000).await;
    assert!(sum(&touchmark.metrics, "telemetry_dropped_total", &[("signal", "traces")]) > 0, "drops are counted");
}

#[tokio::test]
async fn metrics_are_scraped_and_add_up() {
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = Touchmark::before(&model);
    for _ in 0..3 {
        touchmark.call(infer()).await;
    }
    touchmark.predictions(3).await;
    let answer = touchmark.admin("/metrics").await;
    assert!(answer.head.one("content-type").starts_with("text/plain"));
    let text = answer.text();
    let labels = r#"backend="champion",dataset_version="v2.0",model="fraud",outcome="complete",protocol="oip-rest",version="v1.2.3""#;
    for line in [
        format!("touchmark_predictions_total{{{labels}}} 3"),
        "touchmark_ledger_entries_total{kind=\"prediction\"} 3".to_owned(),
        "touchmark_inflight_predictions 0".to_owned(),
        format!("touchmark_input_bytes_total{{model=\"fraud\",version=\"v1.2.3\"}} {}", 3 * INPUT.len()),
        format!("touchmark_output_bytes_total{{model=\"fraud\",version=\"v1.2.3\"}} {}", 3 * OUTPUT.len()),
        "touchmark_overhead_seconds_count 3".to_owned(),
        "touchmark_upstream_duration_seconds_count{backend=\"champion\"} 3".to_owned(),
        "touchmark_prediction_duration_seconds_count{model=\"fraud\",version=\"v1.2.3\"} 3".to_owned(),
        "touchmark_reproducible{model=\"fraud\",version=\"v1.2.3\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn overhead_is_not_the_model_servers_time() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    let thinking = std::time::Duration::from_millis(300);
    tokio::time::sleep(thinking).await;
    upstream.send(ok(OUTPUT)).await;
    client.answer().await;
    touchmark.prediction().await;
    let overhead = touchmark.metrics.overhead.get_sample_sum();
    assert!(overhead < thinking.as_secs_f64() / 2.0, "{overhead} s of overhead");
    let upstream = touchmark.metrics.upstream_duration.with_label_values(&["champion"]).get_sample_sum();
    assert!(upstream >= thinking.as_secs_f64(), "{upstream} s of waiting");
}
