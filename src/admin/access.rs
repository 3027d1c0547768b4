//! Who may ask: bearer tokens (RFC 6750), each with a name and a role, or loopback where none is configured.
//!
//! A token is kept and compared as its SHA-256, in a time that does not depend on it, and with all of them every time;
//! a core dump does not hold it. There are no users and no sessions.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize, Serializer};

use super::config::{LOOPBACK_NAME, TOKEN_NAME};
use super::{AdminError, Config};
use crate::sha256::Sha256;

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

/// What a token lets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "AdminRole"))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Metrics, status and lineage, to read.
    Viewer,
    /// Besides, lineage to record.
    Recorder,
    /// What a viewer reads, and the ledger.
    Auditor,
    /// Everything.
    Operator,
}

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing: a kubelet has no token.
    Open,
    /// To read what is not the ledger.
    View,
    /// To record lineage.
    Record,
    /// To read the ledger.
    Audit,
    /// To change how the process serves.
    Operate,
    /// Nothing, since the request is signed: whoever answers looks at the signature.
    Signed,
}

impl Role {
    fn may(self, right: Right) -> bool {
        match right {
            Right::Open | Right::View | Right::Signed => true,
            Right::Record => matches!(self, Self::Recorder | Self::Operator),
            Right::Audit => matches!(self, Self::Auditor | Self::Operator),
            Right::Operate => self == Self::Operator,
        }
    }
}

impl Right {
    /// Roles that have it, for messages.
    pub(super) fn roles(self) -> &'static str {
        match self {
            Self::Open | Self::View | Self::Signed => "viewer",
            Self::Record => "recorder or operator",
            Self::Audit => "auditor or operator",
            Self::Operate => "operator",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The token's name: the author of what is recorded.
    pub(super) name: Arc<str>,
    /// Its role; none for loopback where there are no tokens.
    pub(super) role: Option<Role>,
}

impl Caller {
    /// Without tokens the containers of a pod, which share loopback, may read and record; they may not operate.
    pub(super) fn may(&self, right: Right) -> bool {
        self.role.map_or(right != Right::Operate, |role| role.may(right))
    }
}

/// What callers must show. Clones share it.
#[derive(Clone, Debug)]
pub struct Auth(Arc<[Token]>);

#[derive(Debug)]
struct Token {
    caller: Caller,
    digest: [u8; 32],
}

impl Auth {
    /// Reads the configured tokens, that of `token_file` from its file.
    pub fn load(config: &Config) -> Result<Self, AdminError> {
        let mut tokens = Vec::with_capacity(config.tokens.len() + 1);
        if let Some(token) = single(config)? {
            let caller = Caller { name: TOKEN_NAME.into(), role: Some(Role::Operator) };
            tokens.push(Token { caller, digest: Sha256::digest(token.as_bytes()) });
        }
        for (at, token) in config.tokens.iter().enumerate() {
            let digest = digest(&token.sha256).ok_or(AdminError::Digest { at })?;
            let caller = Caller { name: token.name.as_str().into(), role: Some(token.role) };
            tokens.push(Token { caller, digest });
        }
        Ok(Self(tokens.into()))
    }

    /// Whether a token is asked for at all.
    pub fn required(&self) -> bool {
        !self.0.is_empty()
    }

    /// Who asks with these headers, from there; none where that cannot be told.
    pub(super) fn caller(&self, headers: &HeaderMap, peer: IpAddr) -> Option<Caller> {
        if !self.required() {
            let caller = || Caller { name: LOOPBACK_NAME.into(), role: None };
            return peer.to_canonical().is_loopback().then(caller);
        }
        let shown = Sha256::digest(bearer(headers)?);
        // All of them, whichever it is.
        self.0.iter().fold(None, |found, token| {
            let same = verify_slices_are_equal(&shown, &token.digest).is_ok();
            if same { Some(token.caller.clone()) } else { found }
        })
    }
}

/// The token of `admin.token` or `admin.token_file`.
fn single(config: &Config) -> Result<Option<String>, AdminError> {
    let (key, token) = match (&config.token, &config.token_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(AdminError::TwoTokens),
        (Some(token), None) => ("admin.token".to_owned(), token.0.clone()),
        (None, Some(path)) => {
            let token =
                std::fs::read_to_string(path).map_err(|source| AdminError::TokenFile { path: path.clone(), source })?;
            // Editors and `echo` end files with a line feed.
            (format!("admin.token_file {}", path.display()), token.trim_end().to_owned())
        }
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AdminError::Token { key });
    }
    Ok(Some(token))
}

/// Whether a text is a SHA-256 in hexadecimal digits.
pub(super) fn is_digest(text: &str) -> bool {
    digest(text).is_some()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn load(json: &str) -> Result<Auth, AdminError> {
        Auth::load(&serde_json::from_str::<Config>(json).unwrap())
    }

    fn caller(auth: &Auth, value: &str) -> Option<Caller> {
        auth.caller(&HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]), HERE)
    }

    #[test]
    fn the_token_and_nothing_else() {
        let open = load("{}").unwrap();
        let anybody = open.caller(&HeaderMap::new(), HERE).unwrap();
        assert!(!open.required() && anybody.may(Right::Record) && anybody.may(Right::Audit));
        assert!(!anybody.may(Right::Operate), "the containers of a pod share loopback");
        assert!(open.caller(&HeaderMap::new(), "192.0.2.1".parse().unwrap()).is_none());
        let auth = load(r#"{"token":"s3cret"}"#).unwrap();
        assert!(auth.required() && auth.caller(&HeaderMap::new(), HERE).is_none());
        for good in ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret"] {
            assert_eq!(caller(&auth, good).unwrap().role, Some(Role::Operator), "{good}");
        }
        for bad in
            ["Bearer s3cre", "Bearer s3crets", "Bearer S3CRET", "Bearer ", "Bearer", "Basic s3cret", "s3cret", ""]
        {
            assert!(caller(&auth, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn each_role_may_what_it_says() {
        let rights = [Right::View, Right::Record, Right::Audit, Right::Operate];
        for (role, may) in [
            (Role::Viewer, [true, false, false, false]),
            (Role::Recorder, [true, true, false, false]),
            (Role::Auditor, [true, false, true, false]),
            (Role::Operator, [true, true, true, true]),
        ] {
            assert_eq!(rights.map(|right| role.may(right)), may, "{role:?}");
        }
        // printf %s s3cret | sha256sum
        let digest = "1EC1C26B50D5D3C58D9583181AF8076655FE00756BF7285940BA3670F99FCBA0";
        let json = serde_json::json!({"tokens": [{"name": "ci", "role": "recorder", "sha256": digest}]});
        let found = caller(&load(&json.to_string()).unwrap(), "Bearer s3cret").unwrap();
        assert_eq!((&*found.name, found.role), ("ci", Some(Role::Recorder)));
    }

    #[test]
    fn a_file_may_end_with_a_line_feed() {
        let path = std::env::temp_dir().join(format!("touchmark-token-{}", std::process::id()));
        std::fs::write(&path, "s3cret\n").unwrap();
        let config = Config { token_file: Some(path.clone()), ..Config::default() };
        assert!(caller(&Auth::load(&config).unwrap(), "Bearer s3cret").is_some());
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
