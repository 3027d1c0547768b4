//! The checks of one backend: asked in its own way, results counted, verdicts published, each change told once.
//!
//! One task a backend, and one check at a time: the next begins after the last has ended. Runs on the control plane's
//! runtime; a request sees nothing of it but the verdict.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::probe::{ProbeError, Prober};
use super::streak::{Streak, Thresholds};
use super::versions::{Declared, Served, VersionsReport};
use super::{CheckProtocol, HealthCheckConfig, MODELS_MAX};
use crate::protocol::health::{Question, Said, Subject, Told, Way};
use crate::proxy::UpstreamProtocol;
use crate::proxy::snapshot::Backend;

/// By how much a pause may be longer or shorter, so that copies of this process do not ask at once.
const JITTER: f64 = 0.1;
/// The ways that are tried where none is configured, those that say the most first.
const WAYS: [Way; 6] = [Way::OipRest, Way::TfsRest, Way::OpenAi, Way::Ping, Way::OipGrpc, Way::Grpc];

/// Asks a backend for as long as it is polled; ends at once where no check is configured.
pub async fn watch(backend: Arc<Backend>) {
    let Some(config) = &backend.check else { return };
    let mut checks = Checks::new(&backend, config);
    loop {
        checks.once().await;
        sleep(jittered(config.interval.0)).await;
    }
}

struct Checks<'a> {
    backend: &'a Backend,
    config: &'a HealthCheckConfig,
    /// How it is asked, once that is known.
    asked: Option<Asked>,
    server: Streak,
    models: Vec<Streak>,
    /// When its versions are asked for again.
    versions_due: Option<Instant>,
    differed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    By(Way),
    /// A path and a status of the user's own.
    Http,
    /// That it takes a connection.
    Tcp,
    /// That it answers HTTP at all.
    Answers,
}

/// What a check found.
#[derive(Debug)]
struct Found {
    server: Said,
    /// By place.
    models: Vec<(usize, Said)>,
}

impl Found {
    fn of_server(server: Said) -> Self {
        Self { server, models: Vec::new() }
    }
}

impl Asked {
    const fn as_str(self) -> &'static str {
        match self {
            Self::By(way) => way.as_str(),
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Answers => "answers",
        }
    }

    const fn configured(protocol: CheckProtocol) -> Option<Self> {
        Some(match protocol {
            CheckProtocol::Auto => return None,
            CheckProtocol::OipRest => Self::By(Way::OipRest),
            CheckProtocol::OipGrpc => Self::By(Way::OipGrpc),
            CheckProtocol::Grpc => Self::By(Way::Grpc),
            CheckProtocol::TfsRest => Self::By(Way::TfsRest),
            CheckProtocol::Ping => Self::By(Way::Ping),
            CheckProtocol::OpenAi => Self::By(Way::OpenAi),
            CheckProtocol::Http => Self::Http,
            CheckProtocol::Tcp => Self::Tcp,
        })
    }
}

impl<'a> Checks<'a> {
    fn new(backend: &'a Backend, config: &'a HealthCheckConfig) -> Self {
        let known = backend.health.verdict();
        let models = 0..backend.models.len().min(MODELS_MAX);
        // What is known of a model is that it is not ready; that it is may also mean that nobody asked.
        let model = |place| Streak::from((!backend.health.is_ready_for(place)).then_some(false));
        Self {
            backend,
            config,
            asked: Asked::configured(config.protocol),
            server: Streak::from(known),
            models: models.map(model).collect(),
            versions_due: config.metadata_interval.limit().map(|_| Instant::now()),
            differed: false,
        }
    }

