//! The database under the catalog: opening it, its schema, and what SQLite and PostgreSQL write differently.
//!
//! Every query stands once, with `$1` for parameters, which both know. What differs is in [`Dialect`] alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions, install_default_drivers};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, Row as _, Transaction};

use super::CatalogError;
use super::types::BUILT_IN;

/// The schema that this version writes. Steps are never changed once released; a new one is added.
const STEPS: [&str; 1] = [include_str!("schema.sql")];
/// Connections at once: readers beside the one writer.
const CONNECTIONS_MAX: u32 = 4;
/// How long a question waits for a connection or for the database to come.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// What stands unencoded in the path of an SQLite URL.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');
/// The lock that writers of one PostgreSQL database take in turn; any number that nobody else takes.
const WRITER_LOCK: i64 = 0x746f_7563_686d_6172;

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Dialect {
    /// The query as this database wants it. `{ids}` is a list of numbers in a JSON array given as the parameter `$1`.
    pub(super) fn sql(self, text: &str) -> AssertSqlSafe<String> {
        let [id, words, ids] = match self {
            Self::Sqlite => ["INTEGER PRIMARY KEY", "TEXT", "(SELECT value FROM json_each($1))"],
            Self::Postgres => [
                "BIGINT PRIMARY KEY",
                "TEXT COLLATE \"C\"",
                "(SELECT value::bigint FROM json_array_elements_text($1::json))",
            ],
        };
        // Nothing but our own constants goes in here.
        AssertSqlSafe(text.replace("{id}", id).replace("{text}", words).replace("{ids}", ids))
    }
}

/// Where the catalog lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An SQLite file, made where there is none.
    File(PathBuf),
    /// `postgres://…`
    Url(String),
}

/// The open database.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) pool: AnyPool,
    pub(super) dialect: Dialect,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    pub(super) async fn open(location: &Location) -> Result<Self, CatalogError> {
        install_default_drivers();
        let (url, dialect) = match location {
            Location::File(path) => (file_url(path)?, Dialect::Sqlite),
            Location::Url(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                (url.clone(), Dialect::Postgres)
            }
            Location::Url(url) => return Err(CatalogError::Url(without_password(url))),
        };
        let opened = |source| CatalogError::Open { location: location.to_string(), source };
        let options = AnyConnectOptions::from_str(&url).map_err(opened)?;
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| Box::pin(prepare(connection, dialect)))
            .connect_with(options)
            .await
            .map_err(opened)?;
        let store = Self { pool, dialect };
        store.migrate().await?;
        Ok(store)
    }

    /// A transaction in which nobody else writes.
    pub(super) async fn write(&self) -> Result<Transaction<'static, sqlx::Any>, CatalogError> {
        match self.dialect {
            Dialect::Sqlite => Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?),
            Dialect::Postgres => {
                let mut transaction = self.pool.begin().await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITER_LOCK).execute(&mut *transaction).await?;
                Ok(transaction)
            }
        }
    }

    async fn migrate(&self) -> Result<(), CatalogError> {
        let mut transaction = self.write().await?;
        let make = self.dialect.sql("CREATE TABLE IF NOT EXISTS schema_step (step {id}, time BIGINT NOT NULL)");
        transaction.execute(make).await?;
        let row = sqlx::query("SELECT COALESCE(MAX(step), 0) FROM schema_step").fetch_one(&mut *transaction).await?;
        let done: i64 = row.try_get(0)?;
        let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
        if done > known {
            return Err(CatalogError::Newer { found: done, known });
        }
        for (step, text) in (1..).zip(STEPS).filter(|(step, _)| *step > done) {
            for statement in statements(text) {
                transaction.execute(self.dialect.sql(statement)).await?;
            }
            sqlx::query("INSERT INTO schema_step (step, time) VALUES ($1, $2)")
                .bind(step)
                .bind(super::now_us())
                .execute(&mut *transaction)
                .await?;
        }
        built_in(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Types that this version adds to those that the database has.
async fn built_in(connection: &mut AnyConnection) -> Result<(), CatalogError> {
    for built_in in BUILT_IN {
        sqlx::query(
            "INSERT INTO node_type (id, kind, name, version, base, since) VALUES ($1, $2, $3, '', $4, 0) \
             ON CONFLICT DO NOTHING",
        )
        .bind(built_in.id)
        .bind(built_in.kind as i64)
        .bind(built_in.name)
        .bind(built_in.base)
        .execute(&mut *connection)
        .await?;
        for (name, kind) in built_in.properties {
            sqlx::query(
                "INSERT INTO type_property (type, name, value_kind, since) VALUES ($1, $2, $3, 0) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(built_in.id)
            .bind(*name)
            .bind(*kind as i64)
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

/// What each connection is told before it is used.
async fn prepare(connection: &mut AnyConnection, dialect: Dialect) -> Result<(), sqlx::Error> {
    if dialect == Dialect::Sqlite {
        // Readers do not wait for the writer; what was said to be recorded survives power loss.
        connection.execute("PRAGMA journal_mode = WAL").await?;
        connection.execute("PRAGMA synchronous = FULL").await?;
        connection.execute("PRAGMA cache_size = -32768").await?;
    }
    connection.ping().await
}

/// A schema's statements; a `;` ends one, and there is none within.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').filter(|statement| {
        statement.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"))
    })
}

fn file_url(path: &Path) -> Result<String, CatalogError> {
    let unusable = |source| CatalogError::Folder { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(unusable)?;
    }
    let path = std::path::absolute(path).map_err(unusable)?;
    let path = path.to_str().ok_or_else(|| CatalogError::Path(path.clone()))?;
    Ok(format!("sqlite://{}?mode=rwc", utf8_percent_encode(path, PATH)))
}

/// The URL as it may be shown.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:…@{host}")
        }
        None => url.to_owned(),
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(&without_password(url)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("postgres://me:s3c@ret@db/x"), "postgres://me:…@db/x");
        assert_eq!(without_password("postgres://db/x"), "postgres://db/x");
        assert_eq!(without_password("nonsense"), "nonsense");
    }

    #[test]
    fn a_path_is_encoded() {
        assert_eq!(file_url(Path::new("/tmp/a b?.db")).unwrap(), "sqlite:///tmp/a%20b%3F.db?mode=rwc");
    }
}
