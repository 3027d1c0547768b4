//! What the admin listener answers: one table of methods and paths, who may ask, and who answers.
//!
//! It knows nothing of sockets and bodies; `dispatch` reads the table from left to right.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::access::{Auth, Caller, Right};
use super::access_log::AccessLog;
use super::answer::Answer;
use super::backends::{self, Backends};
use super::lineage;
use super::readiness::Readiness;
use super::system::{self, Status};
use super::tiles;
use super::traffic::{self, Traffic};
use super::webhook;
use crate::ledger::Tiles;
use crate::lineage::catalog::Opening;
use crate::lineage::mlflow::webhook::Receiver;
use crate::lineage::openlineage::Rules;
use crate::telemetry::Metrics;

/// What the listener speaks of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Rendered at `/metrics`.
    pub metrics: Metrics,
    /// Asked at `/readyz`.
    pub readiness: Readiness,
    /// Shown at `/api/v1/status`.
    pub status: Status,
    /// What callers must show.
    pub auth: Auth,
    /// Requests a second of one caller.
    pub rate: u32,
    /// Told who changed what, and who read the ledger.
    pub access_log: AccessLog,
    /// The data path and the ledger; a catalog alone has none.
    pub serving: Option<Serving>,
    /// Asked and told about lineage.
    pub catalog: Opening,
    /// Told what MLflow tells.
    pub webhooks: Receiver,
    /// How the events of pipelines are read.
    pub openlineage: Arc<Rules>,
    /// The runtime of the control plane, on which all that asks the catalog runs.
    pub control: tokio::runtime::Handle,
}

/// The data path and its ledger.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Moved at `/api/v1/traffic`.
    pub traffic: Arc<dyn Traffic>,
    /// Shown at `/api/v1/backends`.
    pub backends: Arc<dyn Backends>,
    /// Served at `/checkpoint` and `/tile`.
    pub tiles: Arc<Tiles>,
    /// The data directory, in which the ledger lies.
    pub dir: PathBuf,
}

/// What was asked, once it is known that it may be.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Who asks; the author of what is recorded.
    pub(super) caller: Caller,
    /// The path, as it was sent.
    pub(super) path: String,
    /// What stands in the place of the route's last `{…}`, as it was sent; it may hold slashes.
    pub(super) rest: String,
    /// After the `?`.
    pub(super) query: String,
    /// The header fields of a request that is signed; none of any other.
    pub(super) headers: HeaderMap,
    /// The body, unpacked; empty where the route takes none.
    pub(super) body: Bytes,
}

