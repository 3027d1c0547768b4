//! Writing: a batch becomes one change, or none where all of it is known already.
//!
//! So that twice is once, only what differs is written, and a batch that changes nothing leaves no trace. What is
//! wrong in a batch takes all of it back.

use std::collections::HashMap;

use sqlx::{AnyConnection, Row as _};

use super::graph::{NodeKind, State, Value, ValueKind};
use super::record::{Batch, EdgeRecord, MemberRecord, NodeRecord, NodeRef, Recorded, check};
use super::types::{BUILT_IN, built_in, refines};
use super::{Catalog, CatalogError, Causality, guard, now_us};

impl Catalog {
    /// Records a batch as one change.
    ///
    /// # Errors
    /// Where something in it is not right or refers to nothing (nothing is recorded then), or the database fails.
    pub async fn record(&self, batch: &Batch) -> Result<Recorded, CatalogError> {
        self.write(batch, true).await
    }

    /// What recording a batch would come to; nothing is kept.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn preview(&self, batch: &Batch) -> Result<Recorded, CatalogError> {
        self.write(batch, false).await
    }

    async fn write(&self, batch: &Batch, keep: bool) -> Result<Recorded, CatalogError> {
        check(batch)?;
        let mut transaction = self.store.write().await?;
        let (change, time) = next_change(&mut transaction).await?;
        let mut writer =
            Writer { connection: &mut transaction, change, known: HashMap::new(), done: Recorded::default() };
        for node in &batch.nodes {
            writer.node(node).await?;
        }
        for edge in &batch.edges {
            writer.edge(edge, self).await?;
        }
        for member in &batch.members {
            writer.member(member).await?;
        }
        let mut done = writer.done;
        if !keep || (done.created.is_empty() && done.changed.is_empty() && done.linked == 0) {
            transaction.rollback().await?;
            return Ok(done);
        }
        sqlx::query("INSERT INTO change (id, time, author, source) VALUES ($1, $2, $3, $4)")
            .bind(change)
            .bind(time)
            .bind(batch.author.as_str())
            .bind(batch.source.as_str())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        done.change = Some(change);
        Ok(done)
    }
}

/// The next change's number and time, which is never before the last one's: as-of answers need one order.
async fn next_change(connection: &mut AnyConnection) -> Result<(i64, i64), CatalogError> {
    let last = sqlx::query("SELECT id, time FROM change ORDER BY id DESC LIMIT 1").fetch_optional(connection).await?;
    let Some(last) = last else { return Ok((1, now_us())) };
    Ok((last.try_get::<i64, _>(0)? + 1, now_us().max(last.try_get(1)?)))
}

/// One change in the making.
struct Writer<'a> {
    connection: &'a mut AnyConnection,
    change: i64,
    known: HashMap<NodeRef, (i64, NodeKind)>,
    done: Recorded,
}

