//! How each kind of server is asked whether it is ready, and which versions it serves: questions and how to read answers.
//!
//! Pure: nothing is sent here. Answers are a stranger's and at most as long as whoever read them allowed; what they say is
//! kept within [`NAMES_MAX`] and [`VALUE_BYTES_MAX`], and never quoted in a reason.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value as Json;

use super::VALUE_BYTES_MAX;
use super::grpc::Status;
use super::protobuf::whole::{Value, fields, text};

/// Names or versions kept of one answer, at most.
pub const NAMES_MAX: usize = 64;

/// What a name cannot hold as a segment of a path.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The prefix of an uncompressed gRPC message, without its length.
const UNCOMPRESSED: u8 = 0;
/// Bytes of that prefix with the length.
const PREFIX_BYTES: usize = 5;

/// A way to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// Open Inference Protocol V2 over REST.
    OipRest,
    /// The same over gRPC.
    OipGrpc,
    /// `grpc.health.v1.Health`.
    Grpc,
    /// `TensorFlow` Serving and `KServe` V1 over REST.
    TfsRest,
    /// `GET /ping`.
    Ping,
    /// `GET /v1/models`, as the OpenAI API has it.
    OpenAi,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Is the server ready? For [`Way::Grpc`]: is this service?
    Server(&'a str),
    /// Is this model ready, in this version?
    Model(&'a str, Option<&'a str>),
    /// Which versions of this model, or which models, are there?
    Versions(&'a str),
}

/// A question on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The path to `GET`, or the gRPC method to call.
    pub path: String,
    /// The gRPC message, with its prefix; `None` for a `GET`.
    pub message: Option<Vec<u8>>,
}

/// An answer as it came.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The HTTP status.
    pub status: u16,
    /// `grpc-status`, where there is one.
    pub grpc_status: Option<u16>,
    /// The body as it came, for gRPC with its prefix.
    pub body: &'a [u8],
}

/// What an answer says of readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Yes.
    Ready,
    /// No, and why.
    NotReady(String),
    /// It does not know the question: it is another kind of server.
    Unknown,
}

/// What an answer says of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// These versions of the model; none where the server does not count versions.
    Versions(Vec<String>),
    /// It has no such model.
    NoModel,
    /// These models.
    Models(Vec<String>),
    /// Nothing that could be understood.
    Nothing,
}

