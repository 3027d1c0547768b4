//! Integration tests: a whole Touchmark between raw clients and a model server that each test plays itself.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Whoever leaves, and whenever: one entry, by how it ended.
mod aborts;
/// The admin listener beside it.
mod admin;
/// What leaves the house: cosignatures and receipts.
mod apart;
/// What the lineage answers, from the command line.
mod asking;
/// Killed, failed, filled and unplugged at each call.
mod campaign;
/// Killed at many moments: what was seen is recorded.
mod crash;
/// The first thing that anybody runs.
mod demo;
/// HTTP/2 requests become HTTP/1.1 ones, and nothing is smuggled in.
mod downgrade;
/// A backend that goes.
mod draining;
/// A backend that fails.
mod ejection;
/// Proofs for third parties, and tiles for mirrors.
mod evidence;
/// What a gateway adds, and what it must not pass on.
mod gateway;
/// gRPC as gRPC.
mod grpc;
/// A backend that is asked.
mod health;
/// HTTP/1.1, either way.
mod http1;
/// HTTP/2 by prior knowledge, and its abuses.
mod http2;
/// Start, reload, stop.
mod lifecycle;
/// Every limit is met.
mod limits;
/// Lineage over HTTP.
mod lineage_api;
/// What CI jobs say of their runs.
mod lineage_record;
/// The same from other machines.
mod lineage_server;
mod mlflow;
/// Notes beside another implementation's.
mod notes;
/// `TensorFlow` Serving and `TorchServe`.
mod protocols;
/// The ledger behind it all, and its failures.
mod recording;
/// Idle connections, and what they take.
mod rest;
/// Which backend, which model.
mod routing;
/// Requests put together at random.
mod scrambled;
/// A second request hidden in the first never arrives.
mod smuggling;
/// Stamps from the graph or a file.
mod sourced;
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
/// Trees, proofs and tiles beside other implementations'.
mod tlog;
/// TLS on both legs.
mod tls;
/// Weights, moved and kept.
mod traffic;
/// WebSocket and other switches of protocol.
mod upgrades;
/// The auditor's command.
mod verify;
/// The witness: what it cosigns, and what it never does.
mod witness;