impl Writer<'_> {
    async fn node(&mut self, record: &NodeRecord) -> Result<(), CatalogError> {
        let (type_id, kind) = self.type_of(&record.type_name).await?;
        let label = record.node.to_string();
        let state = match record.state {
            Some(state) => Some(state.code(kind).ok_or_else(|| wrong_state(&label, state, kind))?),
            None => None,
        };
        let id = if let Some((id, found)) = self.find(&record.node).await? {
            if found != kind {
                return Err(CatalogError::Invalid(format!("{label} is no {}", record.type_name)));
            }
            self.retype(id, type_id, record).await?;
            if self.revise(id, state, record.uri.as_deref()).await? | self.properties(id, type_id, record).await? {
                self.done.changed.push(label);
            }
            id
        } else {
            let id = self.insert(record, (type_id, kind), state.unwrap_or(0)).await?;
            self.properties(id, type_id, record).await?;
            self.done.created.push(label);
            id
        };
        self.known.insert(record.node.clone(), (id, kind));
        Ok(())
    }

    async fn insert(
        &mut self,
        record: &NodeRecord,
        (type_id, kind): (i64, NodeKind),
        state: i64,
    ) -> Result<i64, CatalogError> {
        let id: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) + 1 FROM node").fetch_one(&mut *self.connection).await?;
        let (identity, name) = named(record)?;
        sqlx::query(
            "INSERT INTO node (id, kind, type, name, identity, external_id, since) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(kind as i64)
        .bind(type_id)
        .bind(name)
        .bind(identity)
        .bind(record.external_id.as_deref())
        .bind(self.change)
        .execute(&mut *self.connection)
        .await?;
        self.insert_revision(id, state, record.uri.as_deref()).await?;
        Ok(id)
    }

    async fn insert_revision(&mut self, id: i64, state: i64, uri: Option<&str>) -> Result<(), CatalogError> {
        // A second word on the same node within one change replaces the first.
        sqlx::query(
            "INSERT INTO revision (node, since, state, uri) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (node, since) DO UPDATE SET until = NULL, state = excluded.state, uri = excluded.uri",
        )
        .bind(id)
        .bind(self.change)
        .bind(state)
        .bind(uri)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    /// A run of which more is known now.
    async fn retype(&mut self, id: i64, type_id: i64, record: &NodeRecord) -> Result<(), CatalogError> {
        let found: i64 =
            sqlx::query_scalar("SELECT type FROM node WHERE id = $1").bind(id).fetch_one(&mut *self.connection).await?;
        let name = BUILT_IN.iter().find(|built_in| built_in.id == found).map_or("", |built_in| built_in.name);
        if found == type_id || refines(&record.type_name, name) {
            return Ok(());
        }
        if !refines(name, &record.type_name) {
            let label = &record.node;
            return Err(CatalogError::Invalid(format!("{label} is a {name}, not a {}", record.type_name)));
        }
        sqlx::query("UPDATE node SET type = $1 WHERE id = $2")
            .bind(type_id)
            .bind(id)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    async fn revise(&mut self, id: i64, state: Option<i64>, uri: Option<&str>) -> Result<bool, CatalogError> {
        let row = sqlx::query("SELECT state, uri FROM revision WHERE node = $1 AND until IS NULL")
            .bind(id)
            .fetch_one(&mut *self.connection)
            .await?;
        let (old_state, old_uri): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        let (state, uri) = (state.unwrap_or(old_state), uri.or(old_uri.as_deref()));
        if state == old_state && uri == old_uri.as_deref() {
            return Ok(false);
        }
        sqlx::query("UPDATE revision SET until = $1 WHERE node = $2 AND until IS NULL AND since < $1")
            .bind(self.change)
            .bind(id)
            .execute(&mut *self.connection)
            .await?;
        self.insert_revision(id, state, uri).await?;
        Ok(true)
    }

    async fn properties(&mut self, id: i64, type_id: i64, record: &NodeRecord) -> Result<bool, CatalogError> {
        if record.properties.is_empty() {
            return Ok(false);
        }
        let declared = self.declared(type_id).await?;
        let old = super::read::properties(&mut *self.connection, id).await?;
        let mut changed = false;
        for (name, value) in &record.properties {
            let kind = declared.get(name.as_str()).copied();
            if let (Some(kind), Some(value)) = (kind, value)
                && kind != value.kind() as i64
            {
                return Err(CatalogError::Invalid(format!(
                    "Found unmatched property type: {name}. {} wants {}",
                    record.node,
                    ValueKind::from_code(kind).map_or_else(String::new, |kind| format!("{kind:?}"))
                )));
            }
            if old.get(name) != value.as_ref() {
                self.property(id, (name, value.as_ref()), kind.is_none()).await?;
                changed = true;
            }
        }
        Ok(changed)
    }

    async fn property(
        &mut self,
        id: i64,
        (name, value): (&str, Option<&Value>),
        custom: bool,
    ) -> Result<(), CatalogError> {
        sqlx::query("DELETE FROM property WHERE node = $1 AND name = $2 AND since = $3")
            .bind(id)
            .bind(name)
            .bind(self.change)
            .execute(&mut *self.connection)
            .await?;
        sqlx::query("UPDATE property SET until = $1 WHERE node = $2 AND name = $3 AND until IS NULL")
            .bind(self.change)
            .bind(id)
            .bind(name)
            .execute(&mut *self.connection)
            .await?;
        let Some(value) = value else { return Ok(()) };
        // Two texts: `sqlx::Any` gives PostgreSQL a missing binary64 as a binary32, and a statement keeps its types.
        let query = match value.number() {
            Some(_) => sqlx::query(
                "INSERT INTO property (node, custom, name, since, value_kind, value, number) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            ),
            None => sqlx::query(
                "INSERT INTO property (node, custom, name, since, value_kind, value) VALUES ($1, $2, $3, $4, $5, $6)",
            ),
        };
        let query = query
            .bind(id)
            .bind(i64::from(custom))
            .bind(name)
            .bind(self.change)
            .bind(value.kind() as i64)
            .bind(value.to_string());
        match value.number() {
            Some(number) => query.bind(number),
            None => query,
        }
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn edge(&mut self, record: &EdgeRecord, catalog: &Catalog) -> Result<(), CatalogError> {
        let artifact = self.wanted(&record.artifact, NodeKind::Artifact).await?;
        let execution = self.wanted(&record.execution, NodeKind::Execution).await?;
        let (source, target) = if record.kind.is_output() { (execution, artifact) } else { (artifact, execution) };
        let there: Option<i64> = sqlx::query_scalar(
            "SELECT id FROM edge WHERE source = $1 AND target = $2 AND kind = $3 AND path = $4 AND until IS NULL",
        )
        .bind(source)
        .bind(target)
        .bind(record.kind as i64)
        .bind(record.role.as_str())
        .fetch_optional(&mut *self.connection)
        .await?;
        match (there, record.remove) {
            (Some(edge), true) => self.end("UPDATE edge SET until = $1 WHERE id = $2", edge).await?,
            (Some(_), false) | (None, true) => return Ok(()),
            (None, false) => self.insert_edge(record, (source, target), catalog).await?,
        }
        self.done.linked += 1;
        Ok(())
    }

    async fn insert_edge(
        &mut self,
        record: &EdgeRecord,
        (source, target): (i64, i64),
        catalog: &Catalog,
    ) -> Result<(), CatalogError> {
        let [from, to] = if record.kind.is_output() {
            [&record.execution, &record.artifact]
        } else {
            [&record.artifact, &record.execution]
        };
        if guard::leads_to(self.connection, catalog.store.dialect, target, source).await? {
            return Err(CatalogError::Cycle { source_node: from.to_string(), target_node: to.to_string() });
        }
        let time = match record.time {
            Some(time) => Some(time.as_microsecond()),
            None if record.kind.is_output() => guard::run_time(self.connection, source, "end").await?,
            None => guard::run_time(self.connection, target, "start").await?,
        };
        let flaw = guard::flaw(self.connection, (source, target), record.kind, time).await?;
        let flaw = flaw.map(|flaw| format!("{from} → {to}: {flaw}"));
        if let Some(flaw) = &flaw {
            if catalog.causality == Causality::Refuse {
                return Err(CatalogError::Causality(flaw.clone()));
            }
            self.done.flagged.push(flaw.clone());
        }
        let id: i64 =
            sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) + 1 FROM edge").fetch_one(&mut *self.connection).await?;
        sqlx::query(
            "INSERT INTO edge (id, source, target, kind, path, time, flaw, since) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(source)
        .bind(target)
        .bind(record.kind as i64)
        .bind(record.role.as_str())
        .bind(time)
        .bind(flaw)
        .bind(self.change)
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn member(&mut self, record: &MemberRecord) -> Result<(), CatalogError> {
        let context = self.wanted(&record.context, NodeKind::Context).await?;
        let Some((node, _)) = self.find(&record.node).await? else {
            return Err(CatalogError::Missing(record.node.to_string()));
        };
        if guard::holds(self.connection, node, context).await? {
            return Err(CatalogError::Cycle {
                source_node: record.context.to_string(),
                target_node: record.node.to_string(),
            });
        }
        let since: Option<i64> =
            sqlx::query_scalar("SELECT since FROM member WHERE context = $1 AND node = $2 AND until IS NULL")
                .bind(context)
                .bind(node)
                .fetch_optional(&mut *self.connection)
                .await?;
        if since.is_some() != record.remove {
            return Ok(());
        }
        let text = if record.remove {
            "UPDATE member SET until = $3 WHERE context = $1 AND node = $2 AND until IS NULL"
        } else {
            "INSERT INTO member (context, node, since) VALUES ($1, $2, $3) \
                      ON CONFLICT (context, node, since) DO UPDATE SET until = NULL"
        };
        sqlx::query(text).bind(context).bind(node).bind(self.change).execute(&mut *self.connection).await?;
        self.done.linked += 1;
        Ok(())
    }

    async fn end(&mut self, text: &'static str, id: i64) -> Result<(), CatalogError> {
        sqlx::query(text).bind(self.change).bind(id).execute(&mut *self.connection).await?;
        Ok(())
    }

    async fn wanted(&mut self, node: &NodeRef, kind: NodeKind) -> Result<i64, CatalogError> {
        match self.find(node).await? {
            Some((id, found)) if found == kind => Ok(id),
            Some(_) => Err(CatalogError::Invalid(format!("{node} is no {}", format!("{kind:?}").to_lowercase()))),
            None => Err(CatalogError::Missing(node.to_string())),
        }
    }

    async fn find(&mut self, node: &NodeRef) -> Result<Option<(i64, NodeKind)>, CatalogError> {
        if let Some(known) = self.known.get(node) {
            return Ok(Some(*known));
        }
        let row = match node {
            NodeRef::Identity(identity) => {
                sqlx::query("SELECT id, kind FROM node WHERE identity = $1")
                    .bind(identity.as_str())
                    .fetch_optional(&mut *self.connection)
                    .await?
            }
            NodeRef::Named { type_name, name } => {
                sqlx::query(
                    "SELECT node.id, node.kind FROM node JOIN node_type ON node_type.id = node.type \
                     WHERE node_type.name = $1 AND node.name = $2",
                )
                .bind(type_name.as_str())
                .bind(name.as_str())
                .fetch_optional(&mut *self.connection)
                .await?
            }
        };
        let Some(row) = row else { return Ok(None) };
        let kind =
            NodeKind::from_code(row.try_get(1)?).ok_or_else(|| CatalogError::Row { what: "a kind".to_owned() })?;
        let found = (row.try_get(0)?, kind);
        self.known.insert(node.clone(), found);
        Ok(Some(found))
    }

    async fn type_of(&mut self, name: &str) -> Result<(i64, NodeKind), CatalogError> {
        if let Some(built_in) = built_in(name) {
            return Ok((built_in.id, built_in.kind));
        }
        let row = sqlx::query("SELECT id, kind FROM node_type WHERE name = $1 ORDER BY id DESC LIMIT 1")
            .bind(name)
            .fetch_optional(&mut *self.connection)
            .await?
            .ok_or_else(|| CatalogError::Invalid(format!("there is no type {name}")))?;
        let kind =
            NodeKind::from_code(row.try_get(1)?).ok_or_else(|| CatalogError::Row { what: "a kind".to_owned() })?;
        Ok((row.try_get(0)?, kind))
    }

    async fn declared(&mut self, type_id: i64) -> Result<HashMap<String, i64>, CatalogError> {
        let rows = sqlx::query("SELECT name, value_kind FROM type_property WHERE type = $1")
            .bind(type_id)
            .fetch_all(&mut *self.connection)
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

/// The identity that people use, and the name within the type.
fn named(record: &NodeRecord) -> Result<(Option<&str>, Option<&str>), CatalogError> {
    let prefix = built_in(&record.type_name).and_then(|built_in| built_in.prefix);
    match (&record.node, prefix) {
        (NodeRef::Identity(identity), Some(prefix)) => {
            let name = identity.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':'));
            name.map(|name| (Some(identity.as_str()), Some(name))).ok_or_else(|| {
                CatalogError::Invalid(format!("{identity} is no {}: its name begins with {prefix}:", record.type_name))
            })
        }
        (NodeRef::Named { type_name, name }, None) if *type_name == record.type_name => Ok((None, Some(name))),
        (node, Some(prefix)) => {
            Err(CatalogError::Invalid(format!("{node} is a {}: name it {prefix}:…", record.type_name)))
        }
        (node, None) => Err(CatalogError::Invalid(format!("{node} is no {}", record.type_name))),
    }
}

fn wrong_state(label: &str, state: State, kind: NodeKind) -> CatalogError {
    CatalogError::Invalid(format!("{label} cannot be {state:?}: it is an {kind:?}"))
}
