//! What a team says about the names in its events: the section `lineage.openlineage`.
//!
//! It says where one thing has two names, and which datasets are models. Nothing here looks at facets but `symlinks`.

mod template;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Dataset;
use super::facets;
use template::Template;

/// The most patterns of models; each costs a comparison for every dataset of an event.
const MODELS_MAX: usize = 256;

/// `lineage.openlineage`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "OpenLineageConfig"))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What namespaces of datasets are called here, by what they, or the first of their parts, are called by who
    /// sends events.
    pub namespaces: BTreeMap<String, String>,
    /// Which datasets are models beside those that say so: patterns of `NAMESPACE/NAME`, such as
    /// `s3://models/{name}/{version}/{**}`.
    pub models: Vec<String>,
    /// By which of its names a table goes that has several.
    pub symlinks: Symlinks,
}

/// What the facet `symlinks` is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Symlinks {
    /// It is kept; a table goes by where its files lie.
    #[default]
    Keep,
    /// A table goes by its name in the metastore.
    Use,
}

/// The configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {what}")]
pub struct RulesError {
    /// The key that is wrong.
    pub key: String,
    /// What is wrong with it, and the mend.
    pub what: &'static str,
}

/// The section as events are read by it.
#[derive(Debug, Default)]
pub struct Rules {
    /// The longest first, so that the most exact is found first.
    namespaces: Vec<(String, String)>,
    models: Vec<Template>,
    symlinks: Symlinks,
}

/// What a dataset is called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Where it lies, which may be another name.
    pub(super) location: (String, String),
    /// There where it is a model by its name.
    pub(super) model: Option<ModelName>,
}

/// What a pattern finds of a model; the dataset says the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelName {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
}

impl Rules {
    /// Reads the section.
    ///
    /// # Errors
    /// Where a value cannot be used.
    pub fn new(config: &Config) -> Result<Self, RulesError> {
        let wrong = |key: String, what| Err(RulesError { key: format!("lineage.openlineage.{key}"), what });
        if config.models.len() > MODELS_MAX {
            return wrong("models".to_owned(), "has more than 256 patterns: shorten it with {*} and {**}");
        }
        let mut models = Vec::with_capacity(config.models.len());
        for (index, pattern) in config.models.iter().enumerate() {
            match Template::new(pattern) {
                Ok(template) => models.push(template),
                Err(what) => return wrong(format!("models[{index}]"), what),
            }
        }
        if config.namespaces.keys().any(|from| from.trim_end_matches('/').is_empty()) {
            return wrong(
                "namespaces".to_owned(),
                "renames every namespace: write what it begins with, such as s3a://",
            );
        }
        let mut namespaces: Vec<_> = config.namespaces.clone().into_iter().collect();
        namespaces.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        Ok(Self { namespaces, models, symlinks: config.symlinks })
    }

    /// What a dataset is called here.
    pub(super) fn named(&self, dataset: &Dataset) -> Named {
        let location = self.renamed(&dataset.namespace, &dataset.name);
        let symlink = match self.symlinks {
            Symlinks::Keep => None,
            // Of several the first by name, since producers do not always list them in one order.
            Symlinks::Use => facets::tables(&dataset.facets).map(|(space, name)| self.renamed(space, name)).min(),
        };
        let (namespace, name) = symlink.unwrap_or_else(|| location.clone());
        let path = path(&namespace, &name);
        let model = self.models.iter().find_map(|template| template.fit(&path));
        Named { namespace, name, location, model }
    }

    fn renamed(&self, namespace: &str, name: &str) -> (String, String) {
        let namespace = self
            .namespaces
            .iter()
            .find_map(|(from, to)| {
                let rest = namespace.strip_prefix(from.as_str())?;
                // `s3://lake` begins `s3://lake/raw`, and not `s3://lakehouse`.
                (rest.is_empty() || from.ends_with('/') || rest.starts_with('/')).then(|| format!("{to}{rest}"))
            })
            .unwrap_or_else(|| namespace.to_owned());
        let namespace = if namespace.ends_with("://") { &namespace } else { namespace.trim_end_matches('/') };
        (namespace.to_owned(), name.trim_matches('/').to_owned())
    }
}

/// A namespace and a name in one.
pub(super) fn path(namespace: &str, name: &str) -> String {
    match namespace {
        "" => name.to_owned(),
        space if space.ends_with('/') => format!("{space}{name}"),
        space => format!("{space}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(config: &Config, namespace: &str, name: &str) -> Named {
        let dataset = serde_json::json!({"namespace": namespace, "name": name, "facets": {"symlinks": {"identifiers": [
            {"namespace": "hive://b", "name": "z", "type": "TABLE"},
            {"namespace": "hive://meta", "name": "shop.tx", "type": "table"},
            {"namespace": "a", "name": "a", "type": "LOCATION"}]}}});
        Rules::new(config).unwrap().named(&serde_json::from_value(dataset).unwrap())
    }

    #[test]
    fn a_namespace_is_renamed_where_a_part_of_it_ends() {
        let pairs = [("s3a://", "s3://"), ("s3a://old", "s3://new"), ("warehouse", "postgres://db:5432")];
        let namespaces = pairs.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let config = Config { namespaces, ..Config::default() };
        let path = |namespace| {
            let Named { namespace, name, .. } = named(&config, namespace, "/a/b/");
            super::path(&namespace, &name)
        };
        assert_eq!(path("s3a://lake"), "s3://lake/a/b");
        assert_eq!(path("s3a://old"), "s3://new/a/b");
        assert_eq!(path("s3a://old/deep/"), "s3://new/deep/a/b");
        assert_eq!(path("s3a://older"), "s3://older/a/b", "another bucket");
        assert_eq!(path("warehouse"), "postgres://db:5432/a/b");
        assert_eq!(path("warehouses"), "warehouses/a/b");
        assert_eq!([path("file"), path("")], ["file/a/b", "a/b"]);
    }

    #[test]
    fn a_table_goes_by_its_name_in_the_metastore_where_that_is_wished() {
        let config = Config { symlinks: Symlinks::Use, ..Config::default() };
        let found = named(&config, "s3://lake", "tx");
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("hive://b", "z"), "the first by name");
        assert_eq!(found.location, ("s3://lake".to_owned(), "tx".to_owned()));
        assert_eq!(named(&Config::default(), "s3://lake", "tx").namespace, "s3://lake");
    }

    #[test]
    fn what_cannot_be_used_names_its_key() {
        let models = vec!["mlflow/{name}".to_owned(), "{nome}".to_owned()];
        let error = Rules::new(&Config { models, ..Config::default() }).unwrap_err().to_string();
        assert!(error.starts_with("lineage.openlineage.models[1] has an unknown placeholder"), "{error}");
        let namespaces = [("/".to_owned(), "x".to_owned())].into();
        let error = Rules::new(&Config { namespaces, ..Config::default() }).unwrap_err().to_string();
        assert!(error.starts_with("lineage.openlineage.namespaces renames every"), "{error}");
        let many = Config { models: vec!["a/{name}".to_owned(); MODELS_MAX + 1], ..Config::default() };
        assert!(Rules::new(&many).is_err());
    }
}
