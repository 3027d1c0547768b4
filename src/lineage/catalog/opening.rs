//! A catalog that is being opened: what `serve` shares while the database may not be there yet.
//!
//! Serving must not wait for a catalog, nor fail with it: it is opened and checked in the background, again and again
//! with growing pauses, and whoever asks meanwhile is told why not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::SetOnce;

use super::{Catalog, Causality, Location};

/// The pause after the first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A catalog, once it is open. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    catalog: Arc<SetOnce<Catalog>>,
    /// Why it is not open. A lock of the control plane, held to copy a text.
    reason: Arc<Mutex<String>>,
}

impl Opening {
    /// One that is open already.
    pub fn opened(catalog: Catalog) -> Self {
        let opening = Self::default();
        let _first = opening.catalog.set(catalog);
        opening
    }

    /// The catalog.
    ///
    /// # Errors
    /// Why it is not open, for people.
    pub fn get(&self) -> Result<&Catalog, String> {
        self.catalog.get().ok_or_else(|| {
            let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if reason.is_empty() { "the catalog is being opened: ask again in a moment".to_owned() } else { reason }
        })
    }

    /// The catalog, as soon as it is open.
    pub async fn wait(&self) -> &Catalog {
        self.catalog.wait().await
    }

    /// Opens it, however long that takes.
    pub async fn open(&self, location: &Location, causality: Causality) {
        let mut pause = PAUSE;
        loop {
            let tried = async {
                let catalog = Catalog::open(location, causality).await?;
                catalog.check().await.map(|()| catalog)
            };
            match tried.await {
                Ok(catalog) => {
                    tracing::info!(catalog = %location, "the catalog is open");
                    let _first = self.catalog.set(catalog);
                    return;
                }
                Err(error) => {
                    let reason = told(&error);
                    tracing::error!(error = %reason, "the catalog cannot be opened; predictions are served all the same");
                    *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
