//! Connections that are brought to rest at any moment: nothing is lost or answered twice, none is closed for it.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet};

use super::body::{AnswerBody, Held};
use super::client::{ClientConn, ClientIo, ClientSocket, Order};
use super::config::Config;
use super::connection::Http;
use super::forward::LocalFuture;
use super::transport::Transport;

/// How long what must come is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a resting connection's part of its task, at most. A resting connection has hardly anything else.
const TASK_BYTES_MAX: usize = 512;

/// A client, and the connection that it is on.
struct Client {
    wire: TcpStream,
    conn: Rc<ClientConn>,
    serving: JoinHandle<()>,
}

impl Client {
    async fn connect() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wire = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let conn = ClientConn::new(peer, false, Instant::now(), false);
        let served = Rc::clone(&conn);
        let serving = tokio::task::spawn_local(async move {
            let http = Http::new(&Config::default());
            let socket = ClientSocket::new(Transport::Plain(stream));
            let io = ClientIo::new(socket.clone(), Rc::clone(&served));
            let serving = http.serve_http1(io, &socket, &served, || {
                let conn = Rc::clone(&served);
                service_fn(move |request| echo(&conn, request))
            });
            assert!(size_of_val(&serving) <= TASK_BYTES_MAX, "{}", size_of_val(&serving));
            serving.await;
        });
        Self { wire, conn, serving }
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The bodies of the next answers, so many.
    async fn answers(&mut self, count: usize) -> Vec<String> {
        let mut said = Vec::new();
        let mut answers = Vec::new();
        while answers.len() < count {
            let text = String::from_utf8_lossy(&said).into_owned();
            if let Some((answer, rest)) = split(&text) {
                answers.push(answer);
                said = rest.into();
                continue;
            }
            let read = within("an answer", self.wire.read_buf(&mut said)).await.unwrap();
            assert!(read > 0, "closed after {answers:?} and {text:?}");
        }
        assert!(said.is_empty(), "more than was asked for");
        answers
    }

    async fn ask(&mut self, body: &str) {
        self.say(request(body)).await;
        assert_eq!(self.answers(1).await, [body]);
    }

    /// Brings it to rest.
    async fn rest(&self) {
        until("it may rest", || self.conn.may_rest()).await;
        self.conn.give(Order::Rest);
        until("it rests", || !self.conn.may_rest()).await;
    }

    /// Ends with the connection, whose end the client must see.
    async fn ends(mut self) {
        let mut rest = Vec::new();
        within("the end", self.wire.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
        within("the task's end", self.serving).await.unwrap();
    }
}

/// Answers with what came.
fn echo(conn: &Rc<ClientConn>, request: Request<Incoming>) -> LocalFuture<Result<Response<AnswerBody>, Infallible>> {
    let exchange = conn.enter(request.version());
    Box::pin(async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        // It takes a moment.
        tokio::task::yield_now().await;
        Ok(Response::new(AnswerBody::held(Held { chunks: [body].into(), trailers: None, permit: None, exchange })))
    })
}

fn request(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The body of a whole answer, and what follows it.
fn split(said: &str) -> Option<(String, String)> {
    let (head, rest) = said.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200") && !head.contains("close"), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let (body, rest) = rest.split_at_checked(length)?;
    Some((body.to_owned(), rest.to_owned()))
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, wait).await else { panic!("waited in vain: {what}") };
    value
}

