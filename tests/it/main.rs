//! Integration tests, one binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

/// The first thing that anybody runs.
mod demo;
