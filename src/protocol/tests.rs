//! Real requests and answers of each protocol, read whole and in pieces; and what strangers may send.

use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;

use super::*;

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.to_ascii_lowercase().parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    list.iter().map(pair).collect()
}

pub(super) fn request(method: &str, path: &str, list: &[(&str, &str)]) -> Parts {
    let mut parts = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    parts.headers = headers(list);
    parts
}

pub(super) fn post(path: &str) -> Option<Call> {
    recognise(&request("POST", path, &[]), &Patterns::default())
}

fn pattern(json: &str) -> Patterns {
    Patterns::compile(&[serde_json::from_str(json).unwrap()]).unwrap()
}

/// Model, version and fingerprint that a reader finds, and that it finds them in pieces of any size.
pub(super) fn read(reader: impl Fn() -> Reader, body: &[u8]) -> [Option<String>; 3] {
    let in_pieces = |size: usize| {
        let mut reader = reader();
        for chunk in body.chunks(size) {
            reader.feed(chunk);
        }
        [reader.model(), reader.version(), reader.fingerprint()].map(|value| value.map(str::to_owned))
    };
    let whole = in_pieces(body.len().max(1));
    for size in [1, 2, 3, 5, 7, 16, 64] {
        assert_eq!(in_pieces(size), whole, "in pieces of {size}");
    }
    whole
}

