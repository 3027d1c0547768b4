//! Backends that go while calls are under way: nothing is cut, and nothing stays open.

use crate::support::backends::{answers, from_file, version, write};
use crate::support::grpc::{MODEL_INFER, framed};
use crate::support::http2::{grpc, grpc_status, whole};
use crate::support::message::{infer, ok};
use crate::support::model_server::ModelServer;
use crate::support::soon;
use crate::support::touchmark::{Setup, Touchmark, backend};
use crate::support::wire::Wire;

/// A client's call under way at a model server that the test plays.
async fn under_way(touchmark: &Touchmark, model: &ModelServer) -> (Wire, Wire) {
    let mut client = touchmark.connect().await;
    client.send(infer()).await;
    let mut upstream = model.accept().await;
    upstream.request().await;
    (client, upstream)
}

#[tokio::test]
async fn a_backend_that_goes_is_drained() {
    for moved_by in ["removal", "url", "weight"] {
        let (a, b) = (ModelServer::listen().await, ModelServer::answering(ok("\"b\"")).await);
        let setup = Setup::new(&a).with(|config| {
            config.backends =
                vec![backend("a", a.address(), &version("v1")), backend("b", b.address(), &version("v1"))];
            config.backends[1].weight = 0;
            // Nothing closes by itself.
            config.proxy.timeouts.upstream_idle = touchmark::units::Period::secs(3600);
        });
        let (mut touchmark, mut config, path) = from_file(setup);
        let (mut idle_client, mut idle) = under_way(&touchmark, &a).await;
        let (mut client, mut busy) = under_way(&touchmark, &a).await;
        idle.send(ok("\"a\"")).await;
        idle_client.answer().await;
        match moved_by {
            "removal" => drop(config.backends.remove(0)),
            "url" => config.backends[0].url = format!("http://{}", b.address()),
            _ => config.backends[0].weight = 0,
        }
        if let Some(last) = config.backends.last_mut() {
            last.weight = 1;
        }
        touchmark.app().reload(&write(&path, &config)).unwrap();
        let (rest, _) = soon("the idle connection's end", idle.read_to_end()).await;
        assert!(rest.is_empty(), "{moved_by}");
        assert!(answers(&touchmark, 8).await.iter().all(|said| said == "\"b\""), "{moved_by}: no new call goes");
        busy.send(ok("\"late\"")).await;
        assert_eq!(client.answer().await.text(), "\"late\"", "{moved_by}: what is under way ends");
        let (rest, _) = soon("the busy connection's end", busy.read_to_end()).await;
        assert!(rest.is_empty(), "{moved_by}: and its connection with it");
        for entry in touchmark.predictions(10).await {
            entry.ended("complete", 200);
        }
    }
}

#[tokio::test]
async fn streams_over_http2_end_before_their_connection() {
    let (a, b) = (ModelServer::listen().await, ModelServer::answering(ok("{}")).await);
    let setup =
        Setup::new(&a).with(|config| config.proxy.timeouts.upstream_idle = touchmark::units::Period::secs(3600));
    let (mut touchmark, mut config, path) = from_file(setup);
    let mut client = touchmark.http2().await;
    let (answer, _sending) = {
        let (answer, mut sending) = client.open(grpc(MODEL_INFER, &[]), false).await;
        sending.send_data(framed(b"x").into(), true).unwrap();
        (answer, sending)
    };
    let mut server = a.accept_http2().await;
    let mut call = server.call().await;
    call.input().await;
    config.backends[0].url = format!("http://{}", b.address());
    touchmark.app().reload(&write(&path, &config)).unwrap();
    call.answer_grpc(&framed(b"late"), grpc_status(0, &[]));
    let answer = whole(answer).await.unwrap();
    assert_eq!((answer.body.as_slice(), answer.trailer("grpc-status")), (framed(b"late").as_slice(), vec!["0"]));
    assert!(soon("the connection's end", server.next_call()).await.is_none());
    touchmark.prediction().await.ended("complete", 200);
}
