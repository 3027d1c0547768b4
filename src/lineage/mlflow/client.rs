//! The questions that MLflow is asked: its REST API 2.0, reading only.
//!
//! It turns each answer into what it means, or into a [`MlflowError`] that says what would mend it. One question at a
//! time; it keeps nothing but the connection.

use std::io;
use std::path::Path;

use ::http::{HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::MlflowError;
use super::answers::{
    LoggedModel, ModelVersion, ModelVersions, OneExperiment, OneLoggedModel, OneModelVersion, OneRegisteredModel,
    OneRun, Page, Problem, RegisteredModel, RegisteredModels, Run,
};
use super::http::{Answer, Http};

/// Under which all questions stand.
const API: &str = "/api/2.0/mlflow/";
/// Models or versions of a page.
const PAGE: u32 = 200;
/// Letters of a server's message that are shown.
const MESSAGE_LETTERS_MAX: usize = 300;
/// What stands unencoded in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// As whom to ask.
#[derive(Clone, Default)]
pub enum Credentials {
    /// As nobody.
    #[default]
    None,
    /// `Authorization: Bearer …`
    Token(String),
    /// `Authorization: Basic …`
    Basic {
        /// The user's name.
        username: String,
        /// The password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::Basic { .. } => "Basic(…)",
        })
    }
}

impl Credentials {
    /// As MLflow's own clients find them: user and password go before a token.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        match (set("MLFLOW_TRACKING_USERNAME"), set("MLFLOW_TRACKING_PASSWORD"), set("MLFLOW_TRACKING_TOKEN")) {
            (Some(username), Some(password), _) => Self::Basic { username, password },
            (_, _, Some(token)) => Self::Token(token),
            _ => Self::None,
        }
    }

    /// A bearer token in a file.
    ///
    /// # Errors
    /// Where it cannot be read, or holds none.
    pub fn file(path: &Path) -> io::Result<Self> {
        let token = std::fs::read_to_string(path)?.trim().to_owned();
        if token.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty: write the token into it"));
        }
        Ok(Self::Token(token))
    }

    fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::None => return None,
            Self::Token(token) => format!("Bearer {token}"),
            Self::Basic { username, password } => format!("Basic {}", BASE64.encode(format!("{username}:{password}"))),
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// A server, ready to be asked.
#[derive(Debug)]
pub struct Client {
    http: Http,
}

impl Client {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// Where the address is none of a server.
    pub fn new(uri: &str, credentials: &Credentials) -> Result<Self, MlflowError> {
        Ok(Self { http: Http::new(uri, credentials.header())? })
    }

    /// The server's address, without credentials.
    pub fn server(&self) -> &str {
        &self.http.shown
    }

    pub(super) async fn registered_models(&mut self, page: Option<&str>) -> Result<Page<RegisteredModel>, MlflowError> {
        let token = page.map(|token| format!("&page_token={}", encoded(token))).unwrap_or_default();
        let target = format!("registered-models/search?max_results={PAGE}{token}");
        let answer: RegisteredModels = self.get(&target, "the registered models").await?;
        Ok(Page { items: answer.registered_models, next: some(answer.next_page_token) })
    }

    pub(super) async fn registered_model(&mut self, name: &str) -> Result<RegisteredModel, MlflowError> {
        let target = format!("registered-models/get?name={}", encoded(name));
        let answer: OneRegisteredModel = self.get(&target, &format!("registered model '{name}'")).await?;
        Ok(answer.registered_model)
    }

    /// A page of the versions that a filter's `key='value'` takes.
    pub(super) async fn versions(
        &mut self,
        (key, value): (&str, &str),
        page: Option<&str>,
    ) -> Result<Page<ModelVersion>, MlflowError> {
        let filter = if value.contains('\'') { format!("{key}=\"{value}\"") } else { format!("{key}='{value}'") };
        let token = page.map(|token| format!("&page_token={}", encoded(token))).unwrap_or_default();
        let target = format!("model-versions/search?max_results={PAGE}&filter={}{token}", encoded(&filter));
        let answer: ModelVersions = self.get(&target, &format!("the versions where {filter}")).await?;
        // What was not asked for is not believed.
        let items = answer.model_versions.into_iter().filter(|version| match key {
            "name" => version.name == value,
            _ => version.run_id == value,
        });
        Ok(Page { items: items.collect(), next: some(answer.next_page_token) })
    }

    pub(super) async fn version(&mut self, name: &str, version: &str) -> Result<ModelVersion, MlflowError> {
        let target = format!("model-versions/get?name={}&version={}", encoded(name), encoded(version));
        self.one_version(&target, &format!("version {version} of '{name}'")).await
    }

