//! What serving protocols look like on the wire: which calls are predictions, and which model they name.
//!
//! Pure recognisers, one file a protocol. They look at a request's head and, in passing, at bodies that somebody
//! else streams: nothing here reads, waits, keeps a body or changes a byte. What they see comes from strangers, so
//! nothing here fails: what cannot be understood is not recognised, or names no model. Which backend or lineage
//! entry a name means is the proxy's business.
//!
//! A prediction that is not recognised is not recorded, so in doubt a call *is* one: spellings of a path that some
//! servers take for the usual one (`%69nfer`, `//`, a trailing slash) are recognised too, and a gRPC method is
//! recognised by its path whatever the content type says.

pub mod grpc;
pub mod health;
pub mod json;

mod custom;
mod found;
mod mlflow;
mod oip_grpc;
mod oip_rest;
mod openai;
mod path;
mod protobuf;
mod reader;
mod sagemaker;
mod sse;
mod tfs_grpc;
mod tfs_rest;
mod torchserve_grpc;
mod torchserve_rest;

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method};

pub use custom::{PatternConfig, PatternError, Patterns};
pub use found::VALUE_BYTES_MAX;
pub use reader::Reader;

use path::Path;
use reader::Rule;

/// A serving protocol; the `protocol` of entries, metrics and spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Open Inference Protocol V2 over REST, with Triton's and MLServer's extensions.
    OipRest,
    /// Open Inference Protocol V2 over gRPC, with Triton's streaming method.
    OipGrpc,
    /// The OpenAI API as model servers offer it.
    OpenAi,
    /// The MLflow scoring server.
    Mlflow,
    /// An Amazon SageMaker inference container.
    SageMaker,
    /// `TensorFlow` Serving and `KServe` V1 over REST.
    TfsRest,
    /// `TensorFlow` Serving over gRPC.
    TfsGrpc,
    /// `TorchServe` over REST.
    TorchServeRest,
    /// `TorchServe` over gRPC.
    TorchServeGrpc,
    /// A pattern of the user's own.
    Custom,
}

impl Protocol {
    /// Every protocol, in the order of [`Protocol::index`].
    pub const ALL: [Self; 10] = [
        Self::OipRest,
        Self::OipGrpc,
        Self::OpenAi,
        Self::Mlflow,
        Self::SageMaker,
        Self::TfsRest,
        Self::TfsGrpc,
        Self::TorchServeRest,
        Self::TorchServeGrpc,
        Self::Custom,
    ];

    /// The label in ledger entries, metrics and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OipRest => "oip-rest",
            Self::OipGrpc => "oip-grpc",
            Self::OpenAi => "openai",
            Self::Mlflow => "mlflow",
            Self::SageMaker => "sagemaker",
            Self::TfsRest => "tfs-rest",
            Self::TfsGrpc => "tfs-grpc",
            Self::TorchServeRest => "torchserve-rest",
            Self::TorchServeGrpc => "torchserve-grpc",
            Self::Custom => "custom",
        }
    }

    /// The place in [`Protocol::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// How a call and its answer are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Plain HTTP bodies; an answer may be a stream of server-sent events.
    Http,
    /// One gRPC message each way.
    GrpcUnary,
    /// gRPC messages, any number either way.
    GrpcStream,
}

/// A recognised prediction: what its head says, and how to read the rest from the bodies.
#[derive(Clone, Debug)]
pub struct Call {
    /// The serving protocol.
    pub protocol: Protocol,
    /// How call and answer are framed.
    pub shape: Shape,
    /// The route's template, such as `/v2/models/{model}/infer`; never the raw path.
    pub route: Cow<'static, str>,
    /// The model that path or headers name, percent-decoded, at most [`VALUE_BYTES_MAX`] bytes.
    pub model: Option<String>,
    /// The version that the path names, in the server's numbering, percent-decoded, at most [`VALUE_BYTES_MAX`] bytes.
    pub version: Option<String>,
    /// The label that the path names instead, such as `stable`: it stands for a version that the call does not say.
    pub label: Option<String>,
    /// `gen_ai.operation.name` of OpenAI-style calls.
    pub operation: Option<&'static str>,
    request: Rule,
    answer: Rule,
}

