//! `--server`: the catalog of another Touchmark in the place of the one here, so that nobody needs its database's password.
//!
//! Questions are answered in JSON, as that server's API gives it; what is shown to people is made by those that read a
//! catalog here. The author of what is recorded is whom the token names.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use http::StatusCode;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use crate::cli::Status;
use crate::lineage::catalog::Recorded;
use crate::lineage::{Facts, Remote, RemoteError};

/// Another Touchmark.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Server {
    /// The admin address of another Touchmark, whose catalog it is: http://… or https://…
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "config", "catalog"])]
    server: Option<String>,
    /// The file that holds the token to show there
    #[arg(long, value_name = "FILE", requires = "server")]
    token_file: Option<PathBuf>,
}

/// What a server answers is for programs.
#[derive(Debug, thiserror::Error)]
#[error("what --server answers to this is JSON: add --json")]
pub(super) struct JsonAlone;

impl Server {
    pub(super) fn is_named(&self) -> bool {
        self.server.is_some()
    }

    /// The flags by which it is named, for commands that are told to people.
    pub(super) fn flags(&self) -> String {
        let server = self.server.iter().map(|server| format!(" --server {server}"));
        server.chain(self.token_file.iter().map(|file| format!(" --token-file {}", file.display()))).collect()
    }

    /// Records there. Each time over a connection of its own: hours may lie between a run's begin and its end.
    pub(super) async fn record(&self, facts: &Facts) -> Result<Recorded> {
        let recorded = async { self.remote()?.connect().await?.record(facts).await };
        recorded.await.map_err(|error| self.mended(error))
    }

    /// What it answers.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: &Question) -> Result<T> {
        let answered = async { self.remote()?.connect().await?.get(&question.0).await };
        answered.await.map_err(|error| self.mended(error))
    }

    fn remote(&self) -> Result<Remote, RemoteError> {
        Remote::new(self.server.as_deref().unwrap_or_default(), self.token_file.as_deref(), None)
    }

    fn mended(&self, error: RemoteError) -> anyhow::Error {
        let mend = match &error {
            RemoteError::Refused { status: StatusCode::UNAUTHORIZED, .. } => match &self.token_file {
                None => "name the file of a token that is known there by --token-file".to_owned(),
                Some(file) => format!("the token in {} is not known there", file.display()),
            },
            RemoteError::Refused { status: StatusCode::FORBIDDEN, .. } => {
                "the token is known there, but its role is not enough: name another one by --token-file".to_owned()
            }
            RemoteError::Unreachable { server, .. } if server.starts_with("https://") => {
                "--server must be the admin address of a Touchmark that runs, and SSL_CERT_FILE the PEM file of an \
                 authority that signed its certificate, if the system has none"
                    .to_owned()
            }
            RemoteError::Unreachable { .. } => {
                "--server must be the admin address of a Touchmark that runs, such as 'touchmark catalog serve'"
                    .to_owned()
            }
            _ => return error.into(),
        };
        anyhow::Error::new(error).context(mend)
    }
}

/// A question of the API.
#[derive(Clone, Debug)]
pub(super) struct Question(String);

impl Question {
    pub(super) fn new(about: &str) -> Self {
        Self(about.to_owned())
    }

    /// About one thing, by its name.
    pub(super) fn of(about: &str, name: impl Display) -> Self {
        Self(format!("{about}/{}", encoded(name)))
    }

    /// With a parameter, where it is given.
    pub(super) fn with(mut self, name: &str, value: Option<impl Display>) -> Self {
        if let Some(value) = value {
            let before = if self.0.contains('?') { '&' } else { '?' };
            self.0 = format!("{}{before}{name}={}", self.0, encoded(value));
        }
        self
    }

    /// With a time, where it is given.
    pub(super) fn at(self, name: &str, time: Option<SystemTime>) -> Result<Self> {
        let time = time.map(Timestamp::try_from).transpose().with_context(|| format!("the time of {name}"))?;
        Ok(self.with(name, time))
    }
}

fn encoded(value: impl Display) -> String {
    utf8_percent_encode(&value.to_string(), NON_ALPHANUMERIC).to_string()
}

/// What an error of a server means to scripts.
pub(super) fn status(error: &RemoteError) -> Status {
    match error {
        RemoteError::Address(_) | RemoteError::Token { .. } => Status::Usage,
        RemoteError::Refused { problem, .. } => match problem.kind() {
            "missing" => Status::Negative,
            "ambiguous" | "causality" | "circle" | "facts" | "identity" | "kind" | "parameter" | "refused" | "role"
            | "token" => Status::Usage,
            _ => Status::Failed,
        },
        _ => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_encoded() {
        let question = Question::of("upstream", "dataset:s3://lake/a b@v1+2").with("depth", Some(3));
        let question = question.with("kind", None::<&str>).with("limit", Some(7));
        assert_eq!(question.0, "upstream/dataset%3As3%3A%2F%2Flake%2Fa%20b%40v1%2B2?depth=3&limit=7");
        let asked = Question::new("completeness").at("as_of", Some(SystemTime::UNIX_EPOCH)).unwrap();
        assert_eq!(asked.0, "completeness?as_of=1970%2D01%2D01T00%3A00%3A00Z");
    }
}
