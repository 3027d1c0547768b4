//! Webhooks of MLflow's registry: whether one is of who knows the secret, and whether it is news.
//!
//! As MLflow 3 signs them (`mlflow/webhooks/delivery.py`): `X-MLflow-Signature: v1,BASE64` with the HMAC-SHA256 of
//! `DELIVERY_ID.TIMESTAMP.BODY`. What the body says is used only to tell whom it is about; what changed is asked of the
//! server itself, so that an old delivery sent again tells nothing false. A pure function: time and secret are given.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use tokio::sync::Notify;

/// Bytes of a body, at most; MLflow's have some hundred.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a secret, at least.
pub const SECRET_BYTES_MIN: usize = 16;
/// How far from now a delivery may have been signed: clocks differ, and MLflow tries again for some minutes.
const WINDOW: Duration = Duration::from_mins(5);
/// Bytes of a delivery's id.
const ID_BYTES_MAX: usize = 128;

const SIGNATURE: &str = "x-mlflow-signature";
const TIMESTAMP: &str = "x-mlflow-timestamp";
const DELIVERY: &str = "x-mlflow-delivery-id";

/// Why a delivery is not believed, or says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Nobody said by which secret they are signed.
    #[error("no webhooks are taken here: set lineage.mlflow.webhook_secret_file")]
    Off,
    /// A header is missing or is not what it should be.
    #[error("the header {0} is missing or malformed: give the webhook a secret in MLflow")]
    Header(&'static str),
    /// It was signed with another secret, or changed.
    #[error("the signature does not hold: give the webhook in MLflow the secret of lineage.mlflow.webhook_secret_file")]
    Signature,
    /// It was signed at another time.
    #[error("it was signed more than {} s from now: set the clocks right", WINDOW.as_secs())]
    Time,
    /// It is more than any event has.
    #[error("the body has more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    /// It is signed, and no event.
    #[error("the body is no event of MLflow's registry")]
    Body,
}

impl WebhookError {
    /// What the sender is answered.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Off => StatusCode::NOT_FOUND,
            Self::Header(_) | Self::Signature | Self::Time => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a delivery tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `model_version_alias` and so on.
    pub entity: String,
    /// `created`, `set`, `deleted`.
    pub action: String,
    /// The registered model that it is about; none for prompts, tests and what is not known yet.
    pub model: Option<String>,
    /// The delivery's id, for logs.
    pub delivery: String,
}

/// Takes deliveries, and wakes whoever waits for news. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Receiver(Arc<Inner>);

#[derive(Default)]
struct Inner {
    secret: Option<Vec<u8>>,
    news: Notify,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("secret", &self.secret.as_ref().map(|_| "…")).finish_non_exhaustive()
    }
}

impl Receiver {
    /// With the secret in a file; without one it takes nothing.
    ///
    /// # Errors
    /// Where the file cannot be read, or its secret could be guessed.
    pub fn load(file: Option<&Path>) -> io::Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let secret = std::fs::read_to_string(file)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        let secret = secret.trim().as_bytes().to_vec();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: fewer than {SECRET_BYTES_MIN} bytes: make one with `openssl rand -hex 32`",
                    file.display()
                ),
            ));
        }
        Ok(Self(Arc::new(Inner { secret: Some(secret), news: Notify::new() })))
    }

    /// Reads a delivery, and wakes who waits, where it is about a registered model.
    ///
    /// # Errors
    /// Where it is not believed.
    pub fn take(&self, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Result<Event, WebhookError> {
        let secret = self.0.secret.as_deref().ok_or(WebhookError::Off)?;
        let event = verify(secret, headers, body, now)?;
        if event.model.is_some() {
            self.0.news.notify_one();
        }
        Ok(event)
    }

    /// Waits for news; of what came since the last time, too.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }
}

/// Reads a delivery whose signature holds.
///
/// # Errors
/// Where it does not, or the body is no event.
pub fn verify(secret: &[u8], headers: &HeaderMap, body: &[u8], now: SystemTime) -> Result<Event, WebhookError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(WebhookError::TooLarge);
    }
    let header = |name: &'static str| {
        let mut values = headers.get_all(name).iter();
        match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
            (Some(value), None) => Ok(value.trim()),
            _ => Err(WebhookError::Header(name)),
        }
    };
    let (signature, timestamp, delivery) = (header(SIGNATURE)?, header(TIMESTAMP)?, header(DELIVERY)?);
    let signature = signature.strip_prefix("v1,").and_then(|text| BASE64.decode(text).ok());
    let signature = signature.ok_or(WebhookError::Header(SIGNATURE))?;
    if delivery.is_empty() || delivery.len() > ID_BYTES_MAX {
        return Err(WebhookError::Header(DELIVERY));
    }
    let mut signed = format!("{delivery}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    // Compared in constant time.
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, &signed, &signature).map_err(|_unspecified| WebhookError::Signature)?;
    let seconds: u64 = timestamp.parse().map_err(|_error| WebhookError::Header(TIMESTAMP))?;
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(WebhookError::Time)?;
    let apart = now.duration_since(at).unwrap_or_else(|ahead| ahead.duration());
    if apart > WINDOW {
        return Err(WebhookError::Time);
    }
    let said: Said = serde_json::from_slice(body).map_err(|_error| WebhookError::Body)?;
    let named = said.entity.starts_with("registered_model") || said.entity.starts_with("model_version");
    let model = said.data.name.filter(|name| named && !name.is_empty());
    Ok(Event { entity: said.entity, action: said.action, model, delivery: delivery.to_owned() })
}

/// The body of a delivery.
#[derive(Deserialize)]
struct Said {
    entity: String,
    action: String,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    name: Option<String>,
}

#[cfg(test)]
mod tests;
