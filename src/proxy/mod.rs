//! The data path: a request's way from a client to a model server, and its answer's way back.
//!
//! # Life of a request
//!
//! 1. `listener` accepts on a worker's own thread; `connection` finds out which HTTP it is; hyper reads the head.
//! 2. `stack` is the order of all that follows.
//! 3. `identify`: is it a prediction, by which protocol, of which model? May it pass at all?
//! 4. `record` opens a `recording`: an id, a trace, two places in the ledger's queue. Its drop is its end.
//! 5. `admit` gives it a place among the calls in flight.
//! 6. `forward` sends it over a connection of the worker's own (`upstream`); `input` hashes the body behind itself.
//! 7. The answer is held or streamed (`recorded`), hashed (`digest`), compared with what was declared (`route`),
//!    stamped (`stamp`) and let go once it is recorded.
//! 8. A `connection` on which nothing happens gives hyper's buffers back and comes to `rest` until the client speaks.
//! 9. After a 101 the client's `connection` is no longer HTTP: `tunnel` passes bytes both ways.
//!
//! What is not here: files, sockets of other listeners, catalogs. The proxy knows a `Recorder`, not a ledger.

mod admit;
mod backend_config;
mod body;
mod client;
mod config;
mod connection;
mod digest;
mod error;
mod forward;
mod headers;
pub mod health;
mod identify;
mod input;
mod lanes;
mod listener;
mod meter;
mod passage;
mod record;
mod recorded;
mod recording;
mod refuse;
mod rest;
#[cfg(test)]
mod rest_tests;
mod route;
mod server;
mod snapshot;
mod stack;
mod stamp;
mod sticky;
mod transport;
mod tunnel;
mod upgrade;
mod upstream;
mod worker;

pub use admit::Admission;
pub use backend_config::{BackendConfig, ModelConfig, ServedAs, UpstreamProtocol};
pub use config::{Config, ForwardedConfig, Http2Config, LimitsConfig, OnMismatch, StickyConfig, TimeoutsConfig};
pub use health::{CheckProtocol, Health, HealthCheckConfig, HealthConfig};
pub use listener::Phase;
pub use server::Server;
pub use snapshot::{Backend, Model, Snapshot, SnapshotError};
pub use worker::Shared;
