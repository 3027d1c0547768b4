//! Touchmark: a reverse proxy that gives every machine-learning prediction its lineage.
//!
//! `ARCHITECTURE.md` is the map of the house; a request's way reads from top to bottom in [`proxy`].

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
mod durable;
pub mod exchange;
pub mod key_file;
pub mod ledger;
pub mod lineage;
pub mod protocol;
pub mod proxy;
pub mod sha256;
pub mod telemetry;
pub mod tlog;
pub mod tls;
pub mod units;
pub mod witness;
