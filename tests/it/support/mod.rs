//! What the scenarios stand on: a model server that a test plays itself, raw clients, a Touchmark, its ledger.
//!
//! Nothing here sleeps to let something happen: a test waits for bytes, for the end of a connection, or with
//! [`eventually`] for a fact. Every wait ends after [`PATIENCE`] with what was seen until then.

pub(crate) mod backends;
pub(crate) mod disk;
pub(crate) mod grpc;
pub(crate) mod http2;
pub(crate) mod ledger;
pub(crate) mod log;
pub(crate) mod message;
pub(crate) mod model_server;
pub(crate) mod process;
pub(crate) mod tls;
pub(crate) mod touchmark;
pub(crate) mod wire;
pub(crate) mod witness;

use std::time::{Duration, Instant};

/// How long a test waits for what must come. Only a failing test ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a fact that cannot be waited for otherwise.
const LOOK: Duration = Duration::from_millis(2);

/// Looks until `fact` gives something.
pub(crate) async fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends a wait that must not last.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, wait).await else { panic!("waited in vain: {what}") };
    value
}

/// Says why a test proves nothing here.
#[expect(clippy::print_stdout, reason = "a test that is passed over must say so")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// The same for want of a program, which the gate installs: there, its want is a failure.
pub(crate) fn skipped_without(program: &str) {
    assert!(std::env::var_os("TOUCHMARK_GATE").is_none(), "the gate must not pass over this: {program} is missing");
    skipped(&format!("{program} is not installed, or may not be used"));
}
