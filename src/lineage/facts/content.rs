//! The document behind a stamp, from facts alone: what `lineage.source: file` stamps from.
//!
//! It follows a model to the run that made it and to what that run used; it knows no graph beyond that.

use super::{DatasetFact, Facts, RunFact};
use crate::lineage::{
    Content, Dataset, DatasetId, EntityId, Environment, IdentityError, Model, ModelId, Reproducible, Role, Run, Source,
};

impl Facts {
    /// The lineage of a model version; `None` where the facts do not name it.
    ///
    /// # Errors
    /// Where something that it refers to has a name that it cannot have.
    pub fn content(&self, id: &ModelId) -> Result<Option<Content>, IdentityError> {
        let named = |text: &str| text.strip_prefix("model:").unwrap_or(text).parse::<ModelId>().ok();
        let Some(fact) = self.models.iter().find(|model| named(&model.id).as_ref() == Some(id)) else {
            return Ok(None);
        };
        let made = |run: &&RunFact| run.outputs.iter().any(|made| named(made).as_ref() == Some(id));
        let run = self.runs.iter().find(made);
        let (mut datasets, mut bases) = (Vec::new(), Vec::new());
        for used in run.iter().flat_map(|run| &run.inputs) {
            match used.id.parse()? {
                EntityId::Dataset(dataset) => datasets.push(self.dataset(dataset, &used.role)),
                EntityId::Model(base) => bases.push(base.to_string()),
                _ => {}
            }
        }
        Ok(Some(Content {
            model: Model {
                name: id.name.clone(),
                version: id.version.clone(),
                uri: fact.uri.clone(),
                digest: fact.digest.clone(),
            },
            datasets,
            bases,
            run: run.map(RunFact::content),
            reproducible: Reproducible::default(),
            source: Source::File,
        }))
    }

    /// The model version that an alias names; `None` where none does.
    pub fn alias(&self, name: &str, alias: &str) -> Option<ModelId> {
        let fact = |id: &ModelId, aliases: &[String]| id.name == name && aliases.iter().any(|known| known == alias);
        self.models.iter().find_map(|model| {
            let id: ModelId = model.id.strip_prefix("model:").unwrap_or(&model.id).parse().ok()?;
            fact(&id, &model.aliases).then_some(id)
        })
    }

    fn dataset(&self, id: DatasetId, role: &str) -> Dataset {
        let named = |fact: &&DatasetFact| {
            fact.id.strip_prefix("dataset:").unwrap_or(&fact.id).parse::<DatasetId>().is_ok_and(|named| named == id)
        };
        let fact = self.datasets.iter().find(named);
        Dataset {
            role: match role {
                "validation" => Role::Validation,
                "test" => Role::Test,
                _ => Role::Training,
            },
            uri: fact.and_then(|fact| fact.uri.clone()),
            digest: fact.and_then(|fact| fact.digest.clone()),
            records: fact.and_then(|fact| fact.records),
            namespace: id.namespace,
            name: id.name,
            version: id.version,
        }
    }
}

impl RunFact {
    fn content(&self) -> Run {
        let environment = self.environment.as_ref().map(|environment| Environment {
            image: environment.image.clone(),
            lock_digest: environment.lock_digest.clone(),
            hardware: environment.hardware.clone(),
        });
        Run {
            id: Some(self.id.clone()),
            script_digest: self.script_digest.clone(),
            code: self.code.clone(),
            parameters: self.parameters.clone(),
            seeds: self.seeds.clone(),
            environment: environment.filter(|environment| *environment != Environment::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_followed_to_what_made_it() {
        let facts: Facts = serde_json::from_str(
            r#"{"datasets":[{"id":"s3://lake/d@v2","records":7}],
                "runs":[{"id":"r1","inputs":[{"id":"dataset:s3://lake/d@v2","role":"training"},{"id":"dataset:t@1","role":"test"}],
                         "outputs":["model:m@v1"],"seeds":{"numpy":"1"}}],
                "models":[{"id":"m@v1","uri":"s3://m"}]}"#,
        )
        .unwrap();
        let content = facts.content(&"m@v1".parse().unwrap()).unwrap().unwrap();
        let datasets: Vec<_> = content.datasets.iter().map(|d| (d.name.as_str(), d.role, d.records)).collect();
        assert_eq!(datasets, [("d", Role::Training, Some(7)), ("t", Role::Test, None)]);
        assert_eq!((content.model.uri.as_deref(), content.run.unwrap().seeds.len()), (Some("s3://m"), 1));
        assert_eq!(facts.content(&"m@v2".parse().unwrap()).unwrap(), None);
    }
}