    pub(super) async fn by_alias(&mut self, name: &str, alias: &str) -> Result<ModelVersion, MlflowError> {
        let target = format!("registered-models/alias?name={}&alias={}", encoded(name), encoded(alias));
        self.one_version(&target, &format!("alias '{alias}' of '{name}'")).await
    }

    async fn one_version(&mut self, target: &str, what: &str) -> Result<ModelVersion, MlflowError> {
        let answer: Result<OneModelVersion, _> = self.get(target, what).await;
        match answer {
            Ok(answer) => Ok(answer.model_version),
            // Of an alias, or of a version that is no number, MLflow says so.
            Err(MlflowError::Refused { status: StatusCode::BAD_REQUEST, .. }) => {
                Err(MlflowError::Unknown(what.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn run(&mut self, id: &str) -> Result<Run, MlflowError> {
        let answer: OneRun = self.get(&format!("runs/get?run_id={}", encoded(id)), &format!("run {id}")).await?;
        Ok(answer.run)
    }

    pub(super) async fn logged_model(&mut self, id: &str) -> Result<LoggedModel, MlflowError> {
        let what = format!("logged model {id}");
        let answer: OneLoggedModel = self.get(&format!("logged-models/{}", encoded(id)), &what).await?;
        Ok(answer.model)
    }

    pub(super) async fn experiment(&mut self, id: &str) -> Result<String, MlflowError> {
        let target = format!("experiments/get?experiment_id={}", encoded(id));
        let answer: OneExperiment = self.get(&target, &format!("experiment {id}")).await?;
        Ok(answer.experiment.name)
    }

    async fn get<T: DeserializeOwned>(&mut self, target: &str, what: &str) -> Result<T, MlflowError> {
        let answer = self.http.get(&format!("{API}{target}"), what).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(&answer, what));
        }
        serde_json::from_slice(&answer.body).map_err(|error| self.not_mlflow(format!("{what}: {error}")))
    }

    fn refused(&self, answer: &Answer, what: &str) -> MlflowError {
        let (server, what, status) = (self.server().to_owned(), what.to_owned(), answer.status);
        let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
        let message = |text: &str| text.trim().chars().take(MESSAGE_LETTERS_MAX).collect::<String>();
        match (status, problem.filter(|problem| !problem.error_code.is_empty())) {
            (StatusCode::UNAUTHORIZED, _) => MlflowError::Unauthorized { server },
            (StatusCode::FORBIDDEN, _) => MlflowError::Forbidden { server, what },
            (status, _) if status.is_redirection() => {
                let to = answer.location.as_deref().map(super::mapping::without_secrets).unwrap_or_default();
                self.not_mlflow(format!("it sends us on to '{}'", message(&to)))
            }
            (StatusCode::NOT_FOUND, Some(_)) => MlflowError::Unknown(what),
            (StatusCode::NOT_FOUND, None) => self.not_mlflow(format!("404 on {what}")),
            (_, Some(problem)) => MlflowError::Refused { server, what, status, message: message(&problem.message) },
            (_, None) => {
                let message = message(&String::from_utf8_lossy(&answer.body));
                MlflowError::Refused { server, what, status, message }
            }
        }
    }

    fn not_mlflow(&self, what: String) -> MlflowError {
        MlflowError::NotMlflow { server: self.server().to_owned(), what }
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

fn some(token: String) -> Option<String> {
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_as_mlflow_finds_them_and_never_shown() {
        let find = |set: &[(&str, &str)]| {
            let set: Vec<_> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let found =
                Credentials::find(|name| set.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()));
            (found.header().map(|value| value.to_str().unwrap().to_owned()), format!("{found:?}"))
        };
        let (user, password) = (("MLFLOW_TRACKING_USERNAME", "ann"), ("MLFLOW_TRACKING_PASSWORD", "s3cret"));
        assert_eq!(find(&[]), (None, "None".to_owned()));
        assert_eq!(find(&[("MLFLOW_TRACKING_TOKEN", "")]).0, None);
        assert_eq!(find(&[("MLFLOW_TRACKING_TOKEN", "t")]), (Some("Bearer t".to_owned()), "Token(…)".to_owned()));
        let basic = (Some("Basic YW5uOnMzY3JldA==".to_owned()), "Basic(…)".to_owned());
        assert_eq!(find(&[user, password, ("MLFLOW_TRACKING_TOKEN", "t")]), basic);
        assert_eq!(find(&[user]).0, None);
    }
}
