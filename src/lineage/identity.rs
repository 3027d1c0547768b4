//! The names of things in the lineage, as they stand on the command line, in the API and in reports:
//! `model:NAME@VERSION`, `dataset:[NAMESPACE/]NAME@VERSION`, `run:ID` and so on.
//!
//! Split at the last `@`, and a dataset's namespace at the last `/` before it. What is parsed here is only a name:
//! whether such a thing exists is for who holds the lineage to say.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Bytes of one part of a name. Three of them and the rest of a `prediction` entry fit its 4 KiB.
pub(crate) const PART_LEN_MAX: usize = 256;

/// A text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no `@`.
    #[error("'{text}' has no version: write {form}")]
    NoVersion {
        /// What was given.
        text: String,
        /// What is wanted.
        form: &'static str,
    },
    /// A part is empty.
    #[error("'{text}' has an empty {part}: write {form}")]
    Empty {
        /// What was given.
        text: String,
        /// Which part.
        part: &'static str,
        /// What is wanted.
        form: &'static str,
    },
    /// A part is too long.
    #[error("the {part} has {len} bytes: at most {PART_LEN_MAX}")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// A part has a byte that it may not have.
    #[error("the {part} '{value}' must not have {what}")]
    Forbidden {
        /// Which part.
        part: &'static str,
        /// Its value.
        value: String,
        /// What stands in it.
        what: &'static str,
    },
    /// The kind before the colon is not known.
    #[error("'{0}' names no kind: begin with model:, dataset:, run:, code:, image:, deployment: or prediction:")]
    Kind(String),
    /// A prediction's id is no UUID.
    #[error("'{0}' is no prediction id: write the UUID that stood in X-Lineage-Trace-Id")]
    Uuid(String),
}

/// `NAME@VERSION`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    /// The model's name.
    pub name: String,
    /// Its version, without `@`.
    pub version: String,
}

/// `[NAMESPACE/]NAME@VERSION`
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetId {
    /// The namespace, such as `s3://lake`.
    pub namespace: Option<String>,
    /// The dataset's name, without `/`.
    pub name: String,
    /// Its version, without `@`.
    pub version: String,
}

/// Anything in the lineage, by its kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntityId {
    /// `model:NAME@VERSION`
    Model(ModelId),
    /// `dataset:[NAMESPACE/]NAME@VERSION`
    Dataset(DatasetId),
    /// `run:ID`
    Run(String),
    /// `code:REPO@COMMIT`
    Code {
        /// The repository.
        repo: String,
        /// The commit, without `@`.
        commit: String,
    },
    /// `image:NAME@sha256:…`
    Image {
        /// The image's name.
        name: String,
        /// Its digest, without `@`.
        digest: String,
    },
    /// `deployment:NAME`
    Deployment(String),
    /// `prediction:UUID`
    Prediction(Uuid),
}

impl ModelId {
    /// The form, for messages.
    pub const FORM: &'static str = "NAME@VERSION";

    /// A name that holds to the rules.
    pub fn new(name: &str, version: &str) -> Result<Self, IdentityError> {
        let text = || format!("{name}@{version}");
        part("name", name, Self::FORM, &text, &[])?;
        part("version", version, Self::FORM, &text, &['@'])?;
        Ok(Self { name: name.to_owned(), version: version.to_owned() })
    }
}

impl DatasetId {
    /// The form, for messages.
    pub const FORM: &'static str = "[NAMESPACE/]NAME@VERSION";

    /// A name that holds to the rules.
    pub fn new(namespace: Option<&str>, name: &str, version: &str) -> Result<Self, IdentityError> {
        let text = || format!("{}{name}@{version}", namespace.map(|space| format!("{space}/")).unwrap_or_default());
        if let Some(namespace) = namespace {
            part("namespace", namespace, Self::FORM, &text, &[])?;
        }
        part("name", name, Self::FORM, &text, &['/'])?;
        part("version", version, Self::FORM, &text, &['@'])?;
        Ok(Self { namespace: namespace.map(str::to_owned), name: name.to_owned(), version: version.to_owned() })
    }
}

impl FromStr for ModelId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let (name, version) = split(text, Self::FORM)?;
        Self::new(name, version)
    }
}

impl FromStr for DatasetId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let (path, version) = split(text, Self::FORM)?;
        match path.rsplit_once('/') {
            Some((namespace, name)) => Self::new(Some(namespace), name, version),
            None => Self::new(None, path, version),
        }
    }
}

