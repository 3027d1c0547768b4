//! The model server behind every peer for gRPC: a child process of this same binary.
//!
//! It answers each call with the same message once the request's has come whole. It ends when its standard input
//! does, so it never outlives the bench.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;

use anyhow::Context as _;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::message::{ANSWER, STREAM_WINDOW_BYTES, WINDOW_BYTES};

/// The argument that makes the bench this server.
pub(crate) const COMMAND: &str = "grpc-backend";
/// Streams of one connection.
const STREAMS_MAX: u32 = 1024;

/// Serves until standard input ends; the first line on standard output is the port.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tell, mut over) = oneshot::channel();
    let watch = move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tell.send(());
    };
    std::thread::Builder::new().name("stdin".to_owned()).spawn(watch).context("watching standard input")?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("binding the gRPC backend")?;
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{}", listener.local_addr()?.port())?;
        stdout.flush()?;
        loop {
            tokio::select! {
                _ = &mut over => return Ok(()),
                accepted = listener.accept() => drop(tokio::spawn(connection(accepted?.0))),
            }
        }
    })
}

/// What breaks a connection ends it; its client says so.
async fn connection(socket: TcpStream) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .handshake(socket)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        tokio::spawn(answer(request, respond));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> anyhow::Result<()> {
    let mut body = request.into_body();
    while let Some(chunk) = body.data().await {
        let bytes = chunk?.len();
        body.flow_control().release_capacity(bytes)?;
    }
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut answer = respond.send_response(head, false)?;
    answer.send_data(ANSWER.clone(), false)?;
    answer.send_trailers(HeaderMap::from_iter([("grpc-status".parse()?, HeaderValue::from_static("0"))]))?;
    Ok(())
}
