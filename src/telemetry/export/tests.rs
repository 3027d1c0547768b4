//! Spans over real sockets: what a collector gets over either protocol, and what happens where it does not take it.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use uuid::Uuid;

use std::sync::Arc;

use crate::exchange::{Exchange, Outcome, Payload, Prediction};
use crate::lineage::{Document, Identity};
use crate::telemetry::*;

const PATIENCE: Duration = Duration::from_secs(30);
const SERVICE: Service<'_> = Service { deployment: "fraud-prod", instance: "fraud-prod-7c9d" };

/// What a collector was sent: the path, and the message.
type Received = (String, ExportTraceServiceRequest);

/// A collector on a loopback port; it lives as long as the test's process.
struct Collector {
    address: SocketAddr,
    received: Receiver<Received>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Takes what it gets.
    Takes,
    /// Accepts connections and never answers.
    Hangs,
    /// Answers 400, which nobody repeats.
    Refuses,
}

impl Collector {
    fn start(protocol: Protocol, manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sent, received) = sync_channel(4096);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, protocol, manner, sent));
        });
        Self { address, received }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Spans in one export, with its path and the resource's attributes.
    fn next(&self) -> (String, BTreeMap<String, String>, Vec<Span>) {
        let (path, request) = self.received.recv_timeout(PATIENCE).unwrap();
        let [resource] = &request.resource_spans[..] else { panic!("not one resource: {request:?}") };
        let attributes = attributes(&resource.resource.as_ref().unwrap().attributes);
        let spans = resource.scope_spans.iter().flat_map(|scope| scope.spans.clone()).collect();
        (path, attributes, spans)
    }
}

async fn serve(listener: std::net::TcpListener, protocol: Protocol, manner: Manner, sent: SyncSender<Received>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let sent = sent.clone();
        let service = service_fn(move |request| answer(request, protocol, manner, sent.clone()));
        tokio::spawn(async move {
            let io = TokioIo::new(stream);
            let _ = match protocol {
                Protocol::Grpc => {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
                }
                Protocol::HttpProtobuf => {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                }
            };
        });
    }
}

type Answer = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    protocol: Protocol,
    manner: Manner,
    sent: SyncSender<Received>,
) -> Result<Response<Answer>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = if protocol == Protocol::Grpc { body.slice(5..) } else { body };
    sent.send((path, ExportTraceServiceRequest::decode(message).unwrap())).unwrap();
    let reply = ExportTraceServiceResponse::default().encode_to_vec();
    Ok(match (manner, protocol) {
        (Manner::Hangs, _) => std::future::pending().await,
        (Manner::Refuses, _) => Response::builder().status(400).body(Full::default().boxed()).unwrap(),
        (Manner::Takes, Protocol::HttpProtobuf) => Response::new(Full::from(reply).boxed()),
        (Manner::Takes, Protocol::Grpc) => {
            let mut framed = vec![0, 0, 0, 0, u8::try_from(reply.len()).unwrap()];
            framed.extend(reply);
            let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            let body = Full::from(framed).with_trailers(std::future::ready(Some(Ok(trailers))));
            Response::builder().header("content-type", "application/grpc").body(body.boxed()).unwrap()
        }
    })
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|kv| (kv.key.clone(), kv.value.as_ref().map_or_else(String::new, text))).collect()
}

/// A value with its type to be seen: text bare, numbers after `#`, arrays in brackets.
fn text(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => format!("#{number}"),
        any_value::Value::ArrayValue(array) => format!("{:?}", array.values.iter().map(text).collect::<Vec<_>>()),
        other => panic!("unexpected attribute type: {other:?}"),
    }
}

fn tracer(url: &str, protocol: Protocol, metrics: &Metrics, env: &[(&str, &str)]) -> Tracer {
    let config = TracesConfig {
        endpoint: Some(url.to_owned()),
        protocol,
        sampler: SamplerKind::AlwaysOn,
        input_hash: true,
        ..TracesConfig::default()
    };
    let env: HashMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Tracer::start_in(&config, &SERVICE, metrics, &|name| env.get(name).cloned()).unwrap()
}

fn dropped(metrics: &Metrics) -> u64 {
    metrics.telemetry_dropped.with_label_values(&["traces"]).get()
}

