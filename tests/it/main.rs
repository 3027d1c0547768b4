//! Integration tests: a whole Touchmark between raw clients and a model server that each test plays itself.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

/// Whoever leaves, and whenever: one entry, by how it ended.
mod aborts;
/// gRPC as gRPC.
mod grpc;
/// A second request hidden in the first never arrives.
mod smuggling;
/// Who was it? Stamps on answers, ids and forwarding fields on requests.
mod stamps;
/// What the scenarios stand on.
mod support;
