//! A model server that the test plays itself, byte by byte, or that answers by a rule and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::http2::Http2Server;
use super::message::{Message, get, ok};
use super::wire::{Ended, Wire};
use super::{eventually, soon};

/// A listening model server. Nobody accepts unless told to.
#[derive(Debug)]
pub(crate) struct ModelServer {
    listener: Arc<TcpListener>,
    received: Arc<Mutex<Received>>,
    serving: Option<JoinHandle<()>>,
}

/// What a serving model server was sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// Connections over which requests came.
    pub connections: usize,
    /// Whole requests, in the order in which they came.
    pub requests: Vec<Message>,
    /// Requests that broke off.
    pub cut: Vec<Message>,
    /// Connections that have not ended.
    open: usize,
    /// Connections over which something came that no strict reader takes.
    broken: usize,
}

/// The target of the request by which a test finds out that everything before it has arrived.
const SENTINEL: &str = "/sentinel";

impl ModelServer {
    /// Listens on a free port.
    pub(crate) async fn listen() -> Self {
        let listener = Arc::new(TcpListener::bind(("127.0.0.1", 0)).await.unwrap());
        Self { listener, received: Arc::default(), serving: None }
    }

    /// Answers every request by a rule, each connection until its client ends it.
    pub(crate) async fn serving(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let mut server = Self::listen().await;
        let (listener, received, answer) =
            (Arc::clone(&server.listener), Arc::clone(&server.received), Arc::new(answer));
        server.serving = Some(tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                received.lock().unwrap().open += 1;
                let serving = tokio::spawn(serve(socket, Arc::clone(&received), Arc::clone(&answer)));
                let received = Arc::clone(&received);
                tokio::spawn(async move {
                    let ended = serving.await;
                    let mut received = received.lock().unwrap();
                    received.open -= 1;
                    // What is no request fails the reader.
                    received.broken += usize::from(ended.is_err());
                });
            }
        }));
        server
    }

    /// Answers every request with the same bytes.
    pub(crate) async fn answering(answer: impl AsRef<[u8]>) -> Self {
        let answer = answer.as_ref().to_vec();
        Self::serving(move |_| answer.clone()).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Wire {
        Wire::new(soon("a connection to the model server", self.listener.accept()).await.unwrap().0)
    }

    /// The next connection, spoken as HTTP/2.
    pub(crate) async fn accept_http2(&self) -> Http2Server {
        Http2Server::over(self.accept_any().await).await
    }

    /// The next connection, whatever is spoken over it.
    pub(crate) async fn accept_any(&self) -> TcpStream {
        soon("a connection to the model server", self.listener.accept()).await.unwrap().0
    }

    /// What a serving model server was sent so far.
    pub(crate) fn received(&self) -> Received {
        let received = self.received.lock().unwrap().clone();
        assert_eq!(received.broken, 0, "the model server was sent what is no request: {received:?}");
        received
    }

    /// Everything that a serving model server was sent, once nobody sends any more: every connection has ended.
    pub(crate) async fn everything(&self) -> Received {
        // Connections are accepted in their order: after this one, none from before is waiting.
        let mut sentinel = Wire::connect(self.address()).await;
        sentinel.send(get(SENTINEL, &[])).await;
        sentinel.answer().await;
        drop(sentinel);
        eventually("the ends of all connections", || (self.received.lock().unwrap().open == 0).then_some(())).await;
        self.received()
    }

    /// The only request that a serving model server was sent.
    pub(crate) fn request(&self) -> Message {
        let mut received = self.received();
        assert_eq!(received.requests.len(), 1, "{received:?}");
        received.requests.remove(0)
    }

    /// Stops listening: connections are refused from here on.
    pub(crate) async fn close(mut self) -> SocketAddr {
        let address = self.address();
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
        address
    }
}

async fn serve<A: Fn(&Message) -> Vec<u8>>(socket: TcpStream, received: Arc<Mutex<Received>>, answer: Arc<A>) {
    let mut wire = Wire::new(socket).without_patience();
    let mut counted = false;
    while let Some(request) = wire.next_message().await {
        if request.head.target() == SENTINEL {
            wire.send(ok("")).await;
            continue;
        }
        {
            let mut received = received.lock().unwrap();
            received.connections += usize::from(!std::mem::replace(&mut counted, true));
            if !request.whole {
                received.cut.push(request);
                return;
            }
            received.requests.push(request.clone());
        }
        wire.send(answer(&request)).await;
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// Waits until a connection to the model server ends without a further byte.
pub(crate) async fn ends(mut upstream: Wire) -> Ended {
    let (rest, ended) = upstream.read_to_end().await;
    assert!(rest.is_empty(), "the model server was sent {:?}", String::from_utf8_lossy(&rest));
    ended
}
