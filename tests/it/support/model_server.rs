//! A model server that the test plays itself, byte by byte, or that answers by a rule and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http2::Http2Server;
use super::message::Message;
use super::soon;
use super::wire::{Ended, Wire};

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
    /// Connections.
    pub connections: usize,
    /// Requests, in the order in which they came.
    pub requests: Vec<Message>,
}

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
                received.lock().unwrap().connections += 1;
                let (received, answer) = (Arc::clone(&received), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut wire = Wire::new(socket).without_patience();
                    while let Some(request) = wire.next_request().await {
                        let answer = answer(&request);
                        received.lock().unwrap().requests.push(request);
                        wire.send(answer).await;
                    }
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
        let (socket, _) = soon("a connection to the model server", self.listener.accept()).await.unwrap();
        Http2Server::over(socket).await
    }

    /// What a serving model server was sent so far.
    pub(crate) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
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