pub(super) fn some(model: &str, version: &str, fingerprint: &str) -> [Option<String>; 3] {
    [model, version, fingerprint].map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn answer(path: &str, list: &[(&str, &str)], body: &[u8]) -> [Option<String>; 3] {
    let call = post(path).unwrap();
    read(|| call.answer_reader(&headers(list)), body)
}

/// A gRPC message with its prefix.
pub(super) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

const SSE: &[(&str, &str)] = &[("content-type", "text/event-stream; charset=utf-8")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const INFER: &str = "/v2/models/fraud/infer";
const CHAT: &str = "/v1/chat/completions";
const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

#[test]
fn predictions_are_recognised_with_what_their_path_names() {
    use Protocol::{Mlflow, OipGrpc, OipRest, OpenAi};
    for (path, protocol, route, model, version) in [
        (INFER, OipRest, "/v2/models/{model}/infer", "fraud", ""),
        ("/v2/models/fraud/infer?trace=1", OipRest, "/v2/models/{model}/infer", "fraud", ""),
        ("/v2/models/f/versions/v10/infer", OipRest, "/v2/models/{model}/versions/{version}/infer", "f", "v10"),
        ("/v2/models/ns:f/generate", OipRest, "/v2/models/{model}/generate", "ns:f", ""),
        ("/v2/models/f/generate_stream", OipRest, "/v2/models/{model}/generate_stream", "f", ""),
        ("/v2/models/f/infer_stream", OipRest, "/v2/models/{model}/infer_stream", "f", ""),
        ("/v2/models/versions/versions/1/infer", OipRest, OIP_VERSIONED, "versions", "1"),
        ("/v2/models/a%2Fb%20c/versions/%31/infer", OipRest, OIP_VERSIONED, "a/b c", "1"),
        ("/v2/models/caf%C3%A9%ff/infer", OipRest, "/v2/models/{model}/infer", "café\u{fffd}", ""),
        (MODEL_INFER, OipGrpc, MODEL_INFER, "", ""),
        (MODEL_STREAM_INFER, OipGrpc, MODEL_STREAM_INFER, "", ""),
        (CHAT, OpenAi, CHAT, "", ""),
        ("/v1/completions", OpenAi, "/v1/completions", "", ""),
        ("/v1/embeddings", OpenAi, "/v1/embeddings", "", ""),
        ("/v1/responses", OpenAi, "/v1/responses", "", ""),
        ("/openai/v1/chat/completions", OpenAi, "/openai/v1/chat/completions", "", ""),
        ("/openai/v1/embeddings", OpenAi, "/openai/v1/embeddings", "", ""),
        ("/invocations", Mlflow, "/invocations", "", ""),
    ] {
        let call = post(path).unwrap_or_else(|| panic!("{path} is not recognised"));
        assert_eq!((call.protocol, &*call.route), (protocol, route), "{path}");
        assert_eq!([call.model, call.version, None], some(model, version, ""), "{path}");
    }
}

const OIP_VERSIONED: &str = "/v2/models/{model}/versions/{version}/infer";

#[test]
fn other_calls_are_no_predictions() {
    for path in [
        "/",
        "/v2",
        "/v2/health/ready",
        "/v2/models/fraud",
        "/v2/models/fraud/ready",
        "/v2/models//infer",
        "/v2/models/infer",
        "/v2/models/fraud/versions//infer",
        "/v2/models/fraud/versions/infer",
        "/v2/models/a/b/infer",
        "/v2/models/fraud/infer/x",
        "/v2/models/fraud/config",
        "/v2/repository/models/fraud/load",
        "/prefix/v2/models/fraud/infer",
        "/inference.GRPCInferenceService/ModelMetadata",
        "/inference.GRPCInferenceService/ServerLive",
        "/v1/models",
        "/v1/chat",
        "/v1/chat/completions/x",
        "/openai/chat/completions",
        "/openaiv1/embeddings",
        "/invocations-bidirectional-stream",
        "/ping",
    ] {
        assert!(post(path).is_none(), "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "OPTIONS", "CONNECT"] {
        for path in [INFER, CHAT, "/invocations", MODEL_INFER] {
            assert!(recognise(&request(method, path, &[]), &Patterns::default()).is_none(), "{method} {path}");
        }
    }
    assert!(recognise(&request("POST", "*", &[]), &Patterns::default()).is_none());
}

#[test]
fn a_prediction_cannot_hide_behind_its_spelling() {
    for path in [
        "/v2/models/fraud/%69nfer",
        "//v2/models//fraud/infer/",
        "/v2%2Fmodels%2Ffraud%2Finfer",
        "/x/../v2/./models/fraud/infer",
        "/v2/%6dodels/fraud/infer?a=/",
    ] {
        let call = post(path).unwrap_or_else(|| panic!("{path} is not recognised"));
        assert_eq!((call.protocol, call.model.as_deref()), (Protocol::OipRest, Some("fraud")), "{path}");
    }
    assert_eq!(post("/v2/models/a%2Fb/%69nfer").unwrap().model.as_deref(), Some("a/b"));
    assert_eq!(post("/invocations/").unwrap().protocol, Protocol::Mlflow);
    assert_eq!(post("/v1//chat/completions").unwrap().protocol, Protocol::OpenAi);
    assert_eq!(post("/inference.GRPCInferenceService/Model%49nfer").unwrap().protocol, Protocol::OipGrpc);
}

#[test]
fn long_names_are_cut() {
    let call = post(&format!("/v2/models/{}/infer", "a".repeat(4000))).unwrap();
    assert_eq!(call.model.unwrap(), format!("{}…", "a".repeat(253)));
}

#[test]
fn sagemaker_is_told_apart_by_its_headers() {
    for (list, protocol, model) in [
        (&[("Accept", "*/*")][..], Protocol::Mlflow, None),
        (&[("X-Amzn-SageMaker-Custom-Attributes", "a=1")], Protocol::SageMaker, None),
        (&[("X-Amzn-SageMaker-Target-Variant", "blue")], Protocol::SageMaker, Some("blue")),
        (
            &[("X-Amzn-SageMaker-Target-Variant", "blue"), ("X-Amzn-SageMaker-Target-Model", " fraud.tar.gz ")],
            Protocol::SageMaker,
            Some("fraud.tar.gz"),
        ),
        (&[("X-Amzn-SageMaker-Target-Model", "")], Protocol::SageMaker, None),
    ] {
        let call = recognise(&request("POST", "/invocations", list), &Patterns::default()).unwrap();
        assert_eq!((call.protocol, call.model.as_deref()), (protocol, model), "{list:?}");
        assert!(call.request_reader(&HeaderMap::new()).is_done() && call.answer_reader(&HeaderMap::new()).is_done());
        assert!(!call.states_model_in_body());
    }
    let elsewhere = request("POST", "/other", &[("X-Amzn-SageMaker-Target-Model", "fraud")]);
    assert!(recognise(&elsewhere, &Patterns::default()).is_none());
}

#[test]
fn the_vocabulary_is_fixed() {
    let labels = Protocol::ALL.map(Protocol::as_str);
    assert_eq!(
        labels,
        [
            "oip-rest",
            "oip-grpc",
            "openai",
            "mlflow",
            "sagemaker",
            "tfs-rest",
            "tfs-grpc",
            "torchserve-rest",
            "torchserve-grpc",
            "custom"
        ]
    );
    assert!(Protocol::ALL.iter().enumerate().all(|(index, protocol)| protocol.index() == index));
    let operation = |path| post(path).unwrap().operation;
    assert_eq!(operation(CHAT), Some("chat"));
    assert_eq!(operation("/v1/completions"), Some("text_completion"));
    assert_eq!(operation("/openai/v1/embeddings"), Some("embeddings"));
    assert_eq!(operation("/v1/responses"), Some("chat"));
    assert_eq!(operation(INFER), None);
    assert_eq!(post(MODEL_INFER).unwrap().shape, Shape::GrpcUnary);
    assert_eq!(post(MODEL_STREAM_INFER).unwrap().shape, Shape::GrpcStream);
    assert_eq!(post(CHAT).unwrap().shape, Shape::Http);
}

#[test]
fn readers_are_small_and_stay_on_their_thread_or_move() {
    fn is_send<T: Send>() {}
    is_send::<Reader>();
    is_send::<Call>();
    assert!(size_of::<Reader>() < 400, "{}", size_of::<Reader>());
}

#[test]
fn oip_rest_answers() {
    let triton = br#"{"model_name":"fraud","model_version":"3","outputs":[{"name":"p","datatype":"FP32","shape":[1],"data":[0.25]}]}"#;
    assert_eq!(answer(INFER, JSON, triton), some("fraud", "3", ""));
    let late = br#"{ "id" : "1", "outputs": [{"name":"model_version","data":["a\"}"]}], "model_version" : 12 }"#;
    assert_eq!(answer(INFER, JSON, late), some("", "12", ""));
    // MLServer without versions, the specification's own example, an error.
    assert_eq!(answer(INFER, JSON, br#"{"model_name":"m","model_version":null,"id":"x"}"#), some("m", "", ""));
    assert_eq!(answer(INFER, JSON, br#"{"id":"42","outputs":[]}"#), some("", "", ""));
    assert_eq!(answer(INFER, JSON, br#"{"error":"no such model"}"#), some("", "", ""));
    let stream =
        b"data: {\"model_name\":\"llm\",\"model_version\":\"1\",\"text_output\":\"H\xc3\xa9\"}\n\ndata: {}\n\n";
    assert_eq!(answer("/v2/models/llm/generate_stream", SSE, stream), some("llm", "1", ""));
    assert!(post(INFER).unwrap().request_reader(&HeaderMap::new()).is_done());
    assert!(!post(INFER).unwrap().states_model_in_body());
}

#[test]
fn binary_tensors_are_not_read_as_json() {
    // The JSON breaks off where the header says that it ends, so that no tensor can supply the rest.
    let json = br#"{"model_name":"fraud","outputs":[]"#;
    let body = [&json[..], br#","model_version":"forged"}"#].concat();
    let list = [("Content-Type", "application/octet-stream"), ("Inference-Header-Content-Length", "34")];
    assert_eq!(json.len(), 34);
    assert_eq!(answer(INFER, &list, &body), some("fraud", "", ""));
    let mut reader = post(INFER).unwrap().answer_reader(&headers(&list));
    reader.feed(&body);
    assert!(reader.is_done());
    assert_eq!(answer(INFER, &list[..1], &body), some("fraud", "forged", ""));
}

#[test]
fn encoded_bodies_are_left_alone() {
    let call = post(CHAT).unwrap();
    assert!(call.answer_reader(&headers(&[("Content-Encoding", "gzip")])).is_done());
    assert!(call.request_reader(&headers(&[("Content-Encoding", "br")])).is_done());
    assert!(!call.request_reader(&headers(&[("Content-Encoding", "identity")])).is_done());
    assert!(call.states_model_in_body());
}

#[test]
fn openai_bodies() {
    let call = post(CHAT).unwrap();
    let body =
        br#"{"messages":[{"role":"user","content":"say {\"model\":\"x\"}"}],"model":"org/llama:8b","stream":true}"#;
    for list in [JSON, SSE, &[("Inference-Header-Content-Length", "1")]] {
        assert_eq!(read(|| call.request_reader(&headers(list)), body), some("org/llama:8b", "", ""), "{list:?}");
    }
    let body = br#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"llama","choices":[{"index":0,"message":{"role":"assistant","content":"[{"}}],"usage":{},"system_fingerprint":"vllm-0.11.0-tp8"}"#;
    assert_eq!(answer(CHAT, JSON, body), some("llama", "", "vllm-0.11.0-tp8"));
    let body =
        br#"{"object":"list","data":[{"embedding":[0.1,-2e-3],"index":0}],"model":"e5","system_fingerprint":"no"}"#;
    assert_eq!(answer("/v1/embeddings", JSON, body), some("e5", "", ""));
    let body = br#"{"id":"resp_1","object":"response","model":"llama","output":[]}"#;
    assert_eq!(answer("/v1/responses", JSON, body), some("llama", "", ""));
}

#[test]
fn openai_streams() {
    let stream = b": keep-alive\n\ndata: {\"id\":\"1\",\"model\":\"llama\",\"choices\":[],\"system_fingerprint\":\"fp_1\"}\n\ndata: {\"model\":\"other\"}\n\ndata: [DONE]\n\n";
    assert_eq!(answer(CHAT, SSE, stream), some("llama", "", "fp_1"));
    // The first event of some gateways has an empty name. Lines may end in any way, and the last event just end.
    for end in ["\n", "\r\n", "\r"] {
        let stream = "event: x\ndata:{\"model\":\"\"}\n\nid: 1\ndata\ndata: {\"a\":\"é\",\ndata: \"model\":\"llama\"}";
        assert_eq!(answer(CHAT, SSE, stream.replace('\n', end).as_bytes()), some("llama", "", ""));
    }
    let stream = b"event: response.created\ndata: {\"type\":\"response.created\",\"model\":\"no\",\"response\":{\"id\":\"r\",\"model\":\"llama\"}}\n\n";
    assert_eq!(answer("/openai/v1/responses", SSE, stream), some("llama", "", ""));
    assert_eq!(answer(CHAT, SSE, b"data: {\"error\":{\"message\":\"overloaded\"}}\n\n"), some("", "", ""));
    assert_eq!(answer(CHAT, SSE, b"dat: {\"model\":\"a\"}\ndatax: {\"model\":\"b\"}\n\n"), some("", "", ""));
}

#[test]
fn streams_are_not_read_for_ever() {
    let call = post(CHAT).unwrap();
    let feed = |chunk: &[u8]| {
        let mut reader = call.answer_reader(&headers(SSE));
        reader.feed(chunk);
        (reader.is_done(), reader.model().map(str::to_owned))
    };
    assert_eq!(feed(b"data: {\"model\":\"m\"}"), (true, Some("m".to_owned())));
    assert_eq!(feed(b"data: {}\n\ndata: [DONE"), (false, None));
    assert_eq!(feed(b"data: {}\n\ndata: [DONE]\n"), (true, None));
    assert_eq!(feed(b"data: {}\n\ndata: [DONE]]\n\ndata: {\"model\":\"m\"}"), (true, Some("m".to_owned())));
    assert_eq!(feed(&b"data: {}\n\n".repeat(63)), (false, None));
    assert_eq!(feed(&b"data: {}\n\n".repeat(64)), (true, None));
    let mut reader = post(MODEL_STREAM_INFER).unwrap().answer_reader(&HeaderMap::new());
    reader.feed(&framed(0, b"\x0a\x03err").repeat(63));
    assert!(!reader.is_done());
    reader.feed(&framed(0, b"\x0a\x03err"));
    assert!(reader.is_done());
}

#[test]
fn grpc_bodies() {
    let call = post(MODEL_INFER).unwrap();
    assert!(call.states_model_in_body());
    let request = framed(0, b"\x0a\x05fraud\x12\x013\x1a\x01x\x2a\x05\x0a\x03INP\x3a\x04\x00\x00\x80\x3f");
    // gRPC compresses message by message: the body's own encoding says nothing.
    let list = headers(&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")]);
    assert_eq!(read(|| call.request_reader(&list), &request), some("fraud", "3", ""));
    assert_eq!(read(|| call.answer_reader(&list), &framed(0, b"\x0a\x05fraud")), some("fraud", "", ""));
    assert_eq!(read(|| call.answer_reader(&list), &framed(1, b"\x0a\x05fraud")), some("", "", ""));
    assert_eq!(read(|| call.answer_reader(&list), b""), some("", "", ""));

    let call = post(MODEL_STREAM_INFER).unwrap();
    let stream = [
        framed(0, b"\x0a\x04oops"),
        framed(1, b"\x12\x03\x0a\x01z"),
        framed(0, b""),
        framed(0, b"\x12\x08\x0a\x03abc\x12\x012"),
        framed(0, b"\x12\x08\x0a\x03def\x12\x013"),
    ]
    .concat();
    assert_eq!(read(|| call.answer_reader(&list), &stream), some("abc", "2", ""));
    let stream = [framed(0, b"\x0a\x03abc"), framed(0, b"\x0a\x03def\x12\x013")].concat();
    assert_eq!(
        read(|| call.request_reader(&list), &stream),
        some("abc", "", ""),
        "one message's words belong together"
    );
}

#[test]
fn patterns_of_ones_own_come_first_and_read_bodies() {
    let patterns = pattern(
        r#"{"path":"/score/{version}","request_model":"/meta/name","answer_model":"served","answer_version":"rev"}"#,
    );
    let call = recognise(&request("POST", "/score/7?x=1", &[]), &patterns).unwrap();
    assert_eq!((call.protocol, &*call.route), (Protocol::Custom, "/score/{version}"));
    assert_eq!((call.model.as_deref(), call.version.as_deref()), (None, Some("7")));
    assert!(call.states_model_in_body());
    let body = br#"{"name":"no","meta":{"name":"fraud"}}"#;
    assert_eq!(read(|| call.request_reader(&HeaderMap::new()), body), some("fraud", "", ""));
    let body = br#"{"score":0.5,"rev":2,"served":"fraud-2"}"#;
    assert_eq!(read(|| call.answer_reader(&HeaderMap::new()), body), some("fraud-2", "2", ""));
    assert_eq!(read(|| call.answer_reader(&headers(SSE)), b"data: {\"rev\":9}\n\n"), some("", "9", ""));
    assert!(recognise(&request("GET", "/score/7", &[]), &patterns).is_none());
    assert_eq!(recognise(&request("POST", "/score/%37/", &[]), &patterns).unwrap().version.as_deref(), Some("7"));

    let patterns = pattern(r#"{"path":"/v2/models/{model}/infer"}"#);
    let call = recognise(&request("POST", INFER, &[]), &patterns).unwrap();
    assert_eq!((call.protocol, call.model.as_deref()), (Protocol::Custom, Some("fraud")));
    assert!(call.answer_reader(&HeaderMap::new()).is_done());
    assert_eq!(recognise(&request("POST", CHAT, &[]), &patterns).unwrap().protocol, Protocol::OpenAi);

    let torchserve = r#"{"path":"/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions","grpc":true,
        "request_model":"1","request_version":"2"}"#;
    let path = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions";
    let call = recognise(&request("POST", path, &[]), &pattern(torchserve)).unwrap();
    assert_eq!(call.shape, Shape::GrpcUnary);
    let body = framed(0, b"\x0a\x05fraud\x12\x031.0\x1a\x02ab");
    assert_eq!(read(|| call.request_reader(&HeaderMap::new()), &body), some("fraud", "1.0", ""));
}

/// Bytes that look enough like something to reach deep states.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        &b"data:"[..],
        b"data: ",
        b"\r\n",
        b"\n",
        b"\r",
        b"[DONE]",
        b"{\"model\":\"m",
        b"\"model_name\":",
        b"\\ud83d",
        b"\"",
        b"{",
        b"}",
        b"\x00\x00\x00\x00\x07",
        b"\x0a\x03abc",
        b"\x12\x05",
        b"\x12\x02\x08\x07",
        b"\xff\xff\xff\xff",
    ]);
    let word = prop_oneof![3 => words.prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..8)];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn what_is_learnt_does_not_depend_on_the_chunking(
        body in hostile(), sizes in prop::collection::vec(1_usize..12, 1..6), stream: bool,
        path in prop::sample::select(vec![
            INFER, CHAT, "/v1/responses", MODEL_INFER, MODEL_STREAM_INFER,
            "/tensorflow.serving.PredictionService/Predict", "/tensorflow.serving.PredictionService/MultiInference",
        ]),
    ) {
        let call = post(path).unwrap();
        let list = headers(if stream { SSE } else { JSON });
        for reader in [Call::request_reader, Call::answer_reader] {
            let (mut whole, mut pieces) = (reader(&call, &list), reader(&call, &list));
            whole.feed(&body);
            let mut rest = &body[..];
            for size in sizes.iter().cycle() {
                let (chunk, after) = rest.split_at((*size).min(rest.len()));
                pieces.feed(chunk);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let values = |reader: &Reader| {
                [reader.model(), reader.version(), reader.fingerprint()].map(|value| value.map(str::to_owned))
            };
            prop_assert_eq!(values(&whole), values(&pieces));
            prop_assert_eq!(whole.is_done(), pieces.is_done());
            prop_assert!(values(&whole).iter().flatten().all(|value| value.len() <= VALUE_BYTES_MAX));
        }
    }

    #[test]
    fn any_path_is_recognised_or_not(path in "(/|%2F|%|v1|v2|models|versions|labels|infer|:predict|predictions|\\.|[a-z%0-9:]{0,4}){0,12}") {
        let Ok(uri) = format!("/{path}").parse::<http::Uri>() else { return Ok(()) };
        let mut parts = request("POST", "/", &[]);
        parts.uri = uri;
        let patterns = pattern(r#"{"path":"/v2/{*}/{model}x/{**}"}"#);
        if let Some(call) = recognise(&parts, &patterns) {
            prop_assert!(call.model.is_none_or(|model| !model.is_empty() && model.len() <= VALUE_BYTES_MAX));
            prop_assert!(call.version.is_none_or(|version| !version.is_empty()));
        }
    }
}
