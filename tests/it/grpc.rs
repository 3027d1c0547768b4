//! gRPC as gRPC: trailers, Trailers-Only, every kind of streaming, cancellation and deadlines both ways.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;

use crate::support::grpc::{MODEL_INFER, MODEL_STREAM_INFER, framed, infer, streamed, tensor};
use crate::support::http2::{
    Call, Http2Client, Http2Server, all, data, exactly, grpc, grpc_answer, grpc_status, whole,
};
use crate::support::model_server::ModelServer;
use crate::support::soon;
use crate::support::touchmark::{Setup, Touchmark, backend, fraud};

/// A Touchmark, its client, and the model server's end of the first call.
struct Begun {
    touchmark: Touchmark,
    client: Http2Client,
    server: Http2Server,
}

/// Opens a call and its way through; gives what the client holds of it, and what the model server does.
async fn open(
    model: &ModelServer,
    setup: Setup,
    path: &str,
    fields: &[(&str, &str)],
    first: &[u8],
    end: bool,
) -> (Begun, (h2::client::ResponseFuture, h2::SendStream<Bytes>), Call) {
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let (answer, mut stream) = client.open(grpc(path, fields), false).await;
    stream.send_data(Bytes::copy_from_slice(first), end).unwrap();
    let mut server = model.accept_http2().await;
    let call = server.call().await;
    (Begun { touchmark, client, server }, (answer, stream), call)
}

#[tokio::test]
async fn a_unary_call_goes_through_with_its_trailers() {
    let model = ModelServer::listen().await;
    let input = infer("fraud", "", "call-1");
    let output = infer("fraud", "1", "call-1");
    let setup = Setup::new(&model);
    let (begun, (answer, _), mut call) =
        open(&model, setup, MODEL_INFER, &[("x-own", "1")], &framed(&input), true).await;
    assert_eq!(call.head.uri.path(), MODEL_INFER);
    assert_eq!(call.head.uri.authority().unwrap(), "models.test");
    assert_eq!(all(&call.head.headers, "te"), ["trailers"]);
    assert_eq!(all(&call.head.headers, "content-type"), ["application/grpc"]);
    assert_eq!(all(&call.head.headers, "x-own"), ["1"]);
    let id = all(&call.head.headers, "x-lineage-trace-id")[0].to_owned();
    assert_eq!(call.input().await, framed(&input));
    call.answer_grpc(&framed(&output), grpc_status(0, &[("grpc-message", "fine"), ("x-model-version", "forged")]));
    let answer = whole(answer).await.unwrap();
    assert_eq!(answer.head.status, 200);
    assert_eq!(answer.body, framed(&output));
    assert_eq!(answer.trailer("grpc-status"), ["0"]);
    assert_eq!(answer.trailer("grpc-message"), ["fine"]);
    assert!(answer.trailer("x-model-version").is_empty(), "forged");
    assert_eq!(answer.all("x-model-name"), ["fraud"]);
    assert_eq!(answer.all("x-model-version"), ["v1.2.3"]);
    assert_eq!(answer.all("x-lineage-trace-id"), [id.as_str()]);
    let entry = begun.touchmark.prediction().await;
    entry.ended("complete", 200).took(&input).gave(&output);
    assert_eq!(entry.id(), id);
    assert_eq!(entry.text("/protocol"), Some("oip-grpc"));
    assert_eq!((entry.number("/input/messages"), entry.number("/output/messages")), (Some(1), Some(1)));
    assert_eq!(entry.number("/output/grpc_status"), Some(0));
    assert!(begun.touchmark.ledger.of_kind("begin").is_empty(), "one message is held");
}