impl Way {
    /// The label in logs and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OipRest => "oip-rest",
            Self::OipGrpc => "oip-grpc",
            Self::Grpc => "grpc",
            Self::TfsRest => "tfs-rest",
            Self::Ping => "ping",
            Self::OpenAi => "openai",
        }
    }

    /// Whether it is asked over gRPC.
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::OipGrpc | Self::Grpc)
    }

    /// How it is asked; `None` where this way has no such question.
    pub fn question(self, subject: Subject<'_>) -> Option<Question> {
        let get = |path: String| Some(Question { path, message: None });
        let call =
            |method: &str, parts: [&str; 2]| Some(Question { path: method.to_owned(), message: Some(framed(parts)) });
        match (self, subject) {
            (Self::OipRest, Subject::Server(_)) => get("/v2/health/ready".to_owned()),
            (Self::OipRest, Subject::Model(name, version)) => {
                get(format!("/v2/models/{}{}/ready", segment(name), versioned(version)))
            }
            (Self::OipRest, Subject::Versions(name)) => get(format!("/v2/models/{}", segment(name))),
            (Self::OipGrpc, Subject::Server(_)) => call("/inference.GRPCInferenceService/ServerReady", ["", ""]),
            (Self::OipGrpc, Subject::Model(name, version)) => {
                call("/inference.GRPCInferenceService/ModelReady", [name, version.unwrap_or_default()])
            }
            (Self::OipGrpc, Subject::Versions(name)) => {
                call("/inference.GRPCInferenceService/ModelMetadata", [name, ""])
            }
            (Self::Grpc, Subject::Server(service)) => call("/grpc.health.v1.Health/Check", [service, ""]),
            (Self::TfsRest, Subject::Model(name, version)) => {
                get(format!("/v1/models/{}{}", segment(name), versioned(version)))
            }
            (Self::TfsRest, Subject::Versions(name)) => get(format!("/v1/models/{}", segment(name))),
            (Self::Ping, Subject::Server(_)) => get("/ping".to_owned()),
            (Self::OpenAi, Subject::Server(_) | Subject::Versions(_)) => get("/v1/models".to_owned()),
            (Self::Grpc | Self::Ping | Self::OpenAi, _) | (Self::TfsRest, Subject::Server(_)) => None,
        }
    }

    /// What an answer says of readiness.
    pub fn said(self, subject: Subject<'_>, reply: Reply<'_>) -> Said {
        let of_server = matches!(subject, Subject::Server(_));
        if self.is_grpc() {
            return said_over_grpc(of_server, reply);
        }
        match reply.status {
            200..=299 => {}
            404 if !of_server => return Said::NotReady("the server does not know the model".to_owned()),
            // It is there, and cannot say yes.
            status @ (400 | 408 | 429 | 500 | 502..) => return Said::NotReady(format!("it answers {status}")),
            _ => return Said::Unknown,
        }
        let body: Json = match self {
            // Nothing is said beside the status.
            Self::Ping => return Said::Ready,
            _ => serde_json::from_slice(reply.body).unwrap_or_default(),
        };
        let not = || Said::NotReady("it says that it is not ready".to_owned());
        match self {
            Self::OipRest if body["ready"] == false => not(),
            Self::TfsRest => match (available(&body), body["ready"].as_bool()) {
                (Some(versions), _) if versions.is_empty() => {
                    Said::NotReady("no version of the model is AVAILABLE".to_owned())
                }
                (None, Some(false)) => not(),
                (Some(_), _) | (None, Some(true)) => Said::Ready,
                (None, None) => Said::Unknown,
            },
            Self::OpenAi if !body["data"].is_array() => Said::Unknown,
            _ => Said::Ready,
        }
    }

    /// What an answer says of versions.
    pub fn told(self, reply: Reply<'_>) -> Told {
        match (self, reply.status, reply.grpc_status) {
            (Self::OipGrpc, 200, Some(0)) => Told::Versions(message(reply.body).map(versions_of).unwrap_or_default()),
            (Self::OipGrpc, 200, Some(status)) if status == Status::NotFound.code() => Told::NoModel,
            (Self::OipRest | Self::TfsRest, 404, _) => Told::NoModel,
            (Self::OipRest | Self::TfsRest | Self::OpenAi, 200, _) => {
                let Ok(body) = serde_json::from_slice::<Json>(reply.body) else { return Told::Nothing };
                match self {
                    Self::TfsRest => available(&body).map_or(Told::Nothing, Told::Versions),
                    Self::OpenAi => body["data"].as_array().map_or(Told::Nothing, |models| {
                        Told::Models(names(models.iter().filter_map(|model| model["id"].as_str())))
                    }),
                    _ if !body["name"].is_string() => Told::Nothing,
                    _ => Told::Versions(names(
                        body["versions"].as_array().into_iter().flatten().filter_map(Json::as_str),
                    )),
                }
            }
            _ => Told::Nothing,
        }
    }
}

fn said_over_grpc(of_server: bool, reply: Reply<'_>) -> Said {
    const SERVING: u64 = 1;
    match (reply.status, reply.grpc_status) {
        (200, Some(0)) => {}
        (200, Some(status)) if status == Status::Unimplemented.code() => return Said::Unknown,
        (200, Some(status)) if status == Status::NotFound.code() => {
            let what = if of_server { "service" } else { "model" };
            return Said::NotReady(format!("the server does not know the {what}"));
        }
        (200, Some(status)) => return Said::NotReady(format!("it answers grpc-status {status}")),
        (200, None) | (404 | 405 | 415 | 501, _) => return Said::Unknown,
        (status, _) => return Said::NotReady(format!("it answers {status}")),
    }
    let first = message(reply.body).and_then(|message| {
        fields(message).find_map(|(number, value)| match value {
            Value::Varint(value) if number == 1 => Some(value),
            _ => None,
        })
    });
    // Both `ready` and `SERVING` are field 1 and number 1; a false or an unknown one is left out or another number.
    if first == Some(SERVING) { Said::Ready } else { Said::NotReady("it says that it is not ready".to_owned()) }
}

/// The versions that `TensorFlow` Serving says are `AVAILABLE`; `None` where it is not its answer.
fn available(body: &Json) -> Option<Vec<String>> {
    let versions = body["model_version_status"].as_array()?;
    let available = versions.iter().filter(|version| version["state"] == "AVAILABLE");
    Some(names(available.filter_map(|version| version["version"].as_str())))
}

/// `ModelMetadataResponse.versions`, field 2.
fn versions_of(message: &[u8]) -> Vec<String> {
    names(fields(message).filter_map(|(number, value)| match value {
        Value::Bytes(text) if number == 2 => std::str::from_utf8(text).ok(),
        _ => None,
    }))
}

