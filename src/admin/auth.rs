//! Who may ask: one bearer token (RFC 6750), or everybody where none is configured.
//!
//! The token is kept and compared as its SHA-256, so that the comparison's time says nothing of the token and a core
//! dump does not hold it. There are no users, roles or sessions.

use std::fmt;

use crate::sha256::Sha256;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize, Serializer};

use super::{AdminError, Config};

/// Text that is neither logged nor written out: shown as `[redacted]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

const REDACTED: &str = "[redacted]";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// What a caller must show.
#[derive(Clone, Copy, Debug)]
pub struct Auth(Option<[u8; 32]>);

impl Auth {
    /// Reads the configured token, from its file where it is in one.
    pub fn load(config: &Config) -> Result<Self, AdminError> {
        let (key, token) = match (&config.token, &config.token_file) {
            (None, None) => return Ok(Self(None)),
            (Some(_), Some(_)) => return Err(AdminError::TwoTokens),
            (Some(token), None) => ("admin.token".to_owned(), token.0.clone()),
            (None, Some(path)) => {
                let token = std::fs::read_to_string(path)
                    .map_err(|source| AdminError::TokenFile { path: path.clone(), source })?;
                // Editors and `echo` end files with a line feed.
                (format!("admin.token_file {}", path.display()), token.trim_end().to_owned())
            }
        };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdminError::Token { key });
        }
        Ok(Self(Some(digest(token.as_bytes()))))
    }

    /// Whether a token is asked for at all.
    pub fn required(&self) -> bool {
        self.0.is_some()
    }

    /// Whether these headers carry the token, where one is asked for.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        self.0.is_none_or(|expected| bearer(headers).is_some_and(|token| digest(token) == expected))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim_ascii_start())
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(json: &str) -> Result<Auth, AdminError> {
        Auth::load(&serde_json::from_str::<Config>(json).unwrap())
    }

    fn allows(auth: Auth, value: &str) -> bool {
        auth.allows(&HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]))
    }

    #[test]
    fn the_token_and_nothing_else() {
        let open = load("{}").unwrap();
        assert!(!open.required() && open.allows(&HeaderMap::new()));
        let auth = load(r#"{"token":"s3cret"}"#).unwrap();
        assert!(auth.required() && !auth.allows(&HeaderMap::new()));
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret"] {
            assert!(allows(auth, good), "{good}");
        }
        for bad in
            ["Bearer s3cre", "Bearer s3crets", "Bearer S3CRET", "Bearer ", "Bearer", "Basic s3cret", "s3cret", ""]
        {
            assert!(!allows(auth, bad), "{bad}");
        }
    }

    #[test]
    fn a_file_may_end_with_a_line_feed() {
        let path = std::env::temp_dir().join(format!("touchmark-token-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let config = Config { token_file: Some(path.clone()), ..Config::default() };
        assert!(allows(Auth::load(&config).unwrap(), "Bearer s3cret"));
        std::fs::write(&path, "\n").unwrap();
        assert!(Auth::load(&config).unwrap_err().to_string().contains("openssl rand"));
        std::fs::remove_file(&path).unwrap();
        let error = Auth::load(&config).unwrap_err().to_string();
        assert!(error.contains("admin.token_file") && error.contains(path.to_str().unwrap()), "{error}");
    }

    #[test]
    fn useless_tokens_are_refused() {
        for json in [r#"{"token":""}"#, r#"{"token":"a b"}"#, r#"{"token":"é"}"#] {
            assert!(matches!(load(json), Err(AdminError::Token { .. })), "{json}");
        }
        assert!(matches!(load(r#"{"token":"a","token_file":"b"}"#), Err(AdminError::TwoTokens)));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let config: Config = serde_json::from_str(r#"{"token":"s3cret"}"#).unwrap();
        let shown = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(!shown.contains("s3cret") && shown.contains(REDACTED), "{shown}");
    }
}
