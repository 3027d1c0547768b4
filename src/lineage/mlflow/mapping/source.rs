//! What the source of a logged dataset says: where it lies, and whether that names a version.
//!
//! MLflow's sources are JSON of some kind for each store (`mlflow/data/*_source.py`). Delta names a version, Hugging
//! Face a revision, lakeFS a reference in its address; Iceberg's snapshot stands where teams with a source of their own
//! put it. A branch or a tag can be moved: only what reads as a commit is a version.

use serde_json::Value;

/// Hexadecimal digits of what is taken for a commit, at least: as git shortens them.
const COMMIT_DIGITS_MIN: usize = 7;
/// Members that name where it lies.
const ADDRESS: [&str; 3] = ["uri", "path", "url"];
/// Members whose value is a version, and never moves.
const VERSION: [&str; 5] = ["delta_table_version", "snapshot_id", "snapshotId", "version_id", "version"];
/// Words in the names of a query's parameters that say that it is a secret.
const SECRETS: [&str; 6] = ["sig", "token", "key", "credential", "secret", "password"];

/// What a source says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: Option<String>,
    /// `s3://lake`
    pub(super) namespace: Option<String>,
    pub(super) version: Option<String>,
}

/// Reads a source, which is JSON or nothing that we know.
pub(super) fn read(text: &str) -> Source {
    let members = serde_json::from_str::<Value>(text).unwrap_or_default();
    let member = |name: &str| members.get(name).and_then(word);
    let bare = || (text.contains("://") && !text.contains(['{', '"'])).then(|| text.to_owned());
    let address = ADDRESS.iter().find_map(|name| member(name)).or_else(bare);
    let version = VERSION.iter().find_map(|name| member(name));
    let version = version.or_else(|| member("revision").filter(|revision| is_commit(revision)));
    let version = version.or_else(|| address.as_deref().and_then(version_of));
    Source { namespace: address.as_deref().and_then(namespace), uri: address.as_deref().map(without_secrets), version }
}

/// An address without user, password, or a query that looks like one.
pub(super) fn without_secrets(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let names = query.split('&').filter_map(|pair| pair.split('=').next()).map(str::to_lowercase);
    let secret = names.into_iter().any(|name| SECRETS.iter().any(|word| name.contains(word)));
    let query = if query.is_empty() || secret { String::new() } else { format!("?{query}") };
    format!("{scheme}://{host}{path}{query}")
}

/// Text, or a whole number as text.
fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Scheme and host or bucket; nothing for what lies on one machine.
fn namespace(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A container of Azure's stands before the `@`, and is no user.
    let place = if scheme.starts_with("abfs") || scheme.starts_with("wasb") { authority } else { host };
    (scheme != "file" && !place.is_empty()).then(|| format!("{scheme}://{place}"))
}

/// The version that an address itself names.
fn version_of(uri: &str) -> Option<String> {
    if let Some(rest) = uri.strip_prefix("lakefs://") {
        return rest.split('/').nth(1).filter(|reference| is_commit(reference)).map(str::to_owned);
    }
    let (_, query) = uri.split_once('?')?;
    let version = query.split('&').find_map(|pair| pair.strip_prefix("versionId="))?;
    (!version.is_empty() && version != "null").then(|| version.to_owned())
}

fn is_commit(text: &str) -> bool {
    text.len() >= COMMIT_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_a_version_and_what_does_not() {
        let version = |text: &str| read(text).version;
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(version(r#"{"path": "s3://lake/labels", "delta_table_version": 17}"#), some("17"));
        assert_eq!(
            version(r#"{"uri": "s3://lake/t", "snapshot_id": 5937117119577207079}"#),
            some("5937117119577207079")
        );
        let commit = "ab".repeat(32);
        assert_eq!(version(&format!(r#"{{"uri": "lakefs://repo/{commit}/t.parquet"}}"#)), some(&commit));
        assert_eq!(version(r#"{"uri": "lakefs://repo/main/t.parquet"}"#), None);
        assert_eq!(version(r#"{"path": "user/set", "revision": "0bf1f9e6a4"}"#), some("0bf1f9e6a4"));
        assert_eq!(version(r#"{"path": "user/set", "revision": "main"}"#), None);
        assert_eq!(version(r#"{"uri": "s3://b/k?versionId=L4kq"}"#), some("L4kq"));
        assert_eq!(version(r#"{"uri": "s3://b/k"}"#), None);
        assert_eq!(read("[1]"), Source::default());
        assert_eq!(read("no JSON"), Source::default());
    }

    #[test]
    fn where_it_lies() {
        let place = |uri: &str| read(&format!(r#"{{"uri": "{uri}"}}"#)).namespace;
        assert_eq!(place("s3://lake/a/b.parquet").as_deref(), Some("s3://lake"));
        assert_eq!(place("https://ann:s3cret@data.example/x?y=1").as_deref(), Some("https://data.example"));
        assert_eq!(
            place("abfss://raw@account.dfs.core.windows.net/x").as_deref(),
            Some("abfss://raw@account.dfs.core.windows.net")
        );
        for local in ["file:///data/x.csv", "clicks.csv", "/data/x.csv"] {
            assert_eq!(place(local), None, "{local}");
        }
        assert_eq!(read("s3://lake/x").uri.as_deref(), Some("s3://lake/x"));
    }

    #[test]
    fn secrets_do_not_come_along() {
        assert_eq!(without_secrets("https://ann:s3cret@git.example/a.git"), "https://git.example/a.git");
        assert_eq!(without_secrets("https://b.s3.example/k?X-Amz-Signature=abc&x=1"), "https://b.s3.example/k");
        assert_eq!(without_secrets("https://data.example/k?id=3"), "https://data.example/k?id=3");
        assert_eq!(without_secrets("git@git.example:a.git"), "git@git.example:a.git");
    }
}