/// Messages of many calls are hashed side by side, whether they come in one frame or in several, up to a size.
#[tokio::test]
async fn many_calls_at_once_have_each_their_own_hashes() {
    const CALLS: usize = 24;
    let message = |version, call: usize, bytes| [infer("fraud", version, &call.to_string()), tensor(bytes)].concat();
    let (input, output) = (|call| message("", call, call * 1700), |call| message("1", call, (CALLS - call) * 900));
    let model = ModelServer::listen().await;
    let touchmark = Setup::new(&model).with(|config| config.proxy.workers = Some(1)).start();
    let mut client = touchmark.http2().await;
    let mut answers = Vec::new();
    for call in 0..CALLS {
        let fields = [("x-request-id", &*call.to_string())];
        let (answer, mut stream) = client.open(grpc(MODEL_INFER, &fields), false).await;
        stream.send_data(framed(&input(call)).into(), true).unwrap();
        answers.push(tokio::spawn(whole(answer)));
    }
    let mut server = model.accept_http2().await;
    let mut reading = Vec::new();
    for _ in 0..CALLS {
        let mut call = server.call().await;
        // At once: they share the connection's window.
        reading.push(tokio::spawn(async move { (call.input().await, call) }));
    }
    let mut read = Vec::new();
    for call in reading {
        read.push(soon("a request's end", call).await.unwrap());
    }
    for (body, call) in read {
        let number: usize = all(&call.head.headers, "x-request-id")[0].parse().unwrap();
        assert_eq!(body, framed(&input(number)));
        call.answer_grpc(&framed(&output(number)), grpc_status(0, &[]));
    }
    for (call, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().unwrap().body, framed(&output(call)));
    }
    let entries = touchmark.predictions(CALLS).await;
    for call in 0..CALLS {
        let mut named = entries.iter().filter(|entry| entry.text("/client_request_id") == Some(&*call.to_string()));
        let entry = named.next().unwrap();
        entry.ended("complete", 200).took(input(call)).gave(output(call));
        assert_eq!((entry.number("/input/messages"), entry.number("/output/messages")), (Some(1), Some(1)));
        assert_eq!((entry.text("/model"), entry.text("/version")), (Some("fraud"), Some("v1.2.3")));
    }
}

#[tokio::test]
async fn trailers_only_are_trailers_only() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &[], &framed(b""), true).await;
    call.input().await;
    let head = grpc_answer(&[("grpc-status", "5"), ("grpc-message", "no such model")]);
    call.answer.send_response(head, true).unwrap();
    let answer = whole(answer).await.unwrap();
    assert_eq!(answer.all("grpc-status"), ["5"]);
    assert_eq!(answer.all("grpc-message"), ["no such model"]);
    assert!(answer.body.is_empty() && answer.trailers.is_empty());
    assert_eq!(answer.all("x-lineage-trace-id").len(), 1);
    let entry = begun.touchmark.prediction().await;
    entry.ended("complete", 200);
    assert_eq!(entry.number("/output/grpc_status"), Some(5));
}