    /// One check, and what follows from it.
    async fn once(&mut self) {
        let patience = self.config.timeout.0;
        let found = timeout(patience, self.check()).await;
        let found = found.unwrap_or_else(|_| Err(format!("no answer within {}", self.config.timeout)));
        let failure = match found {
            Err(reason) | Ok(Found { server: Said::NotReady(reason), .. }) => Some(reason),
            Ok(Found { server: Said::Unknown, .. }) => Some(format!(
                "its answer is not one of '{}': is health_check.protocol right?",
                self.asked.map_or("auto", Asked::as_str)
            )),
            Ok(Found { server: Said::Ready, models }) => {
                self.judge_models(models);
                None
            }
        };
        let well = failure.is_none();
        self.judge(failure);
        if well && self.versions_due.is_some_and(|due| due <= Instant::now()) {
            self.versions_due = Some(Instant::now() + jittered(self.config.metadata_interval.0));
            // What is not said in time is asked again later.
            let _ = timeout(patience, self.ask_versions()).await;
            if self.config.protocol == CheckProtocol::Auto && self.asked == Some(Asked::Answers) {
                // It may have been starting: perhaps it knows more by now.
                self.asked = None;
            }
        }
    }

    fn thresholds(&self) -> Thresholds {
        Thresholds { healthy: self.config.healthy_threshold, unhealthy: self.config.unhealthy_threshold }
    }

    fn judge(&mut self, failure: Option<String>) {
        let (health, name) = (&self.backend.health, self.backend.name.as_str());
        let way = self.asked.map(Asked::as_str);
        let turned = self.server.note(failure.is_none(), self.thresholds());
        if let Some(reason) = &failure {
            tracing::debug!(backend = %name, %reason, "a health check failed");
        }
        match turned {
            Some(true) => tracing::info!(backend = %name, way, "the backend passes its health checks: it takes calls"),
            Some(false) => {
                let reason = failure.as_deref().unwrap_or_default();
                tracing::warn!(backend = %name, way, reason, "the backend fails its health checks: left out where another fits");
            }
            None => {}
        }
        health.note_check(way, failure, turned);
    }

    fn judge_models(&mut self, found: Vec<(usize, Said)>) {
        let thresholds = self.thresholds();
        for (place, said) in found {
            let (Some(streak), Some(model)) = (self.models.get_mut(place), self.backend.models.get(place)) else {
                continue;
            };
            let Some(ready) = streak.note(!matches!(said, Said::NotReady(_)), thresholds) else { continue };
            let (name, model, version) = (&self.backend.name, &model.served_name, model.served_version.as_deref());
            if let Said::NotReady(reason) = said {
                tracing::warn!(backend = %name, %model, version, %reason, "the backend is not ready for a model: left out for it where another fits");
            } else if !self.backend.health.is_ready_for(place) {
                tracing::info!(backend = %name, %model, version, "the backend is ready for the model again");
            }
            self.backend.health.set_ready_for(place, ready);
        }
    }

    async fn check(&mut self) -> Result<Found, String> {
        if let Some(asked) = self.asked {
            let found = self.ask(asked).await.map_err(|error| error.to_string())?;
            let lost = found.server == Said::Unknown && self.config.protocol == CheckProtocol::Auto;
            if !lost {
                return Ok(found);
            }
            // Another server has taken its place.
            self.asked = None;
        }
        self.find_out().await
    }

    /// Tries the ways, and keeps the first by which the server says that it is ready.
    async fn find_out(&mut self) -> Result<Found, String> {
        let (mut objection, mut broken, mut answers) = (None, None, false);
        let grpc_apart = self.backend.grpc != self.backend.http;
        for way in WAYS {
            if way.is_grpc() && (self.backend.protocol == UpstreamProtocol::Http1 || (answers && !grpc_apart)) {
                continue;
            }
            match self.ask_by(way).await {
                Ok(Found { server: Said::Ready, models }) if way != Way::TfsRest || is_any_ready(&models) => {
                    self.asked = Some(Asked::By(way));
                    return Ok(Found { server: Said::Ready, models });
                }
                Ok(Found { server: Said::NotReady(reason), .. }) => drop(objection.get_or_insert(reason)),
                Ok(_) => answers |= !way.is_grpc(),
                Err(error @ ProbeError::Connect(_)) if !way.is_grpc() => return Err(error.to_string()),
                Err(error) => drop(broken.get_or_insert(error.to_string())),
            }
        }
        if let Some(reason) = objection {
            return Ok(Found::of_server(Said::NotReady(reason)));
        }
        if !answers {
            return Err(broken.unwrap_or_else(|| "it answers no health check that is known".to_owned()));
        }
        self.asked = Some(Asked::Answers);
        Ok(Found::of_server(Said::Ready))
    }

