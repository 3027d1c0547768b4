//! A registered model: its tags and owner, and which of its versions aliases and stages name.

use std::collections::BTreeMap;

use super::super::answers::{RegisteredModel, by_name};
use super::super::report::Unplaced;
use super::{Notes, OWN_TAGS};
use crate::lineage::catalog::{NodeRecord, NodeRef, names};

/// The record of it; `versions` are the names of versions in the lineage, by MLflow's number, as far as they are known.
pub(in super::super) fn place(
    registered: &RegisteredModel,
    versions: &BTreeMap<&str, String>,
    server: &str,
) -> (NodeRecord, Vec<Unplaced>) {
    let mut notes = Notes::default();
    let what = format!("registered model '{}'", registered.name);
    let tags = by_name(&registered.tags);
    let foreign = tags.iter().filter(|(name, _)| !name.starts_with(OWN_TAGS)).map(|(name, value)| (*name, *value));
    let node = NodeRef::Named { type_name: names::REGISTERED_MODEL.to_owned(), name: registered.name.clone() };
    let mut record = NodeRecord::new(names::REGISTERED_MODEL, node)
        .with("mlflow.server", server)
        .with_some("owner", tags.get("owner").and_then(|owner| notes.text(&what, owner)))
        .with_some("description", notes.text(&what, &registered.description));
    for (name, value) in notes.texts(&format!("tag of {what}"), foreign) {
        record = record.with(&format!("tag.{name}"), value);
    }
    let stages = registered.latest_versions.iter().map(|latest| (latest.current_stage.as_str(), &latest.version));
    let stages: BTreeMap<&str, &String> = stages.filter(|(stage, _)| !matches!(*stage, "" | "None")).collect();
    let aliases: BTreeMap<&str, &String> =
        registered.aliases.iter().map(|alias| (alias.alias.as_str(), &alias.version)).collect();
    for (kind, named) in [("alias", aliases), ("stage", stages)] {
        for (name, number) in notes.named(&format!("{kind} of {what}"), named, Ok) {
            match versions.get(number.as_str()) {
                Some(version) => record = record.with(&format!("{kind}.{name}"), version.clone()),
                None => notes.say(
                    format!("{kind} '{name}' of {what}"),
                    format!("version {number}, which it names, is not in the catalog: import the whole model"),
                ),
            }
        }
    }
    (record, notes.0)
}