#[tokio::test]
async fn a_message_in_pieces_is_one_message() {
    let model = ModelServer::listen().await;
    let input = infer("fraud", "", "in pieces");
    let framed_input = framed(&input);
    let setup = Setup::new(&model);
    let (begun, (answer, mut stream), mut call) =
        open(&model, setup, MODEL_INFER, &[], &framed_input[..3], false).await;
    assert_eq!(exactly(&mut call.body, 3).await, framed_input[..3]);
    for byte in &framed_input[3..] {
        stream.send_data(Bytes::copy_from_slice(&[*byte]), false).unwrap();
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert_eq!(call.input().await, framed_input[3..]);
    call.answer_grpc(&framed(b"ok"), grpc_status(0, &[]));
    whole(answer).await.unwrap();
    let entry = begun.touchmark.prediction().await;
    entry.ended("complete", 200).took(&input).gave(b"ok");
    assert_eq!(entry.number("/input/messages"), Some(1));
}

#[tokio::test]
async fn a_bidirectional_stream_flows_while_both_sides_talk() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (one, two) = (infer("fraud", "", "one"), infer("fraud", "", "two"));
    let (begun, (answer, mut stream), mut call) =
        open(&model, setup, MODEL_STREAM_INFER, &[], &framed(&one), false).await;
    assert_eq!(exactly(&mut call.body, framed(&one).len()).await, framed(&one));
    // The first answer comes before the second request is sent.
    let (first, second) = (streamed(&infer("fraud", "1", "one")), streamed(&infer("fraud", "1", "two")));
    let mut sending = call.answer.send_response(grpc_answer(&[]), false).unwrap();
    sending.send_data(framed(&first).into(), false).unwrap();
    let (head, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    assert_eq!(all(&head.headers, "x-model-version"), ["v1.2.3"]);
    assert_eq!(exactly(&mut receiving, framed(&first).len()).await, framed(&first));
    assert_eq!(begun.touchmark.ledger.of_kind("begin").len(), 1);
    stream.send_data(framed(&two).into(), true).unwrap();
    assert_eq!(exactly(&mut call.body, framed(&two).len()).await, framed(&two));
    sending.send_data(framed(&second).into(), false).unwrap();
    assert_eq!(exactly(&mut receiving, framed(&second).len()).await, framed(&second));
    sending.send_trailers(grpc_status(0, &[])).unwrap();
    assert!(data(&mut receiving).await.unwrap().is_none());
    let trailers = soon("trailers", receiving.trailers()).await.unwrap().unwrap();
    assert_eq!(all(&trailers, "grpc-status"), ["0"]);
    let entry = begun.touchmark.prediction().await;
    entry.ended("complete", 200).took([one, two].concat()).gave([first, second].concat());
    assert_eq!((entry.number("/input/messages"), entry.number("/output/messages")), (Some(2), Some(2)));
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let model = ModelServer::listen().await;
    let touchmark = Touchmark::before(&model);
    let mut client = touchmark.http2().await;
    let (answer, mut stream) = client.open(grpc(MODEL_STREAM_INFER, &[]), false).await;
    let mut server = model.accept_http2().await;
    let mut call = server.call().await;
    let mut sending = call.answer.send_response(grpc_answer(&[]), false).unwrap();
    sending.send_data(framed(b"hello").into(), false).unwrap();
    let (_, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    assert_eq!(exactly(&mut receiving, 10).await, framed(b"hello"));
    stream.send_data(framed(b"later").into(), true).unwrap();
    assert_eq!(call.input().await, framed(b"later"));
    sending.send_trailers(grpc_status(0, &[])).unwrap();
    assert!(data(&mut receiving).await.unwrap().is_none());
    touchmark.prediction().await.ended("complete", 200).took("later").gave("hello");
}

#[tokio::test]
async fn a_server_may_end_before_the_client() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, mut stream), call) = open(&model, setup, MODEL_STREAM_INFER, &[], &framed(b"1"), false).await;
    call.answer_grpc(&framed(b"enough"), grpc_status(8, &[]));
    let answer = whole(answer).await.unwrap();
    assert_eq!(answer.trailer("grpc-status"), ["8"]);
    let _ = stream.send_data(framed(b"2").into(), true);
    let entry = begun.touchmark.prediction().await;
    entry.ended("complete", 200).gave("enough");
    assert_eq!(entry.number("/output/grpc_status"), Some(8));
}

#[tokio::test]
async fn a_client_that_cancels_cancels_at_the_model_server() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, mut stream), mut call) =
        open(&model, setup, MODEL_INFER, &[], &framed(b"never mind"), true).await;
    call.input().await;
    stream.send_reset(h2::Reason::CANCEL);
    let reason = soon("the cancellation", std::future::poll_fn(|cx| call.answer.poll_reset(cx))).await.unwrap();
    assert_eq!(reason, h2::Reason::CANCEL);
    drop(answer);
    begun.touchmark.prediction().await.ended("client_abort", None).took("never mind");
}

#[tokio::test]
async fn a_client_that_cancels_within_a_stream() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, mut stream), mut call) =
        open(&model, setup, MODEL_STREAM_INFER, &[], &framed(b"go"), false).await;
    let mut sending = call.answer.send_response(grpc_answer(&[]), false).unwrap();
    sending.send_data(framed(b"1").into(), false).unwrap();
    let (_, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    exactly(&mut receiving, 6).await;
    stream.send_reset(h2::Reason::CANCEL);
    soon("the cancellation", std::future::poll_fn(|cx| sending.poll_reset(cx))).await.unwrap();
    begun.touchmark.prediction().await.ended("client_abort", 200).gave("1");
    assert!(!begun.client.connection.is_finished(), "other calls on the connection go on");
}