    async fn ask(&self, asked: Asked) -> Result<Found, ProbeError> {
        let over_http2 = self.backend.protocol == UpstreamProtocol::Http2;
        let mut prober = Prober::new(&self.backend.http, over_http2);
        let path = if asked == Asked::Http { self.config.path.as_deref() } else { None };
        let question = || Question { path: path.unwrap_or("/").to_owned(), message: None };
        let said = match asked {
            Asked::By(way) => return self.ask_by(way).await,
            Asked::Tcp => prober.connect().await.map(|()| Said::Ready)?,
            Asked::Answers => match prober.status(&question()).await? {
                status @ 500.. => Said::NotReady(format!("it answers {status}")),
                _ => Said::Ready,
            },
            Asked::Http => {
                let status = prober.status(&question()).await?;
                let wanted = self.config.status.map_or((200..300).contains(&status), |wanted| wanted == status);
                if wanted { Said::Ready } else { Said::NotReady(format!("it answers {status}")) }
            }
        };
        Ok(Found::of_server(said))
    }

    fn prober(&self, way: Way) -> Prober<'a> {
        if way.is_grpc() {
            return Prober::new(&self.backend.grpc, true);
        }
        Prober::new(&self.backend.http, self.backend.protocol == UpstreamProtocol::Http2)
    }

    async fn ask_by(&self, way: Way) -> Result<Found, ProbeError> {
        let mut prober = self.prober(way);
        let server = Subject::Server(self.config.service.as_deref().unwrap_or_default());
        let mut known = None;
        if let Some(question) = way.question(server) {
            let said = way.said(server, prober.ask(&question).await?.reply());
            if said != Said::Ready {
                return Ok(Found::of_server(said));
            }
            known = Some(said);
        }
        let mut models = Vec::new();
        for (place, model) in self.backend.models.iter().enumerate().take(MODELS_MAX) {
            let subject = Subject::Model(&model.served_name, model.served_version.as_deref());
            let Some(question) = way.question(subject) else { break };
            models.push((place, way.said(subject, prober.ask(&question).await?.reply())));
        }
        // Where the server as a whole cannot be asked, that it speaks of any model will do.
        let speaks = models.iter().any(|(_, said)| *said != Said::Unknown);
        let server = known.unwrap_or(if speaks { Said::Ready } else { Said::Unknown });
        Ok(Found { server, models })
    }

    async fn ask_versions(&mut self) -> Result<(), ProbeError> {
        let Some(Asked::By(way)) = self.asked else { return Ok(()) };
        let mut prober = self.prober(way);
        let declared: Vec<Declared<'_>> = self
            .backend
            .models
            .iter()
            .map(|model| Declared { name: &model.served_name, version: model.served_version.as_deref() })
            .collect();
        let names: BTreeSet<&str> = declared.iter().map(|declared| declared.name).collect();
        let mut told = Vec::new();
        for name in names.into_iter().take(MODELS_MAX) {
            let Some(question) = way.question(Subject::Versions(name)) else { return Ok(()) };
            let answer = way.told(prober.ask(&question).await?.reply());
            let of_all = matches!(answer, Told::Models(_));
            told.push((name, answer));
            if of_all {
                break;
            }
        }
        if told.iter().any(|(_, told)| *told != Told::Nothing) {
            self.tell(VersionsReport::new(&declared, told));
        }
        Ok(())
    }

    fn tell(&mut self, report: VersionsReport) {
        let health = &self.backend.health;
        let (name, differs) = (&self.backend.name, !report.agrees());
        let is_news = health.served().is_none_or(|before| before != report);
        if differs && is_news {
            tracing::warn!(
                backend = %name, not_served = ?report.not_served, not_declared = ?report.not_declared,
                "the backend does not serve what is declared"
            );
        } else if !differs && self.differed {
            tracing::info!(backend = %name, "the backend serves what is declared");
        }
        self.differed = differs;
        health.note_served(Served { time: SystemTime::now(), report });
    }
}

fn is_any_ready(models: &[(usize, Said)]) -> bool {
    models.iter().any(|(_, said)| *said == Said::Ready)
}

/// A pause, a tenth more or less.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
}