impl FromStr for EntityId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        const CODE: &str = "code:REPO@COMMIT";
        const IMAGE: &str = "image:NAME@sha256:…";
        let (kind, rest) = text.split_once(':').ok_or_else(|| IdentityError::Kind(text.to_owned()))?;
        let whole = || text.to_owned();
        match kind {
            "model" => rest.parse().map(Self::Model),
            "dataset" => rest.parse().map(Self::Dataset),
            "run" => part("id", rest, "run:ID", &whole, &[]).map(|()| Self::Run(rest.to_owned())),
            "code" => {
                let (repo, commit) = split(rest, CODE)?;
                part("repository", repo, CODE, &whole, &[])?;
                part("commit", commit, CODE, &whole, &['@'])?;
                Ok(Self::Code { repo: repo.to_owned(), commit: commit.to_owned() })
            }
            "image" => {
                let (name, digest) = split(rest, IMAGE)?;
                part("name", name, IMAGE, &whole, &[])?;
                part("digest", digest, IMAGE, &whole, &['@'])?;
                Ok(Self::Image { name: name.to_owned(), digest: digest.to_owned() })
            }
            "deployment" => {
                part("name", rest, "deployment:NAME", &whole, &[]).map(|()| Self::Deployment(rest.to_owned()))
            }
            "prediction" => rest.parse().map(Self::Prediction).map_err(|_error| IdentityError::Uuid(rest.to_owned())),
            _ => Err(IdentityError::Kind(text.to_owned())),
        }
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl fmt::Display for DatasetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(id) => write!(f, "model:{id}"),
            Self::Dataset(id) => write!(f, "dataset:{id}"),
            Self::Run(id) => write!(f, "run:{id}"),
            Self::Code { repo, commit } => write!(f, "code:{repo}@{commit}"),
            Self::Image { name, digest } => write!(f, "image:{name}@{digest}"),
            Self::Deployment(name) => write!(f, "deployment:{name}"),
            Self::Prediction(id) => write!(f, "prediction:{id}"),
        }
    }
}

fn split<'a>(text: &'a str, form: &'static str) -> Result<(&'a str, &'a str), IdentityError> {
    text.rsplit_once('@').ok_or_else(|| IdentityError::NoVersion { text: text.to_owned(), form })
}

fn part(
    part: &'static str,
    value: &str,
    form: &'static str,
    text: &dyn Fn() -> String,
    forbidden: &[char],
) -> Result<(), IdentityError> {
    if value.is_empty() {
        return Err(IdentityError::Empty { text: text(), part, form });
    }
    if value.len() > PART_LEN_MAX {
        return Err(IdentityError::TooLong { part, len: value.len() });
    }
    let what = if value.contains(char::is_control) {
        "control characters"
    } else if value.trim() != value {
        "space at its ends"
    } else if forbidden.contains(&'/') && value.contains('/') {
        "a '/': what stands before the last one is the namespace"
    } else if forbidden.contains(&'@') && value.contains('@') {
        "an '@'"
    } else {
        return Ok(());
    };
    Err(IdentityError::Forbidden { part, value: value.escape_debug().to_string(), what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_at_sign_splits() {
        let id: ModelId = "team@corp/fraud@v1.2.3".parse().unwrap();
        assert_eq!((id.name.as_str(), id.version.as_str()), ("team@corp/fraud", "v1.2.3"));
        let id: DatasetId = "s3://lake/raw/transactions@v2.0".parse().unwrap();
        assert_eq!(id.namespace.as_deref(), Some("s3://lake/raw"));
        assert_eq!((id.name.as_str(), id.version.as_str()), ("transactions", "v2.0"));
        assert_eq!("transactions@v2.0".parse::<DatasetId>().unwrap().namespace, None);
    }

    #[test]
    fn every_kind_reads_back() {
        for text in [
            "model:fraud@v1.2.3",
            "dataset:s3://lake/transactions@v2.0",
            "dataset:transactions@v2.0",
            "run:20261120-1",
            "code:https://git.example/fraud.git@4f2a",
            "image:registry.example/trainer@sha256:00ff",
            "deployment:fraud-prod",
            "prediction:0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10",
        ] {
            assert_eq!(text.parse::<EntityId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_name_says_what_is_wanted() {
        let message = |text: &str| text.parse::<EntityId>().unwrap_err().to_string();
        assert_eq!(message("model:fraud"), "'fraud' has no version: write NAME@VERSION");
        assert_eq!(message("model:@v1"), "'@v1' has an empty name: write NAME@VERSION");
        assert_eq!(message("dataset:a/@v1"), "'a/@v1' has an empty name: write [NAMESPACE/]NAME@VERSION");
        assert_eq!(message("model:a\n@v1"), r"the name 'a\n' must not have control characters");
        assert!(message("fraud@v1").contains("begin with model:"));
        assert!(message("prediction:17").contains("X-Lineage-Trace-Id"));
        let slash = DatasetId::new(None, "a/b", "v1").unwrap_err().to_string();
        assert_eq!(slash, "the name 'a/b' must not have a '/': what stands before the last one is the namespace");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            namespace in proptest::option::of("[a-zA-Z0-9:/@._-]{1,20}"),
            name in "[^/\\p{C}\\s]{1,20}",
            version in "[^@\\p{C}\\s]{1,20}",
        ) {
            let dataset = DatasetId::new(namespace.as_deref(), &name, &version).unwrap();
            prop_assert_eq!(dataset.to_string().parse::<DatasetId>().unwrap(), dataset.clone());
            let model = ModelId::new(&name, &version).unwrap();
            prop_assert_eq!(model.to_string().parse::<ModelId>().unwrap(), model);
            let entity = EntityId::Dataset(dataset);
            prop_assert_eq!(entity.to_string().parse::<EntityId>().unwrap(), entity);
        }

        #[test]
        fn what_reads_is_written_back(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<DatasetId>() {
                prop_assert_eq!(id.to_string(), text.clone());
            }
            if let Ok(id) = text.parse::<ModelId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
