//! Integration tests: a whole Touchmark between raw clients and a model server that each test plays itself.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Whoever leaves, and whenever: one entry, by how it ended.
mod aborts;
/// The admin listener beside it.
mod admin;
/// Killed at many moments: what was seen is recorded.
mod crash;
/// The first thing that anybody runs.
mod demo;
/// HTTP/2 requests become HTTP/1.1 ones, and nothing is smuggled in.
mod downgrade;
/// What a gateway adds, and what it must not pass on.
mod gateway;
/// gRPC as gRPC.
mod grpc;
/// HTTP/1.1, either way.
mod http1;
/// HTTP/2 by prior knowledge, and its abuses.
mod http2;
/// Start, reload, stop.
mod lifecycle;
/// Every limit is met.
mod limits;
/// `TensorFlow` Serving and `TorchServe`.
mod protocols;
/// The ledger behind it all, and its failures.
mod recording;
/// Which backend, which model.
mod routing;
/// Requests put together at random.
mod scrambled;
/// A second request hidden in the first never arrives.
mod smuggling;
/// Who was it? Stamps on answers, ids and forwarding fields on requests.
mod stamps;
/// Streams flow at once, both ways.
mod streams;
/// What the scenarios stand on.
mod support;
/// What on-call sees.
mod telemetry;
/// Deadlines of ours.
mod timeouts;
/// TLS on both legs.
mod tls;
/// Weights, moved and kept.
mod traffic;
/// The auditor's command.
mod verify;
