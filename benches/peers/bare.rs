//! A proxy over hyper that does as little as one can, as a child process of this same binary: what the library that
//! Touchmark stands on costs by itself, and with both bodies hashed and a record written.
//!
//! One thread, connections to the server behind kept, bodies held, three fields added to every answer. It has no limits,
//! no timeouts and no manners: it is a yardstick and no peer that anybody should run.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use touchmark::sha256::Sha256;

/// The argument that makes the bench this proxy.
pub(crate) const COMMAND: &str = "bare";

/// Bytes of a record: those of an entry here.
const RECORD_BYTES: usize = 850;
/// What every answer carries.
const STAMPS: [(&str, &str); 3] =
    [("x-model-name", "fraud"), ("x-model-version", "v1.2.3"), ("x-dataset-version", "v2.0")];

type Sender = client::conn::http1::SendRequest<Full<Bytes>>;

/// The proxy.
struct Bare {
    model: SocketAddr,
    idle: Mutex<Vec<Sender>>,
    /// Where records go, and the end of those so far.
    records: Option<(File, AtomicU64)>,
}

/// Serves until it is ended: from an address, to an address, with records in a file where one is named.
pub(crate) fn serve(mut words: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut address = || words.next().context("an address is missing")?.parse::<SocketAddr>().context("no address");
    let (listen, model) = (address()?, address()?);
    let records = words.next().map(|file| File::create(Path::new(&file))).transpose()?;
    let records = records.map(|file| (file, AtomicU64::new(0)));
    let bare = Arc::new(Bare { model, idle: Mutex::default(), records });
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async move {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let bare = Arc::clone(&bare);
            let service = service_fn(move |request| Arc::clone(&bare).call(request));
            tokio::spawn(server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    })
}

impl Bare {
    async fn call(self: Arc<Self>, request: Request<Incoming>) -> anyhow::Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let input = body.collect().await?.to_bytes();
        let mut sender = self.sender().await?;
        let (mut answer, body) =
            sender.send_request(Request::from_parts(head, Full::new(input.clone()))).await?.into_parts();
        let output = body.collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        self.record(&input, &output)?;
        for (name, value) in STAMPS {
            answer.headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(Response::from_parts(answer, Full::new(output)))
    }

    async fn sender(&self) -> anyhow::Result<Sender> {
        while let Some(mut sender) = self.idle() {
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
        let stream = TcpStream::connect(self.model).await?;
        stream.set_nodelay(true)?;
        let (sender, conn) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(conn);
        Ok(sender)
    }

    fn idle(&self) -> Option<Sender> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Hashes both bodies and writes a record before the answer leaves.
    fn record(&self, input: &[u8], output: &[u8]) -> anyhow::Result<()> {
        let Some((file, end)) = &self.records else { return Ok(()) };
        let mut record = [b' '; RECORD_BYTES];
        for (body, place) in [input, output].into_iter().zip(record.as_chunks_mut().0) {
            *place = Sha256::digest(body);
        }
        let at = end.fetch_add(RECORD_BYTES as u64, Ordering::Relaxed);
        Ok(file.write_all_at(&record, at)?)
    }
}
