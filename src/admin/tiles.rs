//! `/checkpoint`, `/tile/…` and `/tile/entries/…`: the log for its mirrors (C2SP tlog-tiles v0.1.0).
//!
//! Tiles are files on a disk, which may take its time: they are read on threads of their own, a few at once, so that a
//! health check never waits for one. What a path means is `tlog`'s matter, what may be seen the ledger's.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use super::answer::{Answer, alone, problem};
use super::routes::{Asked, Parts};
use crate::tlog::TilePath;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// A tile never changes once a checkpoint covers it. Neither `public` nor `private`: with a token, a shared cache keeps
/// nothing (RFC 9111, section 3.5).
const IMMUTABLE: HeaderValue = HeaderValue::from_static("max-age=31536000, immutable");

/// The newest checkpoint.
pub(super) fn checkpoint(parts: &Parts, _: &Asked) -> Answer {
    let Some(serving) = &parts.serving else { return alone() };
    let Some(note) = serving.tiles.checkpoint() else {
        return problem(StatusCode::NOT_FOUND, "no checkpoint could be signed: the process's log says why");
    };
    let mut answer = Response::new(Full::new(note.into()));
    answer.headers_mut().insert(CONTENT_TYPE, TEXT);
    answer
}

/// A tile, or entries, from the ledger's files.
pub(super) async fn tile(parts: Arc<Parts>, asked: Asked) -> Answer {
    let Some(path) = asked.path.strip_prefix('/').and_then(TilePath::parse) else {
        return problem(StatusCode::NOT_FOUND, "that is no tile; /api/v1/openapi.json says what is");
    };
    let Some(serving) = &parts.serving else { return alone() };
    let reading = Arc::clone(&serving.tiles);
    let read = tokio::task::spawn_blocking(move || reading.get(path)).await;
    match read {
        Ok(Ok(Some(bytes))) => {
            let mut answer = Response::new(Full::new(bytes.into()));
            answer.headers_mut().insert(CONTENT_TYPE, OCTETS);
            answer.headers_mut().insert(CACHE_CONTROL, IMMUTABLE);
            answer
        }
        Ok(Ok(None)) => problem(StatusCode::NOT_FOUND, "no checkpoint covers all of it: ask for /checkpoint first"),
        Ok(Err(error)) => {
            tracing::error!(%error, path = path.path(), "a tile cannot be read");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read; the log says why")
        }
        Err(error) => {
            tracing::error!(%error, path = path.path(), "a tile cannot be read");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "it cannot be read")
        }
    }
}
