//! `Upgrade` (RFC 9110, section 7.8): what is switched to passes as it is, ends as it ends, and is recorded where it is
//! a prediction.

/// How a tunnel ends, and who is told.
mod ends;
/// What goes through one, and at what pace.
mod flow;
/// What is offered, taken and refused.
mod handshake;
/// What is kept of one that is a prediction.
mod records;

use serde_json::json;

use crate::support::message::{Head, get, head};
use crate::support::model_server::ModelServer;
use crate::support::touchmark::{Setup, Touchmark};
use crate::support::wire::Wire;

/// A path that is no prediction.
const PLAIN: &str = "/events";
/// A path that a pattern says is one, of the model `fraud`.
const SCORED: &str = "/stream/fraud";
/// A protocol that nobody has heard of.
const DEMO: &str = "demo/1";

/// A Touchmark for which `/stream/{model}` is a prediction.
fn scoring(model: &ModelServer) -> Setup {
    Setup::new(model).with(|config| {
        let pattern = serde_json::from_value(json!({"path": "/stream/{model}"}));
        config.proxy.patterns.push(pattern.unwrap());
    })
}

/// A `GET` that asks for another protocol.
fn ask(path: &str) -> Vec<u8> {
    get(path, &[("connection", "keep-alive, Upgrade"), ("upgrade", DEMO)])
}

/// The answer that switches to a protocol.
fn switching(protocol: &str) -> Vec<u8> {
    head("HTTP/1.1 101 Switching Protocols", &[("connection", "upgrade"), ("upgrade", protocol)])
}

/// A tunnel's client and model server, both switched.
async fn opened(touchmark: &Touchmark, model: &ModelServer, path: &str) -> (Wire, Wire, Head) {
    let mut client = touchmark.connect().await;
    client.send(ask(path)).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    upstream.send(switching(DEMO)).await;
    let head = client.head().await;
    assert_eq!(head.status(), 101);
    (client, upstream, head)
}
