//! Imports from a server that answers as a real one was recorded (`tests/real/mlflow_registry.py`), or misbehaves.

mod import;
mod server;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Answers by what is asked: status and body.
pub(super) type Answers = BTreeMap<String, (u16, String)>;

/// What was recorded before or after the champion moved, by what stands behind `/api/2.0/mlflow/`.
pub(super) fn recorded(when: &str) -> Answers {
    let text = match when {
        "before" => include_str!("../fixtures/before.json"),
        _ => include_str!("../fixtures/after.json"),
    };
    serde_json::from_str(text).unwrap()
}

/// A server on a port of its own; it ends with the test.
struct Registry {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn new(answers: Answers) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (answers, asked) = (Arc::new(Mutex::new(answers)), Arc::new(Mutex::new(Vec::new())));
        let (theirs, heads) = (Arc::clone(&answers), Arc::clone(&asked));
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (answers, asked) = (Arc::clone(&theirs), Arc::clone(&heads));
                std::thread::spawn(move || while exchange(&socket, &answers, &asked).is_some() {});
            }
        });
        Self { address, answers, asked }
    }

    fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    fn set(&self, target: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(target.to_owned(), (status, body.to_owned()));
    }

    /// The heads of what was asked since the last look.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

/// Answers one request; `None` at the end of the connection.
fn exchange(mut socket: &TcpStream, answers: &Mutex<Answers>, asked: &Mutex<Vec<String>>) -> Option<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.split(' ').nth(1)?.strip_prefix("/api/2.0/mlflow/").unwrap_or("?").to_owned();
    asked.lock().unwrap().push(head);
    let found = answers.lock().unwrap().get(&target).cloned();
    let (status, body) = found.unwrap_or_else(|| (404, format!("no page {target}")));
    let head =
        format!("HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).ok()
}