impl Call {
    /// A call whose head names nothing.
    fn new(protocol: Protocol, shape: Shape, route: impl Into<Cow<'static, str>>, request: Rule, answer: Rule) -> Self {
        let (model, version, label) = (None, None, None);
        Self { protocol, shape, route: route.into(), model, version, label, operation: None, request, answer }
    }

    /// A reader for the request's body as it stands on the wire (for gRPC with its prefixes), given the request's
    /// headers. [`Reader::off`] where there is nothing to learn: the head says all, or the body is encoded.
    pub fn request_reader(&self, headers: &HeaderMap) -> Reader {
        if self.is_opaque(headers) {
            return Reader::off();
        }
        // The caller's headers do not choose how a document is read: a false one would hide the model.
        Reader::new(&self.request, false, u64::MAX)
    }

    /// A reader for the answer's body as it stands on the wire (for gRPC with its prefixes), given the answer's
    /// headers: the model and version that the server says it was.
    pub fn answer_reader(&self, headers: &HeaderMap) -> Reader {
        if self.is_opaque(headers) {
            return Reader::off();
        }
        Reader::new(&self.answer, is_event_stream(headers), oip_rest::json_bytes(headers))
    }

    /// Whether the request's body may name the model, so that routing by it needs the body's beginning.
    pub fn states_model_in_body(&self) -> bool {
        !matches!(self.request, Rule::Nothing)
    }

    /// Whether the body is compressed as a whole. gRPC compresses message by message, as their prefixes say.
    fn is_opaque(&self, headers: &HeaderMap) -> bool {
        let encoding = headers.get(CONTENT_ENCODING).filter(|_| self.shape == Shape::Http);
        encoding.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    }
}

/// The prediction that a request's head announces; `None` for health, metadata and everything else.
///
/// The user's own patterns come first, since they were written with the server in mind.
/// Predictions are `POST`s; `TorchServe`'s may be `PUT`s too.
pub fn recognise(parts: &Parts, patterns: &Patterns) -> Option<Call> {
    if !matches!(parts.method, Method::POST | Method::PUT) {
        return None;
    }
    let raw = parts.uri.path();
    recognise_path(Path::encoded(raw), parts, patterns)
        .or_else(|| recognise_path(Path::plain(&path::normalise(raw)?), parts, patterns))
}

/// The prediction that a request for another protocol (`Upgrade`) announces: by the user's patterns alone, whatever its
/// method, since a WebSocket begins with a `GET`.
pub fn recognise_upgrade(parts: &Parts, patterns: &Patterns) -> Option<Call> {
    let raw = parts.uri.path();
    let call =
        patterns.recognise(Path::encoded(raw)).or_else(|| patterns.recognise(Path::plain(&path::normalise(raw)?)));
    call.filter(|call| call.shape == Shape::Http)
}

fn recognise_path(path: Path<'_>, parts: &Parts, patterns: &Patterns) -> Option<Call> {
    if parts.method == Method::PUT {
        return torchserve_rest::recognise(path);
    }
    patterns
        .recognise(path)
        .or_else(|| oip_rest::recognise(path))
        .or_else(|| oip_grpc::recognise(path))
        .or_else(|| openai::recognise(path))
        .or_else(|| sagemaker::recognise(path, &parts.headers))
        .or_else(|| mlflow::recognise(path))
        .or_else(|| tfs_rest::recognise(path))
        .or_else(|| tfs_grpc::recognise(path))
        .or_else(|| torchserve_rest::recognise(path))
        .or_else(|| torchserve_grpc::recognise(path))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let media_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    media_type.get(..EVENT_STREAM.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
}

#[cfg(test)]
mod tests;
