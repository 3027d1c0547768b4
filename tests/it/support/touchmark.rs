//! A whole Touchmark in the test's own process: real sockets on free ports, a ledger in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use touchmark::admin::TokenConfig;
use touchmark::app::App;
use touchmark::config::Config;
use touchmark::proxy::BackendConfig;
use touchmark::telemetry::Metrics;
use touchmark::units::Period;

use super::http2::Http2Client;
use super::ledger::{Books, Entry, Ledger, sha256};
use super::message::Message;
use super::model_server::ModelServer;
use super::wire::Wire;
use super::{eventually, soon};

/// A folder that goes away with the test.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("touchmark-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Touchmark to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    pub config: Config,
    pub folder: Arc<Folder>,
}

/// The model that most tests declare.
pub(crate) fn fraud() -> Value {
    json!({"name": "fraud", "version": "v1.2.3", "datasets": ["transactions@v2.0"]})
}

/// A backend, as the configuration has it.
pub(crate) fn backend(name: &str, at: SocketAddr, models: &Value) -> BackendConfig {
    let value = json!({"name": name, "url": format!("http://{at}"), "models": models});
    serde_json::from_value(value).unwrap()
}

impl Setup {
    /// One backend that serves [`fraud`], one worker, and no patience at the end: what a test leaves open is cut.
    pub(crate) fn new(model: &ModelServer) -> Self {
        Self::with_models(model, &json!([fraud()]))
    }

    /// One backend that serves these models.
    pub(crate) fn with_models(model: &ModelServer, models: &Value) -> Self {
        let config = Config { backends: vec![backend("champion", model.address(), models)], ..Config::default() };
        Self::from(config, Arc::new(Folder::new()))
    }

    /// A given configuration, at free ports and in a given folder.
    pub(crate) fn from(mut config: Config, folder: Arc<Folder>) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        config.proxy.listen = free;
        config.admin.listen = free;
        config.proxy.workers = Some(1);
        config.deployment.name = String::from("fraud-test");
        config.deployment.instance = Some("it".to_owned());
        config.ledger.dir = PathBuf::from(folder.path());
        config.shutdown.grace = Period::secs(0);
        Self { config, folder }
    }

    /// Changes the configuration.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub(crate) fn start(self) -> Touchmark {
        let metrics = Arc::new(Metrics::new());
        let app = App::start(self.config, &metrics).unwrap();
        Touchmark {
            address: app.listening_on(),
            admin: app.admin_on(),
            ledger: Ledger::at(app.config().ledger.dir.clone()),
            app: Some(app),
            checked: true,
            metrics,
            folder: self.folder,
        }
    }
}

/// A running Touchmark. Its drop stops it and checks its books.
#[derive(Debug)]
pub(crate) struct Touchmark {
    app: Option<App>,
    /// Where predictions are served.
    pub address: SocketAddr,
    /// Where the admin listener is.
    pub admin: SocketAddr,
    /// Whether its books are checked at the end.
    checked: bool,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// Its ledger.
    pub ledger: Ledger,
    /// Where its data lie.
    pub folder: Arc<Folder>,
}

impl Touchmark {
    /// One backend that serves [`fraud`].
    pub(crate) fn before(model: &ModelServer) -> Self {
        Setup::new(model).start()
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    pub(crate) async fn http2(&self) -> Http2Client {
        Http2Client::connect(self.address).await
    }

    /// Sends a request on a connection of its own and reads the answer.
    pub(crate) async fn call(&self, request: impl AsRef<[u8]>) -> Message {
        let mut client = self.connect().await;
        client.send(request).await;
        client.answer().await
    }

    /// `GET`s a path of the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Message {
        let mut client = Wire::connect(self.admin).await;
        client.send(super::message::get(path, &[])).await;
        client.answer().await
    }

    /// Waits until so many predictions have ended and none is under way, and checks the books. Their entries, in order.
    pub(crate) async fn predictions(&self, count: usize) -> Vec<Entry> {
        let wanted = u64::try_from(count).unwrap();
        eventually(&format!("{count} predictions at rest"), || {
            let books = Books::read(&self.metrics);
            (books.predictions >= wanted && books.inflight == 0).then_some(())
        })
        .await;
        let books = Books::read(&self.metrics);
        assert_eq!(books.predictions, wanted, "{books:?}");
        books.balance();
        self.ledger.predictions(&books)
    }

    /// The one prediction that there is, once it has ended.
    pub(crate) async fn prediction(&self) -> Entry {
        self.predictions(1).await.pop().expect("the prediction has an entry")
    }

    /// The running application.
    pub(crate) fn app(&mut self) -> &mut App {
        self.app.as_mut().expect("it runs")
    }

    /// Stops without looking at the books: they are not those of one process.
    pub(crate) fn forget(mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
        self.checked = false;
    }

    /// Stops in order. Whether everything under way ended by itself.
    pub(crate) async fn stop(&mut self) -> bool {
        let app = self.app.take().expect("it runs");
        let whole = soon("an orderly stop", tokio::task::spawn_blocking(|| app.stop())).await.unwrap();
        self.check();
        self.checked = false;
        whole
    }

    fn check(&self) {
        let books = Books::read(&self.metrics);
        books.balance();
        self.ledger.predictions(&books);
    }
}

impl Drop for Touchmark {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
        if self.checked && !std::thread::panicking() {
            self.check();
        }
    }
}

/// A token of the admin listener, which is what `name` says.
pub(crate) fn token(name: &str, role: &str) -> TokenConfig {
    let digest = sha256(name.as_bytes());
    serde_json::from_value(json!({"name": format!("the {role}"), "role": role, "sha256": digest})).unwrap()
}