async fn until(what: &str, fact: impl Fn() -> bool) {
    within(what, async {
        while !fact() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Lets the connection's task see what came.
async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn it_rests_and_serves_again_many_times() {
    run(async {
        let mut client = Client::connect().await;
        for number in 0..100 {
            client.ask(&number.to_string()).await;
            client.rest().await;
        }
        client.say([request("1"), request("22"), request("333")].concat()).await;
        assert_eq!(client.answers(3).await, ["1", "22", "333"]);
    });
}

#[test]
fn what_has_begun_to_come_is_kept() {
    run(async {
        let whole = request("body");
        for at in [1, 10, whole.len() - 5] {
            let mut client = Client::connect().await;
            // The first head: nothing can be given back yet, and nothing is.
            client.say(&whole[..at]).await;
            turns(100).await;
            client.conn.give(Order::Rest);
            turns(100).await;
            client.say(&whole[at..]).await;
            assert_eq!(client.answers(1).await, ["body"]);
            // A later one, before the connection is told to rest.
            client.say(&whole[..at]).await;
            turns(100).await;
            client.rest().await;
            client.say(&whole[at..]).await;
            assert_eq!(client.answers(1).await, ["body"]);
            // And one that begins while it rests.
            client.rest().await;
            client.say(&whole[..at]).await;
            turns(100).await;
            client.say(&whole[at..]).await;
            assert_eq!(client.answers(1).await, ["body"]);
        }
    });
}

#[test]
fn a_long_request_is_read_whole_after_a_rest() {
    run(async {
        let mut client = Client::connect().await;
        client.ask("1").await;
        client.rest().await;
        client.ask(&"x".repeat(100 << 10)).await;
    });
}

#[test]
fn an_exchange_under_way_is_not_disturbed() {
    run(async {
        let mut client = Client::connect().await;
        client.ask("1").await;
        let next = request("next");
        client.say(&next[..next.len() - 1]).await;
        until("it has begun", || !client.conn.may_rest()).await;
        client.conn.give(Order::Rest);
        turns(100).await;
        client.say(&next[next.len() - 1..]).await;
        assert_eq!(client.answers(1).await, ["next"]);
        client.ask("last").await;
    });
}

#[test]
fn at_rest_it_obeys_and_sees_its_client_leave() {
    run(async {
        for order in [Order::Drain, Order::Close, Order::Stop] {
            let mut client = Client::connect().await;
            client.ask("1").await;
            client.rest().await;
            client.conn.give(order);
            client.ends().await;
        }
        let mut client = Client::connect().await;
        client.ask("1").await;
        client.rest().await;
        client.wire.shutdown().await.unwrap();
        client.ends().await;
        let mut client = Client::connect().await;
        client.ask("1").await;
        client.rest().await;
        client.wire.set_zero_linger().unwrap();
        drop(client.wire);
        within("the task's end", client.serving).await.unwrap();
    });
}

#[test]
fn one_that_is_to_be_closed_is_closed_also_after_a_rest() {
    run(async {
        let mut client = Client::connect().await;
        client.ask("1").await;
        client.rest().await;
        client.say("GET / HTTP/1.0\r\n\r\n").await;
        let mut said = String::new();
        within("the end", client.wire.read_to_string(&mut said)).await.unwrap();
        assert!(said.starts_with("HTTP/1.0 200"), "{said}");
        within("the task's end", client.serving).await.unwrap();
    });
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Say(usize),
    Rest,
    Turns(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![(1..90_usize).prop_map(Step::Say), Just(Step::Rest), (0..40_usize).prop_map(Step::Turns)];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn requests_in_pieces_between_rests_are_answered_in_order(
        bodies in prop::collection::vec("[a-z]{0,40}", 1..12),
        steps in steps(),
    ) {
        run(async {
            let mut client = Client::connect().await;
            let all: String = bodies.iter().map(|body| request(body)).collect();
            let mut said = 0;
            for step in steps {
                match step {
                    Step::Say(bytes) => {
                        let end = all.len().min(said + bytes);
                        client.say(&all[said..end]).await;
                        said = end;
                    }
                    Step::Rest => client.conn.give(Order::Rest),
                    Step::Turns(count) => turns(count).await,
                }
            }
            client.say(&all[said..]).await;
            assert_eq!(client.answers(bodies.len()).await, bodies);
            client.ask("last").await;
            client.rest().await;
            client.wire.shutdown().await.unwrap();
            client.ends().await;
        });
    }
}
