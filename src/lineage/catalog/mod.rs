//! The catalog: the graph of ML Metadata, kept with every change, and asked as of any moment.
//!
//! It is a library over a database (SQLite or PostgreSQL) and holds no state of its own: clones share the connections, and two
//! processes may use one database. One transaction is one *change*, with a number that only grows; every row says from
//! which change on it was true and until which, so that a [`Moment`] is a number and the past is one comparison.
//! Nothing here is on a request's way.

mod graph;
mod guard;
mod look;
mod opening;
mod read;
mod record;
mod said;
mod search;
mod store;
mod types;
mod walk;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use graph::{Edge, EventKind, Node, NodeKind, Properties, State, Value, ValueKind};
pub use look::Held;
pub use opening::Opening;
pub use read::Changed;
pub use record::{Batch, EdgeRecord, MemberRecord, NodeRecord, NodeRef, Recorded};
pub use search::{Filter, Page};
pub use store::{Dialect, Location};
pub use types::names;
pub(crate) use types::refines;
pub use walk::{Direction, Graph, Reached};

use store::Store;

/// Why the catalog could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database cannot be opened.
    #[error("the catalog {location} cannot be opened")]
    Open {
        /// Its path, or its URL without a password.
        location: String,
        /// Why.
        source: sqlx::Error,
    },
    /// Its folder cannot be made.
    #[error("the folder of {} cannot be made", path.display())]
    Folder {
        /// The catalog's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its path is not UTF-8.
    #[error("{} is not UTF-8: SQLite wants it", .0.display())]
    Path(PathBuf),
    /// The URL names no database that is known.
    #[error("{0} is no catalog: write the path of an SQLite file or postgres://…")]
    Url(String),
    /// A newer version has written to it.
    #[error(
        "the catalog has schema {found}, and this version knows {known}: use the version that wrote it, or a newer one"
    )]
    Newer {
        /// What was found.
        found: i64,
        /// What is known.
        known: i64,
    },
    /// The file is damaged.
    #[error("the catalog is damaged ({0}): stop what uses it and put a backup in its place")]
    Damaged(String),
    /// The database failed.
    #[error("the catalog's database failed")]
    Database(#[from] sqlx::Error),
    /// A row that no version could have written.
    #[error("the catalog holds {what}, which it cannot mean")]
    Row {
        /// What stands there.
        what: String,
    },
    /// What was given is not right by itself.
    #[error("{0}")]
    Invalid(String),
    /// Something is referred to that is not there.
    #[error("{0} is not in the catalog: record it first")]
    Missing(String),
    /// An edge would close a circle.
    #[error("{source_node} → {target_node} would close a circle: {target_node} already leads to {source_node}")]
    Cycle {
        /// Where the edge begins.
        source_node: String,
        /// Where it ends.
        target_node: String,
    },
    /// An edge would have something used before it was made.
    #[error("{0}: correct the times, or set lineage.catalog.causality: flag")]
    Causality(String),
}

impl CatalogError {
    /// Whether what was asked for is at fault, rather than the catalog.
    pub fn is_callers(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::Missing(_) | Self::Cycle { .. } | Self::Causality(_))
    }
}

/// What to do with an edge that has something used before it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Causality {
    /// Refuse it, and all that was to be recorded with it.
    Refuse,
    /// Record it, and say on the edge what is doubtful. Clocks differ between machines.
    #[default]
    Flag,
}

/// A moment of the graph: all changes up to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(i64);

impl Moment {
    /// As the graph stands.
    pub const NOW: Self = Self(i64::MAX);

    /// As it stood after a change.
    pub fn of_change(number: i64) -> Self {
        Self(number)
    }
}

const MOMENT: &str = "SELECT id FROM change WHERE time <= $1 ORDER BY time DESC, id DESC LIMIT 1";

/// The open catalog. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Store,
    causality: Causality,
}

impl Catalog {
    /// Opens a catalog, which is made where there is none.
    ///
    /// # Errors
    /// Where the database cannot be opened or was written by a newer version.
    pub async fn open(location: &Location, causality: Causality) -> Result<Self, CatalogError> {
        Ok(Self { store: Store::open(location).await?, causality })
    }

    /// The graph as it stood at a time, in microseconds since 1970: all changes up to then.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn moment(&self, time: jiff::Timestamp) -> Result<Moment, CatalogError> {
        // Times only grow with numbers.
        let number: Option<i64> =
            sqlx::query_scalar(MOMENT).bind(time.as_microsecond()).fetch_optional(&self.store.pool).await?;
        Ok(Moment(number.unwrap_or(0)))
    }

    /// Looks for damage, which takes about as long as reading the file once. PostgreSQL looks after itself.
    ///
    /// # Errors
    /// Where there is damage.
    pub async fn check(&self) -> Result<(), CatalogError> {
        if self.store.dialect == Dialect::Sqlite {
            let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&self.store.pool).await?;
            if verdict != "ok" {
                return Err(CatalogError::Damaged(verdict));
            }
        }
        Ok(())
    }

    /// Writes a copy of an SQLite catalog as it stands, while it is in use. The file must not be there.
    ///
    /// # Errors
    /// Where the file is there or cannot be written; for PostgreSQL, which has tools of its own.
    pub async fn backup(&self, to: &std::path::Path) -> Result<(), CatalogError> {
        if self.store.dialect == Dialect::Postgres {
            return Err(CatalogError::Invalid("the catalog is in PostgreSQL: back it up with pg_dump".to_owned()));
        }
        let path = to.to_str().ok_or_else(|| CatalogError::Path(to.to_owned()))?;
        sqlx::query("VACUUM INTO $1").bind(path).execute(&self.store.pool).await?;
        Ok(())
    }

    /// Closes the connections, when what is under way has ended.
    pub async fn close(&self) {
        self.store.pool.close().await;
    }
}

/// The time now, in microseconds since 1970.
fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_micros()).ok())
        .unwrap_or_default()
}

/// A time of the database's.
fn timestamp(us: i64) -> Result<jiff::Timestamp, CatalogError> {
    jiff::Timestamp::from_microsecond(us).map_err(|_error| CatalogError::Row { what: format!("the time {us}") })
}
