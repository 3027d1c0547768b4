//! Ctrl-C and SIGTERM: remembered, so that the bench ends in order and its guards take its children and files along.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Begins to listen for signals.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listen = move || {
        runtime.block_on(async {
            let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
                return;
            };
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            ASKED.store(true, Ordering::Relaxed);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).context("watching for signals")?;
    Ok(())
}

/// An error once the bench was asked to end.
pub(crate) fn check() -> anyhow::Result<()> {
    ensure!(!ASKED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
