//! The section `admin`: where to listen, who may ask for what, and under which certificate.
//!
//! What is wrong by meaning is told here; what needs a file shows at the start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::access::{Role, Secret, is_digest};
use crate::tls::TlsConfig;

/// The port, where the configuration does not say otherwise.
const PORT: u16 = 9091;
/// Requests a second of one caller, where the configuration does not say otherwise.
const RATE: u32 = 200;
/// Tokens, at most: each request is compared with all of them.
const TOKENS_MAX: usize = 1000;
/// Bytes of a token's name, which stands in every line of the access log.
const NAME_BYTES_MAX: usize = 128;
/// The name that `admin.token` has in the access log and in the catalog.
pub(super) const TOKEN_NAME: &str = "token";
/// The name of who asks from loopback where there are no tokens.
pub(super) const LOOPBACK_NAME: &str = "loopback";

/// The section `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "AdminConfig"))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on. One that is not loopback needs a token.
    pub listen: SocketAddr,
    /// A bearer token with the role operator. Better kept in a file.
    pub token: Option<Secret>,
    /// A file that holds that token, such as a mounted Kubernetes Secret. Read once, at the start.
    pub token_file: Option<PathBuf>,
    /// Further bearer tokens, each with a name and a role, by their SHA-256.
    pub tokens: Vec<TokenConfig>,
    /// TLS; without it callers are met in the clear.
    pub tls: Option<TlsConfig>,
    /// Requests a second that one caller may make; twice as many at once. Health checks do not count.
    pub rate: u32,
}

/// `admin.tokens[]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "AdminToken"))]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Who shows it, as the access log and the catalog name the author.
    pub name: String,
    /// What it lets do.
    pub role: Role,
    /// The SHA-256 of the token, in 64 hexadecimal digits.
    pub sha256: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            token: None,
            token_file: None,
            tokens: Vec::new(),
            tls: None,
            rate: RATE,
        }
    }
}

impl Config {
    /// Everything that is wrong by meaning, by key.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut wrong = |key: String, problem: String| problems.push((key, problem));
        if self.rate == 0 {
            wrong("admin.rate".to_owned(), "must be 1 or more: nothing would be answered".to_owned());
        }
        if self.tokens.len() > TOKENS_MAX {
            wrong("admin.tokens".to_owned(), format!("{} tokens: at most {TOKENS_MAX}", self.tokens.len()));
        }
        for (at, token) in self.tokens.iter().enumerate() {
            let name = &token.name;
            let key = format!("admin.tokens[{at}]");
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                wrong(format!("{key}.name"), format!("must be 1 to {NAME_BYTES_MAX} bytes without control characters"));
            }
            if [TOKEN_NAME, LOOPBACK_NAME].contains(&name.as_str()) {
                wrong(format!("{key}.name"), format!("'{name}' is what others are called: choose another"));
            }
            if self.tokens[..at].iter().any(|other| other.name == *name) {
                wrong(
                    format!("{key}.name"),
                    format!("'{name}' is taken by another token: nobody could tell them apart"),
                );
            }
            if !is_digest(&token.sha256) {
                let problem = "must be 64 hexadecimal digits: printf %s TOKEN | sha256sum";
                wrong(format!("{key}.sha256"), problem.to_owned());
            } else if self.tokens[..at].iter().any(|other| other.sha256.eq_ignore_ascii_case(&token.sha256)) {
                wrong(format!("{key}.sha256"), "is that of another token: give each caller one of its own".to_owned());
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tokens_are_named() {
        let digest = "ab".repeat(32);
        let json = serde_json::json!({"rate": 0, "tokens": [
            {"name": "a", "role": "viewer", "sha256": digest},
            {"name": "a", "role": "recorder", "sha256": digest.to_uppercase()},
            {"name": "loopback", "role": "auditor", "sha256": "s3cret"},
            {"name": "", "role": "operator", "sha256": "cd".repeat(32)},
        ]});
        let config: Config = serde_json::from_value(json).unwrap();
        let keys: Vec<String> = config.problems().into_iter().map(|(key, _)| key).collect();
        let wanted = ["admin.rate", "admin.tokens[1].name", "admin.tokens[1].sha256", "admin.tokens[2].name"];
        assert_eq!(keys[..4], wanted);
        assert_eq!(keys[4..], ["admin.tokens[2].sha256", "admin.tokens[3].name"]);
        assert!(serde_json::from_str::<Config>(r#"{"tokens":[{"name":"a","role":"king","sha256":"x"}]}"#).is_err());
        assert_eq!(Config::default().problems(), []);
    }
}
