//! HTTP/2 by prior knowledge, frame by frame where it matters: client and model server on the `h2` crate.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::soon;

/// Requests that wait for the test to take them.
const WAITING_MAX: usize = 64;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Http2Client {
    send: SendRequest<Bytes>,
    /// The connection's own task and how it ended.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Http2Answer {
    pub head: http::response::Parts,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Http2Answer {
    /// Every value of a field of the head.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.head.headers, name)
    }

    /// Every value of a trailer.
    pub(crate) fn trailer(&self, name: &str) -> Vec<&str> {
        all(&self.trailers, name)
    }
}

/// Every value of a field.
pub(crate) fn all<'a>(fields: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    fields.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

impl Http2Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        Self::connect_with(to, &h2::client::Builder::new()).await
    }

    pub(crate) async fn connect_with(to: SocketAddr, builder: &h2::client::Builder) -> Self {
        let socket = TcpStream::connect(to).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (send, connection) = soon("a handshake", builder.handshake(socket)).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// A place for one more stream, or how the connection ended.
    pub(crate) async fn ready(&self) -> Result<SendRequest<Bytes>, h2::Error> {
        self.send.clone().ready().await
    }

    /// Opens a stream. `end` where there is no body.
    pub(crate) async fn open(&mut self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = soon("a free stream", self.send.clone().ready()).await.unwrap();
        ready.send_request(request, end).unwrap()
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) async fn call(&mut self, request: Request<()>, body: impl AsRef<[u8]>) -> Http2Answer {
        let (answer, mut stream) = self.open(request, body.as_ref().is_empty()).await;
        if !body.as_ref().is_empty() {
            stream.send_data(Bytes::copy_from_slice(body.as_ref()), true).unwrap();
        }
        whole(answer).await.unwrap()
    }
}

/// Reads an answer to its end, or to the error that ends it.
pub(crate) async fn whole(answer: ResponseFuture) -> Result<Http2Answer, h2::Error> {
    let (head, mut stream) = soon("an answer's head", answer).await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = data(&mut stream).await? {
        body.extend_from_slice(&data);
    }
    let trailers = soon("an answer's trailers", stream.trailers()).await?.unwrap_or_default();
    Ok(Http2Answer { head, body, trailers })
}

/// The next piece of a body, and room for as much again.
pub(crate) async fn data(stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = soon("more of a body", stream.data()).await.transpose()? else { return Ok(None) };
    stream.flow_control().release_capacity(data.len())?;
    Ok(Some(data))
}

/// Reads so many bytes of a body.
pub(crate) async fn exactly(stream: &mut RecvStream, bytes: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < bytes {
        read.extend_from_slice(&data(stream).await.unwrap().expect("more of a body"));
    }
    assert_eq!(read.len(), bytes);
    read
}

/// A `POST` to a path.
pub(crate) fn post(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("http://models.test{path}")).version(http::Version::HTTP_2);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// A gRPC call.
pub(crate) fn grpc(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut all = vec![("content-type", "application/grpc"), ("te", "trailers")];
    all.extend_from_slice(fields);
    post(path, &all)
}

/// The head of a gRPC answer.
pub(crate) fn grpc_answer(fields: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::builder().header("content-type", "application/grpc");
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap()
}

/// Trailers that say `grpc-status`, and more.
pub(crate) fn grpc_status(status: u16, fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.into());
    for (name, value) in fields {
        trailers.append(*name, value.parse().unwrap());
    }
    trailers
}

/// A model server's end of a connection.
#[derive(Debug)]
pub(crate) struct Http2Server {
    calls: mpsc::Receiver<Call>,
    connection: JoinHandle<()>,
}

/// A call as the model server sees it.
#[derive(Debug)]
pub(crate) struct Call {
    pub head: http::request::Parts,
    pub body: RecvStream,
    pub answer: SendResponse<Bytes>,
}

impl Http2Server {
    pub(crate) async fn over(socket: TcpStream) -> Self {
        Self::try_over(socket).await.unwrap()
    }

    /// The same, where the client may speak something else.
    pub(crate) async fn try_over(socket: TcpStream) -> Result<Self, h2::Error> {
        socket.set_nodelay(true).unwrap();
        let mut connection = soon("a handshake", h2::server::handshake(socket)).await?;
        let (sender, calls) = mpsc::channel(WAITING_MAX);
        let connection = tokio::spawn(async move {
            while let Some(Ok((request, answer))) = connection.accept().await {
                let (head, body) = request.into_parts();
                let _ = sender.try_send(Call { head, body, answer });
            }
        });
        Ok(Self { calls, connection })
    }

    /// The next call.
    pub(crate) async fn call(&mut self) -> Call {
        soon("a call to the model server", self.calls.recv()).await.expect("the connection is open")
    }

    /// The next call; `None` once the connection has ended. For a server that waits for whoever comes.
    pub(crate) async fn next_call(&mut self) -> Option<Call> {
        self.calls.recv().await
    }

    /// Drops the connection.
    pub(crate) async fn break_off(self) {
        self.connection.abort();
        let _ = self.connection.await;
    }
}

impl Call {
    /// Reads the request's body to its end.
    pub(crate) async fn input(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(data) = data(&mut self.body).await.unwrap() {
            body.extend_from_slice(&data);
        }
        body
    }

    /// Answers with messages and a status.
    pub(crate) fn answer_grpc(mut self, messages: &[u8], trailers: HeaderMap) {
        let mut stream = self.answer.send_response(grpc_answer(&[]), false).unwrap();
        stream.send_data(Bytes::copy_from_slice(messages), false).unwrap();
        stream.send_trailers(trailers).unwrap();
    }
}