/// Names within bounds: what is longer or beyond is a stranger's play.
fn names<'a>(found: impl Iterator<Item = &'a str>) -> Vec<String> {
    found.filter(|name| name.len() <= VALUE_BYTES_MAX).take(NAMES_MAX).map(str::to_owned).collect()
}

fn segment(name: &str) -> impl std::fmt::Display {
    utf8_percent_encode(name, SEGMENT)
}

fn versioned(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!("/versions/{}", segment(version)))
}

/// A message of two strings, fields 1 and 2, with its prefix.
fn framed(parts: [&str; 2]) -> Vec<u8> {
    let mut message = vec![UNCOMPRESSED; PREFIX_BYTES];
    text(1, parts[0], &mut message);
    text(2, parts[1], &mut message);
    let length = u32::try_from(message.len() - PREFIX_BYTES).unwrap_or(u32::MAX);
    message[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    message
}

/// The first message of a gRPC body, where it is uncompressed and whole.
fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = body.split_at_checked(PREFIX_BYTES)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    (prefix[0] == UNCOMPRESSED).then(|| rest.get(..usize::try_from(length).ok()?))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: Subject<'_> = Subject::Server("");
    const WAYS: [Way; 6] = [Way::OipRest, Way::OipGrpc, Way::Grpc, Way::TfsRest, Way::Ping, Way::OpenAi];
    const MODEL: Subject<'_> = Subject::Model("fraud", None);

    fn http(status: u16, body: &str) -> Reply<'_> {
        Reply { status, grpc_status: None, body: body.as_bytes() }
    }

    fn grpc(status: u16, body: &[u8]) -> Reply<'_> {
        Reply { status: 200, grpc_status: Some(status), body }
    }

    #[test]
    fn questions_are_put_in_the_servers_own_way() {
        let path = |way: Way, subject| way.question(subject).map(|question| question.path);
        let versioned = Subject::Model("a/b c", Some("1"));
        assert_eq!(path(Way::OipRest, SERVER).unwrap(), "/v2/health/ready");
        assert_eq!(path(Way::OipRest, versioned).unwrap(), "/v2/models/a%2Fb%20c/versions/1/ready");
        assert_eq!(path(Way::TfsRest, MODEL).unwrap(), "/v1/models/fraud");
        assert_eq!(path(Way::TfsRest, SERVER), None);
        assert_eq!(path(Way::Ping, SERVER).unwrap(), "/ping");
        assert_eq!(path(Way::OpenAi, Subject::Versions("fraud")).unwrap(), "/v1/models");
        let asked = Way::OipGrpc.question(Subject::Model("fraud", Some("1"))).unwrap();
        assert_eq!(asked.path, "/inference.GRPCInferenceService/ModelReady");
        assert_eq!(asked.message.unwrap(), b"\0\0\0\0\x0a\x0a\x05fraud\x12\x011");
        let asked = Way::Grpc.question(Subject::Server("m")).unwrap();
        assert_eq!(
            (asked.path.as_str(), asked.message.unwrap().as_slice()),
            ("/grpc.health.v1.Health/Check", &b"\0\0\0\0\x03\x0a\x01m"[..])
        );
    }

    #[test]
    fn readiness_over_http() {
        fn is(way: Way, subject: Subject<'_>, status: u16, body: &str) -> String {
            match way.said(subject, http(status, body)) {
                Said::Ready => "ready".to_owned(),
                Said::Unknown => "unknown".to_owned(),
                Said::NotReady(why) => why,
            }
        }
        assert_eq!(is(Way::OipRest, SERVER, 200, ""), "ready");
        assert_eq!(is(Way::OipRest, SERVER, 200, r#"{"ready":false}"#), "it says that it is not ready");
        assert_eq!(is(Way::OipRest, SERVER, 404, ""), "unknown");
        assert_eq!(is(Way::OipRest, MODEL, 404, ""), "the server does not know the model");
        assert_eq!(is(Way::OipRest, SERVER, 400, ""), "it answers 400");
        assert_eq!(is(Way::OpenAi, SERVER, 401, ""), "unknown");
        let tfs = |state| format!(r#"{{"model_version_status":[{{"version":"1","state":"{state}"}}]}}"#);
        assert_eq!(is(Way::TfsRest, MODEL, 200, &tfs("AVAILABLE")), "ready");
        assert_eq!(is(Way::TfsRest, MODEL, 200, &tfs("LOADING")), "no version of the model is AVAILABLE");
        assert_eq!(is(Way::TfsRest, MODEL, 200, r#"{"name":"fraud","ready":true}"#), "ready");
        assert_eq!(is(Way::TfsRest, MODEL, 200, r#"{"name":"fraud","ready":false}"#), "it says that it is not ready");
        assert_eq!(is(Way::TfsRest, MODEL, 200, r#"{"id":"fraud"}"#), "unknown");
        assert_eq!(is(Way::Ping, SERVER, 200, "healthy"), "ready");
        assert_eq!(is(Way::Ping, SERVER, 500, ""), "it answers 500");
        assert_eq!(is(Way::OpenAi, SERVER, 200, r#"{"data":[]}"#), "ready");
        assert_eq!(is(Way::OpenAi, SERVER, 200, "[]"), "unknown");
    }

    #[test]
    fn readiness_over_grpc() {
        assert_eq!(Way::OipGrpc.said(SERVER, grpc(0, b"\0\0\0\0\x02\x08\x01")), Said::Ready);
        let not = Said::NotReady("it says that it is not ready".to_owned());
        for body in
            [&b"\0\0\0\0\0"[..], b"\0\0\0\0\x02\x08\x02", b"\x01\0\0\0\x02\x08\x01", b"\0\0\0\0\x09\x08\x01", b""]
        {
            assert_eq!(Way::Grpc.said(SERVER, grpc(0, body)), not, "{body:?}");
        }
        assert_eq!(Way::Grpc.said(SERVER, grpc(12, b"")), Said::Unknown);
        assert_eq!(Way::OipGrpc.said(SERVER, http(404, "")), Said::Unknown);
        let why = Said::NotReady("the server does not know the model".to_owned());
        assert_eq!(Way::OipGrpc.said(MODEL, grpc(5, b"")), why);
        assert_eq!(Way::Grpc.said(SERVER, grpc(14, b"")), Said::NotReady("it answers grpc-status 14".to_owned()));
    }

    proptest! {
        #[test]
        fn whatever_a_server_answers_is_read_within_bounds(
            status in 0_u16..700,
            grpc_status in prop::option::of(0_u16..20),
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                r#"\{"(versions|data|model_version_status|ready|name)":[\[\{0-9",a-z:\}\]]{0,40}\}"#.prop_map(String::into_bytes),
            ],
        ) {
            let reply = Reply { status, grpc_status, body: &body };
            for way in WAYS {
                let ready = way.said(SERVER, reply) == Said::Ready || way.said(MODEL, reply) == Said::Ready;
                prop_assert!(!ready || (200..300).contains(&status));
                if let Told::Versions(names) | Told::Models(names) = way.told(reply) {
                    prop_assert!(names.len() <= NAMES_MAX && names.iter().all(|name| name.len() <= VALUE_BYTES_MAX));
                }
            }
        }
    }

    #[test]
    fn versions_are_read() {
        let versions = |names: &[&str]| Told::Versions(names.iter().map(|name| (*name).to_owned()).collect());
        let v2 = r#"{"name":"fraud","versions":["1","2"],"platform":"x"}"#;
        assert_eq!(Way::OipRest.told(http(200, v2)), versions(&["1", "2"]));
        assert_eq!(Way::OipRest.told(http(200, r#"{"name":"fraud"}"#)), versions(&[]));
        assert_eq!(Way::OipRest.told(http(404, "")), Told::NoModel);
        assert_eq!(Way::OipRest.told(http(200, "no JSON")), Told::Nothing);
        assert_eq!(Way::OipRest.told(http(500, v2)), Told::Nothing);
        let tfs = r#"{"model_version_status":[{"version":"1","state":"END"},{"version":"2","state":"AVAILABLE"}]}"#;
        assert_eq!(Way::TfsRest.told(http(200, tfs)), versions(&["2"]));
        let ids = Told::Models(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(Way::OpenAi.told(http(200, r#"{"data":[{"id":"a"},{"id":"b"},{}]}"#)), ids);
        let metadata = b"\0\0\0\0\x0d\x0a\x05fraud\x12\x011\x12\x012";
        assert_eq!(Way::OipGrpc.told(grpc(0, metadata)), versions(&["1", "2"]));
        assert_eq!(Way::OipGrpc.told(grpc(5, b"")), Told::NoModel);
        let many =
            format!(r#"{{"name":"fraud","versions":[{}"{}"]}}"#, r#""1","#.repeat(NAMES_MAX + 9), "x".repeat(999));
        let Told::Versions(kept) = Way::OipRest.told(http(200, &many)) else { panic!("versions") };
        assert_eq!(kept.len(), NAMES_MAX);
    }
}