fn request() -> RequestSpan<'static> {
    RequestSpan {
        method: "POST",
        scheme: "http",
        path: "/v2/models/fraud/infer",
        route: Some("/v2/models/{model}/infer"),
        version: "1.1",
        status: Some(200),
        grpc: false,
        grpc_status: None,
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000),
        duration: Duration::from_micros(2_140),
        client: Some("192.0.2.7".parse().unwrap()),
        user_agent: Some("curl/8"),
        server_address: Some("models.example"),
        server_port: Some(8080),
        error: None,
        upstream: None,
        exchange: None,
        gen_ai: None,
    }
}

fn leg() -> UpstreamLeg<'static> {
    UpstreamLeg {
        address: "triton",
        port: 8000,
        url_full: "http://triton:8000/v2/models/fraud/infer",
        version: "1.1",
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_001),
        duration: Duration::from_millis(1),
        status: Some(200),
        error: None,
    }
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity {
        model: "fraud".into(),
        version: "v1.2.3".into(),
        datasets: vec!["transactions@v2.0".into()],
        dataset_version: Some("v2.0".into()),
        reproducible: false,
        document: Arc::new(Document { digest: [0; 32], json: "{}".into() }),
    })
}

fn exchange(identity: &Arc<Identity>) -> Exchange<'_> {
    Exchange {
        prediction: Prediction {
            id: Uuid::from_u128(0x0192_f0c1_7c4e_7a3b_8c11_2f6d_0f3e_9a10),
            time: SystemTime::UNIX_EPOCH,
            backend: Some("champion"),
            protocol: "oip-rest",
            route: "/v2/models/{model}/infer",
            identity: Some(identity),
            version_source: None,
            stated_model: None,
            version_known: true,
        },
        duration: Duration::ZERO,
        requested_version: None,
        observed_version: None,
        observed_model: None,
        input: Payload { sha256: Some([0xcd; 32]), ..Payload::default() },
        status: Some(200),
        grpc_status: None,
        output: Payload::default(),
        decision: None,
        outcome: Outcome::Complete,
        trace_id: [1; 16],
        span_id: [1; 8],
        parent: None,
        client_request_id: None,
        client: None,
    }
}

fn headers() -> HeaderMap {
    let value = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    HeaderMap::from_iter([("traceparent".parse().unwrap(), value)])
}

fn expect(span: &Span, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(attributes(&span.attributes), expected);
}

