//! What of a registry is to be imported, as it is written on the command line.

use std::fmt;
use std::str::FromStr;

/// All models, one, or one version of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every registered model.
    #[default]
    All,
    /// `NAME`: all its versions.
    Model(String),
    /// `NAME@ALIAS`: the version that the alias names now.
    Alias(String, String),
    /// `NAME/VERSION`, by MLflow's number.
    Version(String, String),
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no model of MLflow's: write NAME, NAME@ALIAS or NAME/VERSION");
        let parts = match text.rsplit_once(['@', '/']) {
            None => (text, None),
            Some((name, last)) => (name, Some(last)),
        };
        match parts {
            ("", _) | (_, Some("")) => Err(wrong()),
            (name, None) => Ok(Self::Model(name.to_owned())),
            (name, Some(last)) if text[name.len()..].starts_with('@') => {
                Ok(Self::Alias(name.to_owned(), last.to_owned()))
            }
            (name, Some(last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self::Version(name.to_owned(), last.to_owned()))
            }
            _ => Err(format!("{}; MLflow's versions are numbers", wrong())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every registered model"),
            Self::Model(name) => f.write_str(name),
            Self::Alias(name, alias) => write!(f, "{name}@{alias}"),
            Self::Version(name, version) => write!(f, "{name}/{version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_three_ways() {
        let parsed = |text: &str| text.parse::<Scope>();
        assert_eq!(parsed("fraud"), Ok(Scope::Model("fraud".into())));
        assert_eq!(parsed("a@b@champion"), Ok(Scope::Alias("a@b".into(), "champion".into())));
        assert_eq!(parsed("fraud/3"), Ok(Scope::Version("fraud".into(), "3".into())));
        for wrong in ["", "@champion", "fraud@", "fraud/", "fraud/v3"] {
            assert!(parsed(wrong).unwrap_err().contains("NAME@ALIAS"), "{wrong}");
        }
        for text in ["fraud", "fraud@champion", "fraud/3"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
    }
}
