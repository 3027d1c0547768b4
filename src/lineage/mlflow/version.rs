//! By which version of the lineage each of MLflow's versions goes, which stays so for ever.
//!
//! MLflow numbers versions; teams often have names of their own, such as `v1.2.3`, in a tag. The tag `model_version` (or
//! `version`) is taken when the version is seen for the first time, and kept in the catalog: what has been stamped and
//! recorded must not be called something else because somebody edits a tag.

use std::collections::BTreeMap;

use super::answers::{ModelVersion, by_name};
use super::mapping::NAME_BYTES_MAX;
use super::report::Report;
use crate::lineage::ModelId;
use crate::lineage::catalog::{Catalog, CatalogError, Moment, Node};

/// Properties of a `RegisteredModel`: which version MLflow's number stands for, where that is not the number itself.
pub(super) const FIXED: &str = "mlflow.version.";
/// The tags of a version that name it.
const TAGS: [&str; 2] = ["model_version", "version"];

/// What the versions of one model are called.
#[derive(Debug)]
pub(super) struct Versions {
    /// By MLflow's number, from earlier imports.
    fixed: BTreeMap<String, String>,
    /// What was fixed in this one.
    pub(super) fresh: BTreeMap<String, String>,
    /// All that this import has seen.
    seen: BTreeMap<String, String>,
}

impl Versions {
    /// As the catalog has them.
    pub(super) fn of(context: Option<&Node>) -> Self {
        let properties = context.iter().flat_map(|node| &node.properties);
        let fixed = properties
            .filter_map(|(name, value)| Some((name.strip_prefix(FIXED)?.to_owned(), value.as_str()?.to_owned())));
        Self { fixed: fixed.collect(), fresh: BTreeMap::new(), seen: BTreeMap::new() }
    }

    /// What a number of MLflow's is called, where this import or an earlier one has said so.
    pub(super) fn known(&self, number: &str) -> Option<&str> {
        self.seen.get(number).or_else(|| self.fixed.get(number)).map(String::as_str)
    }

    /// MLflow's number of a version that has had another name since an earlier import.
    pub(super) fn number(&self, name: &str) -> Option<&str> {
        self.fixed.iter().find(|(_, fixed)| *fixed == name).map(|(number, _)| number.as_str())
    }

    /// The name of a version. `None` where it can have none, which is said.
    pub(super) async fn name(
        &mut self,
        catalog: &Catalog,
        version: &ModelVersion,
        report: &mut Report,
    ) -> Result<Option<ModelId>, CatalogError> {
        let what = format!("version {} of '{}'", version.version, version.name);
        let chosen = match self.chosen(catalog, version, &what, report).await? {
            Some(tag) => ModelId::new(&version.name, &tag),
            None => ModelId::new(&version.name, &version.version),
        };
        match chosen {
            Ok(id) => {
                self.seen.insert(version.version.clone(), id.version.clone());
                Ok(Some(id))
            }
            Err(error) => {
                report.unplaced(what, error.to_string());
                Ok(None)
            }
        }
    }

    /// What stands for MLflow's number, where something does.
    async fn chosen(
        &mut self,
        catalog: &Catalog,
        version: &ModelVersion,
        what: &str,
        report: &mut Report,
    ) -> Result<Option<String>, CatalogError> {
        let number = &version.version;
        let tags = by_name(&version.tags);
        let tag = TAGS.iter().find_map(|name| tags.get(name).copied()).map(str::trim).filter(|tag| !tag.is_empty());
        if let Some(fixed) = self.fixed.get(number).or(self.fresh.get(number)) {
            if tag.is_some_and(|tag| tag != fixed) {
                report.unplaced(what, format!("it is known as {fixed}, and keeps that name whatever its tag says now"));
            }
            return Ok(Some(fixed.clone()));
        }
        let Some(tag) = tag.filter(|tag| tag != number) else { return Ok(None) };
        if let Some(why) = self.unfit(version, tag) {
            report.unplaced(what, format!("its tag '{}' does not name it: {why}", brief(tag)));
            return Ok(None);
        }
        let node = catalog.node(&format!("model:{}@{number}", version.name), Moment::NOW).await?;
        if node.is_some_and(|node| node.text("mlflow.version") == Some(number)) {
            report.unplaced(what, format!("it is known as {number}, and keeps that name whatever its tag says now"));
            return Ok(None);
        }
        self.fresh.insert(number.clone(), tag.to_owned());
        Ok(Some(tag.to_owned()))
    }

    /// Why a tag names no version.
    fn unfit(&self, version: &ModelVersion, tag: &str) -> Option<String> {
        if tag.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some("it would be taken for MLflow's own number".to_owned());
        }
        if version.version.len() > NAME_BYTES_MAX {
            return Some("MLflow's number is too long".to_owned());
        }
        if let Err(error) = ModelId::new(&version.name, tag) {
            return Some(error.to_string());
        }
        let other = self.fixed.iter().chain(&self.fresh).find(|(_, name)| *name == tag);
        other.map(|(number, _)| format!("version {number} has that name"))
    }
}

fn brief(text: &str) -> String {
    text.chars().take(80).collect()
}
