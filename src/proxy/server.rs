//! The worker threads: one single-threaded runtime each, so that a request never changes threads.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, watch};

use super::config::Config;
use super::listener::{Listener, Phase};
use super::worker::{Shared, Worker};

/// Workers by default, at most: beyond that the model server wants the cores.
const WORKERS_DEFAULT_MAX: usize = 4;

/// The running data path.
#[derive(Debug)]
pub struct Server {
    phase: watch::Sender<Phase>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts the workers on a socket that is bound already.
    ///
    /// # Errors
    /// Where a thread or a runtime cannot be made.
    pub fn start(config: &Config, socket: &TcpListener, shared: &Shared) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = config.workers.unwrap_or(cores.min(WORKERS_DEFAULT_MAX)).max(1);
        let places = Arc::new(Semaphore::new(config.connections.min(Semaphore::MAX_PERMITS)));
        let (phase, watched) = watch::channel(Phase::Serving);
        let threads = (0..workers)
            .map(|number| {
                let (config, shared) = (config.clone(), shared.clone());
                let (socket, places, phase) = (socket.try_clone()?, Arc::clone(&places), watched.clone());
                let work = move || work(&config, shared, socket, places, phase);
                thread::Builder::new().name(format!("proxy-{number}")).spawn(work)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { phase, threads })
    }

    /// Tells the workers how far the process is on its way out.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Whether every worker has come to its end.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the workers. After [`Phase::Stopped`] they end at once.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

fn work(config: &Config, shared: Shared, socket: TcpListener, places: Arc<Semaphore>, phase: watch::Receiver<Phase>) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a worker's runtime could not be made"),
    };
    let listener = Listener::new(config, Rc::new(Worker::new(shared)), places, phase);
    if let Err(error) = runtime.block_on(listener.run(socket)) {
        tracing::error!(%error, "a worker gave up");
    }
}
