//! The load: clients that go on until the process is gone, and what they saw.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::support::ledger::sha256;
use crate::support::message::{CHAT, INFER, LAST_CHUNK, OUTPUT, chunk, ok, post_with, streaming};
use crate::support::model_server::ModelServer;
use crate::support::soon;
use crate::support::wire::Wire;

/// Clients that send at once.
const CLIENTS: usize = 2;
/// Calls of each. Every second one streams; together they fill more than a segment.
pub(super) const CALLS: usize = 220;

/// What clients have seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Whole held answers: the prediction's id and its input's hash.
    pub held: Vec<(String, String)>,
    /// Streamed answers whose head came.
    pub streamed: Vec<String>,
    /// Those of them whose end came.
    pub ended: Vec<String>,
    /// Answers by 503.
    pub refused: usize,
    /// Answers that did not come, or not whole.
    pub cut: usize,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.held.extend(other.held);
        self.streamed.extend(other.streamed);
        self.ended.extend(other.ended);
        self.refused += other.refused;
        self.cut += other.cut;
    }
}

/// So many calls of each client, or until nobody listens any more.
pub(super) async fn load(to: SocketAddr, calls: usize) -> Seen {
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(call(to, client, calls))).collect();
    let mut seen = Seen::default();
    for client in clients {
        seen.add(soon("a client's end", client).await.unwrap());
    }
    seen
}

async fn call(to: SocketAddr, client: usize, calls: usize) -> Seen {
    let mut seen = Seen::default();
    let mut wire = None;
    let id = "r".repeat(128);
    for number in 0..calls {
        let mut connected = match wire.take() {
            Some(wire) => wire,
            // Refused where the process is gone.
            None => match TcpStream::connect(to).await {
                Ok(socket) => Wire::new(socket),
                Err(_) => break,
            },
        };
        let streams = number % 2 == 1;
        let input = format!(r#"{{"client":{client},"number":{number}}}"#);
        connected.send(post_with(if streams { CHAT } else { INFER }, &[("x-request-id", &id)], &input)).await;
        let Some(head) = connected.next_head().await else {
            seen.cut += 1;
            continue;
        };
        let status = head.status();
        assert!(matches!(status, 200 | 503), "{head:?}");
        let id = head.all("x-lineage-trace-id").first().map(|id| (*id).to_owned());
        if status == 200 && streams {
            seen.streamed.extend(id.clone());
        }
        if !connected.rest_of(head).await.whole {
            seen.cut += 1;
            continue;
        }
        match (status, streams) {
            (200, true) => seen.ended.extend(id),
            (200, false) => seen.held.push((id.unwrap(), sha256(input.as_bytes()))),
            _ => seen.refused += 1,
        }
        wire = Some(connected);
    }
    seen
}

pub(super) async fn model_server() -> ModelServer {
    ModelServer::serving(|request| {
        if request.head.target() == CHAT {
            [streaming(&[]), chunk("data: {}\n\n"), LAST_CHUNK.to_vec()].concat()
        } else {
            ok(OUTPUT)
        }
    })
    .await
}
