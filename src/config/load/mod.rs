//! From a file, the environment and flags to one [`Config`] that holds, or to everything that is wrong.
//!
//! Flags win over the environment, and the environment over the file.

use std::fmt;
use std::io;
use std::io::Read as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use super::env::{self, Environment};
use super::node::{Kind, Node, Origin, Path, Value};
use super::{Config, de, validate};
use crate::lineage::catalog::Causality;

/// Bytes of a configuration file.
const FILE_LEN_MAX: u64 = 4 << 20;

/// The sections, in the order of the file.
const SECTIONS: &[&str] =
    &["deployment", "proxy", "backends", "ledger", "lineage", "telemetry", "admin", "shutdown", "witness"];

/// What says what is wrong by meaning.
type Validate = fn(&Config) -> validate::Problems;

/// Where the configuration comes from. Kept for the whole run, so that it can be loaded again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    file: Option<PathBuf>,
    flags: Vec<(Path, Node)>,
}

/// The configuration cannot be had.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Which one.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What was read is wrong.
    Wrong(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands: `FILE:LINE:COLUMN`, a variable's or a flag's name; `None` where it stands nowhere.
    pub place: Option<String>,
    /// The key's path, such as `backends[0].models[1].version`; empty for the whole.
    pub key: String,
    /// What is wrong and how it is mended.
    pub problem: String,
}