/// Sends one request's spans and gives (SERVER, CLIENT).
fn through(protocol: Protocol, path: &str, span: &RequestSpan<'_>) -> (TraceContext, Span, Option<Span>) {
    let (collector, metrics) = (Collector::start(protocol, Manner::Takes), Metrics::new());
    let tracer = tracer(&collector.url(), protocol, &metrics, &[]);
    let context = tracer.begin(&headers());
    tracer.finish(&context, span);
    assert!(tracer.flush(PATIENCE));
    let (sent_to, resource, spans) = collector.next();
    assert_eq!(sent_to, path);
    for (key, value) in [
        ("service.name", "touchmark"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", "fraud-prod-7c9d"),
        ("touchmark.deployment", "fraud-prod"),
    ] {
        assert_eq!(resource.get(key).map(String::as_str), Some(value), "{resource:?}");
    }
    assert!(tracer.shutdown(PATIENCE));
    assert_eq!(dropped(&metrics), 0);
    let of = |kind: SpanKind| spans.iter().find(|span| span.kind == i32::from(kind)).cloned();
    (context, of(SpanKind::Server).unwrap(), of(SpanKind::Client))
}

const PATHS: [(Protocol, &str); 2] = [
    (Protocol::Grpc, "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    (Protocol::HttpProtobuf, "/v1/traces"),
];

#[test]
fn a_prediction_is_two_spans_over_either_protocol() {
    let identity = identity();
    let exchange = exchange(&identity);
    let span = RequestSpan { upstream: Some(leg()), exchange: Some(&exchange), ..request() };
    for (protocol, path) in PATHS {
        let (context, server, client) = through(protocol, path, &span);
        let client = client.unwrap();
        assert_eq!(server.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128.to_be_bytes());
        assert_eq!(server.parent_span_id, 0x00f0_67aa_0ba9_02b7u64.to_be_bytes());
        assert_eq!(server.span_id, context.server_span);
        assert_eq!(client.trace_id, server.trace_id);
        assert_eq!(client.parent_span_id, context.server_span);
        assert_eq!(client.span_id, context.client_span);
        assert_eq!(server.name, "POST /v2/models/{model}/infer");
        assert_eq!(client.name, server.name);
        assert_eq!((server.start_time_unix_nano, server.end_time_unix_nano), (1_000_000_000_000, 1_000_002_140_000));
        assert_eq!((client.start_time_unix_nano, client.end_time_unix_nano), (1_000_001_000_000, 1_000_002_000_000));
        expect(
            &server,
            &[
                ("http.request.method", "POST"),
                ("url.scheme", "http"),
                ("url.path", "/v2/models/fraud/infer"),
                ("http.route", "/v2/models/{model}/infer"),
                ("network.protocol.version", "1.1"),
                ("server.address", "models.example"),
                ("server.port", "#8080"),
                ("http.response.status_code", "#200"),
                ("user_agent.original", "curl/8"),
                ("client.address", "192.0.2.7"),
                ("http.response.header.x-model-version", r#"["v1.2.3"]"#),
                ("ml.model.name", "fraud"),
                ("ml.model.version", "v1.2.3"),
                ("ml.dataset.version", "v2.0"),
                ("touchmark.prediction.id", "0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10"),
                ("touchmark.backend", "champion"),
                ("touchmark.outcome", "complete"),
                ("touchmark.input.sha256", &"cd".repeat(32)),
            ],
        );
        expect(
            &client,
            &[
                ("http.request.method", "POST"),
                ("url.full", "http://triton:8000/v2/models/fraud/infer"),
                ("url.template", "/v2/models/{model}/infer"),
                ("network.protocol.version", "1.1"),
                ("server.address", "triton"),
                ("server.port", "#8000"),
                ("http.response.status_code", "#200"),
            ],
        );
        for span in [&server, &client] {
            assert_eq!(span.status.as_ref().map_or(0, |status| status.code), i32::from(StatusCode::Unset));
        }
    }
}

#[test]
fn grpc_and_generative_calls_say_so() {
    let gen_ai = GenAi {
        operation: "chat",
        request_model: Some("llama"),
        response_model: Some("llama-3-8b"),
        fingerprint: Some("fp_1"),
    };
    let span = RequestSpan {
        path: "/inference.GRPCInferenceService/ModelInfer",
        route: Some("/inference.GRPCInferenceService/ModelInfer"),
        version: "2",
        grpc: true,
        grpc_status: Some(14),
        upstream: Some(leg()),
        gen_ai: Some(gen_ai),
        ..request()
    };
    let (_, server, client) = through(PATHS[0].0, PATHS[0].1, &span);
    for span in [&server, client.as_ref().unwrap()] {
        let attributes = attributes(&span.attributes);
        for (key, value) in [
            ("rpc.system.name", "grpc"),
            ("rpc.method", "inference.GRPCInferenceService/ModelInfer"),
            ("rpc.response.status_code", "UNAVAILABLE"),
            ("error.type", "UNAVAILABLE"),
        ] {
            assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(span.status.as_ref().unwrap().code, i32::from(StatusCode::Error));
    }
    let attributes = attributes(&server.attributes);
    for (key, value) in [
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "llama"),
        ("gen_ai.response.model", "llama-3-8b"),
        ("openai.response.system_fingerprint", "fp_1"),
    ] {
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}");
    }
}

#[test]
fn an_unsampled_request_sends_nothing() {
    let (collector, metrics) = (Collector::start(Protocol::Grpc, Manner::Takes), Metrics::new());
    let tracer = tracer(&collector.url(), Protocol::Grpc, &metrics, &[("OTEL_TRACES_SAMPLER", "always_off")]);
    let context = tracer.begin(&headers());
    tracer.finish(&context, &request());
    assert!(tracer.shutdown(PATIENCE));
    assert!(collector.received.try_recv().is_err());
    assert_eq!(dropped(&metrics), 0);
}

#[test]
fn batches_are_bounded_and_a_full_one_leaves_at_once() {
    let (collector, metrics) = (Collector::start(Protocol::HttpProtobuf, Manner::Takes), Metrics::new());
    let env = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
    let tracer = tracer(&collector.url(), Protocol::HttpProtobuf, &metrics, &env);
    for _ in 0..10 {
        tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
    }
    // The delay is an hour: these two left because they were full.
    assert_eq!([collector.next().2.len(), collector.next().2.len()], [4, 4]);
    assert!(tracer.shutdown(PATIENCE));
    assert_eq!(collector.next().2.len(), 2);
    assert_eq!(dropped(&metrics), 0);
}

/// Spans are taken one by one or many at once: a batch is as long as it may be, and no span too many is waited for.
#[test]
fn a_batch_leaves_with_the_span_that_makes_it_whole() {
    for size in 1..5 {
        let (collector, metrics) = (Collector::start(Protocol::HttpProtobuf, Manner::Takes), Metrics::new());
        let most = size.to_string();
        let env = [("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", most.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")];
        let tracer = tracer(&collector.url(), Protocol::HttpProtobuf, &metrics, &env);
        for _ in 0..3 {
            (0..size).for_each(|_| tracer.finish(&tracer.begin(&HeaderMap::new()), &request()));
            assert_eq!(collector.next().2.len(), size);
        }
    }
}

#[test]
fn a_batch_leaves_when_its_time_has_come() {
    let (collector, metrics) = (Collector::start(Protocol::Grpc, Manner::Takes), Metrics::new());
    let tracer = tracer(&collector.url(), Protocol::Grpc, &metrics, &[("OTEL_BSP_SCHEDULE_DELAY", "1")]);
    tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
    assert_eq!(collector.next().2.len(), 1);
}

/// However the collector fails: nothing waits, and every span is exported or counted, to the last one.
#[test]
fn a_collector_that_fails_costs_spans_and_each_is_counted() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let hangs = Collector::start(protocol, Manner::Hangs);
        let refuses = Collector::start(protocol, Manner::Refuses);
        let urls =
            [hangs.url(), refuses.url(), format!("http://{gone}"), format!("http://{}", silent.local_addr().unwrap())];
        for url in urls {
            let metrics = Metrics::new();
            let env = [("OTEL_BSP_MAX_QUEUE_SIZE", "64"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")];
            let tracer = tracer(&url, protocol, &metrics, &env);
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let tracer = tracer.clone();
                    std::thread::spawn(move || {
                        let span = RequestSpan { upstream: Some(leg()), ..request() };
                        for _ in 0..1_000 {
                            tracer.finish(&tracer.begin(&HeaderMap::new()), &span);
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
            tracer.shutdown(Duration::from_millis(200));
            assert_eq!(dropped(&metrics), 8_000, "{protocol:?} {url}");
            // After the end, spans are counted too.
            tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
            assert_eq!(dropped(&metrics), 8_001);
        }
    }
}

/// With the collector stuck in its first export, exactly the queue and that batch are kept.
#[test]
fn the_queue_is_bounded() {
    let (collector, metrics) = (Collector::start(Protocol::HttpProtobuf, Manner::Hangs), Metrics::new());
    let env = [("OTEL_BSP_MAX_QUEUE_SIZE", "64"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "16")];
    let tracer = tracer(&collector.url(), Protocol::HttpProtobuf, &metrics, &env);
    for _ in 0..16 {
        tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
    }
    assert_eq!(collector.next().2.len(), 16);
    for _ in 0..100 {
        tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
    }
    assert_eq!(dropped(&metrics), 100 - 64);
    assert!(!tracer.flush(Duration::from_millis(20)));
    assert!(!tracer.shutdown(Duration::from_millis(20)));
    assert_eq!(dropped(&metrics), 116);
}

#[test]
fn a_late_export_is_given_up() {
    let (collector, metrics) = (Collector::start(Protocol::HttpProtobuf, Manner::Hangs), Metrics::new());
    let env = [("OTEL_BSP_EXPORT_TIMEOUT", "20")];
    let tracer = tracer(&collector.url(), Protocol::HttpProtobuf, &metrics, &env);
    tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
    assert!(tracer.flush(PATIENCE));
    assert_eq!(dropped(&metrics), 1);
}

#[test]
fn shutdown_works_inside_a_runtime() {
    let (collector, metrics) = (Collector::start(Protocol::Grpc, Manner::Takes), Metrics::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tracer = tracer(&collector.url(), Protocol::Grpc, &metrics, &[]);
        tracer.finish(&tracer.begin(&HeaderMap::new()), &request());
        assert!(tracer.shutdown(PATIENCE));
        assert!(tracer.shutdown(PATIENCE), "a second time is harmless");
    });
    assert_eq!(collector.next().2.len(), 1);
}
