//! What a version refers to: its run, the logged model behind it, the experiment, and what else the run made.
//!
//! What is gone, or may not be read, is said and left out.

use super::MlflowError;
use super::answers::{LoggedModel, ModelVersion, Run};
use super::mapping;
use super::walk::{PAGES_MAX, Walk};

/// What a version refers to.
#[derive(Default)]
pub(super) struct Around {
    pub(super) run: Option<Run>,
    pub(super) logged: Option<LoggedModel>,
    pub(super) experiment: Option<String>,
    pub(super) siblings: Vec<ModelVersion>,
}

impl Walk<'_> {
    pub(super) async fn around(&mut self, version: &ModelVersion) -> Result<Around, MlflowError> {
        let mut around = Around::default();
        if let Some(id) = mapping::logged_id(version) {
            let answer = self.importer.client.logged_model(id).await;
            around.logged = self.had(answer)?;
        }
        let of_logged = around.logged.as_ref().map_or("", |logged| logged.info.source_run_id.as_str());
        let run = if version.run_id.is_empty() { of_logged } else { version.run_id.as_str() };
        if !run.is_empty() {
            let answer = self.importer.client.run(run).await;
            around.run = self.had(answer)?;
            around.siblings = self.listed(("run_id", run)).await?;
        }
        if let Some(run) = &around.run {
            around.experiment = self.experiment(run.info.experiment_id.clone()).await?;
        }
        if !around.siblings.iter().any(|one| (&one.name, &one.version) == (&version.name, &version.version)) {
            around.siblings.push(version.clone());
        }
        Ok(around)
    }

    async fn experiment(&mut self, id: String) -> Result<Option<String>, MlflowError> {
        if id.is_empty() {
            return Ok(None);
        }
        if !self.importer.experiments.contains_key(&id) {
            let answer = self.importer.client.experiment(&id).await;
            let name = self.had(answer)?;
            self.importer.experiments.insert(id.clone(), name);
        }
        Ok(self.importer.experiments.get(&id).cloned().flatten())
    }

    pub(super) async fn listed(&mut self, filter: (&str, &str)) -> Result<Vec<ModelVersion>, MlflowError> {
        let (mut versions, mut page) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let found = self.importer.client.versions(filter, page.as_deref()).await?;
            versions.extend(found.items);
            page = found.next;
            if page.is_none() {
                return Ok(versions);
            }
        }
        Err(MlflowError::Endless { what: format!("the versions of {}", filter.1) })
    }

    /// What was asked for, or that it cannot be had.
    fn had<T>(&mut self, answer: Result<T, MlflowError>) -> Result<Option<T>, MlflowError> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_of_one() => {
                self.report.unplaced(error.what().to_owned(), error.to_string());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