#[tokio::test]
async fn a_server_that_resets_before_its_head() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &[], &framed(b"x"), true).await;
    call.input().await;
    call.answer.send_reset(h2::Reason::INTERNAL_ERROR);
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.head.status.as_u16(), answer.all("grpc-status")), (200, vec!["14"]));
    assert!(!answer.all("grpc-message")[0].is_empty());
    let entry = begun.touchmark.prediction().await;
    entry.ended("upstream_error", 200).took("x");
    assert_eq!(entry.number("/output/grpc_status"), Some(14));
}

#[tokio::test]
async fn a_server_that_resets_within_a_stream() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_STREAM_INFER, &[], &framed(b"x"), true).await;
    call.input().await;
    let mut sending = call.answer.send_response(grpc_answer(&[]), false).unwrap();
    sending.send_data(framed(b"1").into(), false).unwrap();
    let (_, mut receiving) = soon("the head", answer).await.unwrap().into_parts();
    exactly(&mut receiving, 6).await;
    sending.send_reset(h2::Reason::INTERNAL_ERROR);
    let cut = async {
        while data(&mut receiving).await?.is_some() {}
        receiving.trailers().await
    };
    assert!(soon("the cut", cut).await.is_err(), "a cut stream does not end as if whole");
    begun.touchmark.prediction().await.ended("upstream_abort", 200).gave("1");
}

#[tokio::test]
async fn a_server_whose_connection_breaks() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &[], &framed(b"x"), true).await;
    call.input().await;
    begun.server.break_off().await;
    drop(call);
    assert_eq!(whole(answer).await.unwrap().all("grpc-status"), ["14"]);
    begun.touchmark.prediction().await.ended("upstream_error", 200);
}

#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (mut begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &[], &framed(b"again"), true).await;
    call.answer.send_reset(h2::Reason::REFUSED_STREAM);
    let mut again = begun.server.call().await;
    assert_eq!(again.input().await, framed(b"again"), "the whole body, once more");
    again.answer_grpc(&framed(b"ok"), grpc_status(0, &[]));
    assert_eq!(whole(answer).await.unwrap().trailer("grpc-status"), ["0"]);
    begun.touchmark.prediction().await.ended("complete", 200).took("again");
}

#[tokio::test]
async fn a_deadline_of_the_callers_is_kept() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let fields = [("grpc-timeout", "50m")];
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &fields, &framed(b"slow"), true).await;
    assert_eq!(all(&call.head.headers, "grpc-timeout"), ["50m"]);
    call.input().await;
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.head.status.as_u16(), answer.all("grpc-status")), (200, vec!["4"]));
    soon("the cancellation", std::future::poll_fn(|cx| call.answer.poll_reset(cx))).await.unwrap();
    let entry = begun.touchmark.prediction().await;
    entry.ended("timeout", 200).took("slow");
    assert_eq!(entry.number("/output/grpc_status"), Some(4));
}

#[tokio::test]
async fn errors_of_ours_are_grpc_errors() {
    let address = ModelServer::listen().await.close().await;
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.backends = vec![backend("gone", address, &json!([fraud()]))]);
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let answer = client.call(grpc(MODEL_INFER, &[]), framed(b"x")).await;
    assert_eq!(answer.head.status, 200);
    assert_eq!(answer.all("content-type"), ["application/grpc"]);
    assert_eq!(answer.all("grpc-status"), ["14"]);
    assert!(answer.body.is_empty(), "Trailers-Only");
    touchmark.prediction().await.ended("upstream_error", 200);
}