pub(super) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler {
    /// At once, from what is at hand.
    Now(fn(&Parts, &Asked) -> Answer),
    /// After waiting for a thread of the listener's that reads files.
    File(fn(Arc<Parts>, Asked) -> Answering),
    /// On the control plane's runtime.
    Control(fn(Arc<Parts>, Asked) -> Answering),
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Route {
    /// `GET` answers `HEAD` too.
    pub(super) method: Method,
    /// The path; the last `{…}` stands for all that follows, one before it for a part between slashes.
    pub(super) path: &'static str,
    /// What the caller must have.
    pub(super) right: Right,
    /// Bytes of the body that it takes, at most, packed and unpacked; 0: it takes none.
    pub(super) body_max: usize,
    /// Who answers.
    pub(super) handler: Handler,
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Answered on the control plane's runtime.
macro_rules! control {
    ($handler:path) => {
        Handler::Control(|parts, asked| Box::pin($handler(parts, asked)))
    };
}

/// Everything that is here. Of paths that fit the first one counts.
pub(super) static ROUTES: [Route; 27] = [
    get("/livez", Right::Open, Handler::Now(system::livez)),
    get("/readyz", Right::Open, Handler::Now(system::readyz)),
    get("/metrics", Right::View, Handler::Now(system::metrics)),
    get("/checkpoint", Right::Audit, Handler::Now(tiles::checkpoint)),
    get("/tile/entries/{index}", Right::Audit, Handler::File(|parts, asked| Box::pin(tiles::tile(parts, asked)))),
    get("/tile/{level}/{index}", Right::Audit, Handler::File(|parts, asked| Box::pin(tiles::tile(parts, asked)))),
    get("/api/v1/openapi.json", Right::View, Handler::Now(system::openapi)),
    get("/api/v1/status", Right::View, Handler::Now(system::status)),
    get("/api/v1/backends", Right::View, Handler::Now(backends::get)),
    get("/api/v1/traffic", Right::View, Handler::Now(traffic::get)),
    takes(Method::PUT, "/api/v1/traffic", Right::Operate, 16 * KIB, Handler::Now(traffic::put)),
    takes(Method::POST, "/api/v1/lineage", Right::Record, 4 * MIB, control!(lineage::event)),
    takes(Method::POST, "/api/v1/lineage/batch", Right::Record, 16 * MIB, control!(lineage::batch)),
    takes(Method::POST, "/api/v1/facts", Right::Record, 16 * MIB, control!(lineage::facts)),
    takes(Method::POST, "/api/v1/webhooks/mlflow", Right::Signed, 256 * KIB, Handler::Now(webhook::mlflow)),
    get("/api/v1/nodes", Right::View, control!(lineage::nodes)),
    get("/api/v1/nodes/{id}", Right::View, control!(lineage::node)),
    get("/api/v1/upstream/{id}", Right::View, control!(lineage::upstream)),
    get("/api/v1/downstream/{id}", Right::View, control!(lineage::downstream)),
    get("/api/v1/diff", Right::View, control!(lineage::diff)),
    get("/api/v1/impact/{id}", Right::Audit, control!(lineage::impact)),
    get("/api/v1/prediction/{id}", Right::Audit, control!(lineage::prediction)),
    get("/api/v1/reproducible/{id}", Right::View, control!(lineage::reproducible)),
    get("/api/v1/required/{id}", Right::View, control!(lineage::required)),
    get("/api/v1/completeness", Right::View, control!(lineage::completeness)),
    get("/api/v1/untracked", Right::Audit, control!(lineage::untracked)),
    get("/api/v1/resolve", Right::View, control!(lineage::resolve)),
];

const fn get(path: &'static str, right: Right, handler: Handler) -> Route {
    Route { method: Method::GET, path, right, body_max: 0, handler }
}

const fn takes(method: Method, path: &'static str, right: Right, body_max: usize, handler: Handler) -> Route {
    Route { method, path, right, body_max, handler }
}

impl Route {
    /// Whether it answers this method.
    pub(super) fn answers(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }

    /// Whether the access log is told: every change, and every read of the ledger.
    pub(super) fn is_logged(&self) -> bool {
        self.is_write() || self.right == Right::Audit
    }

    /// Whether it changes something.
    pub(super) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// What stands in the place of the last `{…}`, where the path fits; an empty text where there is no such place.
    pub(super) fn fit<'p>(&self, path: &'p str) -> Option<&'p str> {
        let parts = self.path.split('/').count();
        let mut given = path.splitn(parts, '/');
        let mut last = "";
        for wanted in self.path.split('/') {
            let part = given.next()?;
            if wanted.starts_with('{') {
                if part.is_empty() {
                    return None;
                }
                last = part;
            } else if part != wanted {
                return None;
            }
        }
        Some(if self.path.ends_with('}') { last } else { "" })
    }
}

/// Every method that a path answers; empty where nothing is there.
pub(super) fn methods(path: &str) -> Vec<&'static str> {
    let mut methods = Vec::new();
    for route in ROUTES.iter().filter(|route| route.fit(path).is_some()) {
        methods.push(route.method.as_str());
        methods.extend((route.method == Method::GET).then_some("HEAD"));
    }
    methods.dedup();
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_they_say() {
        let fit = |pattern: &'static str, path: &'static str| {
            get(pattern, Right::View, Handler::Now(system::livez)).fit(path)
        };
        assert_eq!(fit("/livez", "/livez"), Some(""));
        assert_eq!(fit("/livez", "/livez/"), None);
        assert_eq!(fit("/livez", "/"), None);
        assert_eq!(fit("/tile/{level}/{index}", "/tile/0/x001/000"), Some("x001/000"));
        assert_eq!(fit("/tile/{level}/{index}", "/tile//000"), None);
        assert_eq!(fit("/nodes/{identity}", "/nodes/model:a@1"), Some("model:a@1"));
        assert_eq!(fit("/nodes/{identity}", "/nodes/"), None);
        assert_eq!(fit("/nodes/{identity}", "/nodes"), None);
        assert_eq!(methods("/api/v1/traffic"), ["GET", "HEAD", "PUT"]);
        assert!(methods("/nothing").is_empty());
    }
}
