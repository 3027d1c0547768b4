//! Why MLflow could not be asked, and what would mend it.

use ::http::StatusCode;

use super::http::{ANSWER_BYTES_MAX, PATIENCE};
use crate::lineage::catalog::CatalogError;

/// Why MLflow could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum MlflowError {
    /// The address is none.
    #[error("'{uri}' is no address of an MLflow server: {problem}")]
    Address {
        /// What was given, without a password.
        uri: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No connection, or it broke.
    #[error("{server} cannot be reached: {problem}")]
    Unreachable {
        /// The server.
        server: String,
        /// What happened.
        problem: String,
    },
    /// No whole answer in time.
    #[error("{server} gave no whole answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// The server.
        server: String,
    },
    /// 401.
    #[error(
        "{server} wants to know who asks: set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and \
         MLFLOW_TRACKING_PASSWORD, to what it takes"
    )]
    Unauthorized {
        /// The server.
        server: String,
    },
    /// 403.
    #[error("{server} does not let these credentials read {what}: grant them READ")]
    Forbidden {
        /// The server.
        server: String,
        /// What was asked for.
        what: String,
    },
    /// Something else answers there.
    #[error("{server} does not answer as MLflow does: {what}; give the address under which its pages open")]
    NotMlflow {
        /// The server.
        server: String,
        /// What it answered.
        what: String,
    },
    /// MLflow knows no such thing.
    #[error("MLflow has no {0}")]
    Unknown(String),
    /// More than we take.
    #[error("the answer on {what} has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
    },
    /// Pages that never end.
    #[error("the pages of {what} do not end")]
    Endless {
        /// What was listed.
        what: String,
    },
    /// Anything else that MLflow answers.
    #[error("{server} answers {status} on {what}: {message}")]
    Refused {
        /// The server.
        server: String,
        /// What was asked for.
        what: String,
        /// Its status.
        status: StatusCode,
        /// Its message.
        message: String,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl MlflowError {
    /// Whether it is about the one thing that was asked for, so that others may still be had.
    pub fn is_of_one(&self) -> bool {
        match self {
            Self::Unknown(_) | Self::Forbidden { .. } | Self::TooLarge { .. } => true,
            Self::Refused { status, .. } => *status == StatusCode::BAD_REQUEST,
            _ => false,
        }
    }

    /// What was asked for, where it is about that.
    pub(super) fn what(&self) -> &str {
        match self {
            Self::Unknown(what)
            | Self::Forbidden { what, .. }
            | Self::TooLarge { what }
            | Self::Endless { what }
            | Self::Refused { what, .. } => what,
            _ => "MLflow",
        }
    }
}