#[tokio::test]
async fn too_many_calls_are_unavailable() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model).with(|config| config.proxy.inflight = 1);
    let (mut begun, (first, _), mut call) = open(&model, setup, MODEL_INFER, &[], &framed(b"1"), true).await;
    call.input().await;
    let answer = begun.client.call(grpc(MODEL_INFER, &[]), framed(b"2")).await;
    assert_eq!(answer.all("grpc-status"), ["14"]);
    assert_eq!(answer.all("retry-after"), ["1"]);
    call.answer_grpc(&framed(b"ok"), grpc_status(0, &[]));
    assert_eq!(whole(first).await.unwrap().trailer("grpc-status"), ["0"]);
    let entries = begun.touchmark.predictions(2).await;
    entries[0].ended("rejected", 200);
    entries[1].ended("complete", 200);
}

#[tokio::test]
async fn another_services_calls_pass_through() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let health = "/grpc.health.v1.Health/Check";
    let (begun, (answer, _), mut call) = open(&model, setup, health, &[], &framed(b""), true).await;
    assert_eq!(call.input().await, framed(b""));
    call.answer_grpc(&framed(&[8, 1]), grpc_status(0, &[]));
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.body, answer.trailers.get("grpc-status").unwrap().as_bytes()), (framed(&[8, 1]), &b"0"[..]));
    assert!(!answer.head.headers.contains_key("x-lineage-trace-id"));
    assert!(begun.touchmark.predictions(0).await.is_empty());
}

#[tokio::test]
async fn the_body_says_which_model_and_version() {
    let models = json!([
        {"name": "fraud", "version": "v1.2.3", "served_as": {"version": "1"}},
        {"name": "churn", "version": "v7", "served_as": {"version": "2"}},
    ]);
    let model = ModelServer::listen().await;
    let setup = Setup::with_models(&model, &models);
    let input = framed(&infer("churn", "2", ""));
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &[], &input, true).await;
    call.input().await;
    call.answer_grpc(&framed(&infer("churn", "2", "")), grpc_status(0, &[]));
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.all("x-model-name"), answer.all("x-model-version")), (vec!["churn"], vec!["v7"]));
    let entry = begun.touchmark.prediction().await;
    assert_eq!((entry.text("/requested_version"), entry.text("/observed_version")), (Some("2"), Some("2")));
}

#[tokio::test]
async fn grpc_to_a_backend_of_http_1_is_an_error_that_says_so() {
    let model = ModelServer::listen().await;
    let setup =
        Setup::new(&model).with(|config| config.backends[0].protocol = touchmark::proxy::UpstreamProtocol::Http1);
    let touchmark = setup.start();
    let mut client = touchmark.http2().await;
    let answer = client.call(grpc(MODEL_INFER, &[]), framed(b"x")).await;
    assert_eq!(answer.all("grpc-status"), ["13"]);
    assert!(answer.all("grpc-message")[0].contains("HTTP/2"));
    touchmark.prediction().await.ended("proxy_error", 200);
}

#[tokio::test]
async fn compression_is_named_and_left_alone() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let compressed = [&[1, 0, 0, 0, 3][..], b"zip"].concat();
    let fields = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &fields, &compressed, true).await;
    assert_eq!(call.input().await, compressed);
    let mut sending = call.answer.send_response(grpc_answer(&[("grpc-encoding", "gzip")]), false).unwrap();
    sending.send_data(compressed.clone().into(), false).unwrap();
    sending.send_trailers(grpc_status(0, &[])).unwrap();
    assert_eq!(whole(answer).await.unwrap().body, compressed);
    let entry = begun.touchmark.prediction().await;
    entry.ended("complete", 200).took("zip").gave("zip");
    assert_eq!(entry.text("/input/grpc_encoding"), Some("gzip"));
}

#[tokio::test]
async fn an_answer_without_trailers_ends_as_it_came() {
    let model = ModelServer::listen().await;
    let setup = Setup::new(&model);
    let (begun, (answer, _), mut call) = open(&model, setup, MODEL_INFER, &[], &framed(b"x"), true).await;
    call.input().await;
    let mut sending = call.answer.send_response(grpc_answer(&[]), false).unwrap();
    sending.send_data(framed(b"no status").into(), true).unwrap();
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.body, answer.trailers), (framed(b"no status"), HeaderMap::new()));
    let entry = begun.touchmark.prediction().await;
    assert_eq!(entry.number("/output/grpc_status"), None);
    entry.gave("no status");
}