impl Source {
    /// The file, with the environment over it.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self { file: Some(file.into()), flags: Vec::new() }
    }

    /// The file's path, where there is one.
    pub fn path(&self) -> Option<&FilePath> {
        self.file.as_deref()
    }

    /// Lays a flag's value over a key, such as `ledger.dir`.
    #[must_use]
    pub fn with(mut self, flag: &str, key: &str, value: &str) -> Self {
        let origin = Origin::Named(Arc::from(flag));
        self.flags.push((Path::parse(key), Node::text(origin, value)));
        self
    }

    /// Lays the one backend that flags describe over `backends`.
    #[must_use]
    pub fn with_upstream(self, url: &str, model: Option<&crate::lineage::ModelId>, datasets: &[String]) -> Self {
        let mut source = self;
        let backends = Node { origin: Origin::Named(Arc::from("--upstream")), value: Value::List(Vec::new()) };
        source.flags.push((Path::parse("backends"), backends));
        source = source.with("--upstream", "backends[0].name", "upstream").with("--upstream", "backends[0].url", url);
        if let Some(model) = model {
            source = source.with("--model", "backends[0].models[0].name", &model.name).with(
                "--model",
                "backends[0].models[0].version",
                &model.version,
            );
        }
        for (index, dataset) in datasets.iter().enumerate() {
            source = source.with("--dataset", &format!("backends[0].models[0].datasets[{index}]"), dataset);
        }
        source
    }

    /// Reads it all anew, for `serve`.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_by(validate::validate)
    }

    /// Reads it all anew, for `witness`: there need not be a model server.
    pub fn load_for_witness(&self) -> Result<Config, ConfigError> {
        self.load_by(validate::witness)
    }

    /// Reads it all anew, for `catalog serve`: there need not be a model server.
    pub fn load_for_catalog(&self) -> Result<Config, ConfigError> {
        self.load_by(validate::catalog)
    }

    /// Reads it all anew, for whichever of the two it is meant: with a witness's name and no model server it is one's.
    pub fn load_for_either(&self) -> Result<Config, ConfigError> {
        self.load_by(validate::either)
    }

    fn load_by(&self, validate: Validate) -> Result<Config, ConfigError> {
        let text = self.file.as_deref().map(read).transpose()?;
        self.assemble(text.as_deref().unwrap_or_default(), &Environment::read(), validate)
    }

    /// Where the ledger lies, for commands that need nothing else: the rest may be missing or wrong.
    pub fn ledger_dir(&self) -> Result<PathBuf, ConfigError> {
        Ok(self.text("ledger.dir")?.map_or_else(|| Config::default().ledger.dir, PathBuf::from))
    }

    /// The URL of the catalog, for commands that need nothing else; none where it lies in the data directory.
    pub fn catalog_url(&self) -> Result<Option<String>, ConfigError> {
        self.text("lineage.catalog.url")
    }

    /// What the catalog does with an edge that has something used before it was made.
    pub fn causality(&self) -> Result<Causality, ConfigError> {
        let refuse = self.text("lineage.catalog.causality")?.as_deref() == Some("refuse");
        Ok(if refuse { Causality::Refuse } else { Causality::Flag })
    }

    /// What stands at a key; none where nothing does.
    fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let text = self.file.as_deref().map(read).transpose()?;
        let mut root = self.parse(text.as_deref().unwrap_or_default())?;
        let _other_variables = Environment::read().overlay(&mut root, SECTIONS);
        Ok(match root.get_mut(&Path::parse(key)).map(|node| &node.value) {
            Some(Value::Scalar(text, kind)) if *kind != Kind::Null => Some(text.clone()),
            _ => None,
        })
    }

    fn parse(&self, text: &str) -> Result<Node, ConfigError> {
        Node::parse(text).map_err(|error| ConfigError::Wrong(vec![self.syntax(&error)]))
    }

    fn assemble(&self, text: &str, environment: &Environment, validate: Validate) -> Result<Config, ConfigError> {
        let mut root = self.parse(text)?;
        let mut problems: Vec<Problem> = environment
            .overlay(&mut root, SECTIONS)
            .into_iter()
            .map(|(name, problem)| Problem { place: Some(name), key: String::new(), problem })
            .collect();
        for (path, node) in &self.flags {
            if let Err(problem) = env::set(&mut root, path, node.clone()) {
                problems.push(self.problem(&root, path, problem));
            }
        }
        let (config, wrong) = de::typed::<Config>(&mut root);
        problems.extend(wrong.into_iter().map(|(path, problem)| self.problem(&root, &path, problem)));
        let config = config.map(|mut config| {
            config.deployment.instance.get_or_insert_with(|| environment.host.clone());
            config
        });
        if let Some(config) = &config {
            // Where a value was wrong its default stands, which nobody wrote.
            let wrong = validate(config).into_iter().map(|(key, problem)| (Path::parse(&key), problem));
            let wrong = wrong.filter(|(path, _)| !root.is_wrong_about(path));
            problems.extend(wrong.map(|(path, problem)| self.problem(&root, &path, problem)));
        }
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Wrong(problems)),
        }
    }

    fn syntax(&self, error: &serde_saphyr::Error) -> Problem {
        let place = error.location().map(|at| self.place(&Origin::File(at.line(), at.column())));
        // The place is said once, by us.
        let problem = error.to_string();
        let problem = problem.split(" at line ").next().unwrap_or_default();
        let problem = problem.strip_prefix("error: ").unwrap_or(problem).replace('\n', " ");
        Problem { place, key: String::new(), problem }
    }

    fn problem(&self, root: &Node, path: &Path, problem: String) -> Problem {
        Problem { place: Some(self.place(root.origin_of(path))), key: path.to_string(), problem }
            .without_place_if(self.file.is_none() && matches!(root.origin_of(path), Origin::File(..)))
    }

    fn place(&self, origin: &Origin) -> String {
        match origin {
            Origin::Named(name) => name.to_string(),
            Origin::File(line, column) => {
                let file = self.file.as_deref().unwrap_or(FilePath::new("configuration"));
                format!("{}:{line}:{column}", file.display())
            }
        }
    }
}

impl Problem {
    fn without_place_if(self, nowhere: bool) -> Self {
        if nowhere { Self { place: None, ..self } } else { self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.place.as_deref().unwrap_or_default(), &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Wrong(problems) => {
                for (place, problem) in problems.iter().enumerate() {
                    let newline = if place == 0 { "" } else { "\n" };
                    write!(f, "{newline}{problem}")?;
                }
                Ok(())
            }
        }
    }
}

// Its text is whole: no source repeats a part of it.
impl std::error::Error for ConfigError {}

fn read(path: &FilePath) -> Result<String, ConfigError> {
    let failed = |error| ConfigError::Read { file: path.to_owned(), error };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "more than 4 MiB is no configuration")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
