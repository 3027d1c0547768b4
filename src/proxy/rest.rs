//! An HTTP/1.1 connection at rest: a socket, and nothing of hyper's, until the client speaks again.
//!
//! Most connections that are kept alive are idle most of the time, and hyper keeps for each what its last exchange needed:
//! some 20 KiB of buffers and state. What a resting one may hold are the bytes of a head that had begun to come.
//!
//! When to rest is the listener's to say; HTTP/2 and connections to model servers do not.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf};

use super::client::{ClientConn, ClientIo, Order};

/// Bytes read at once when the client speaks again: as a rule a whole head, so that hyper need not ask the socket.
const WORD_BYTES: usize = 4 << 10;

/// How a rest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roused {
    /// The client has said something. It is unread.
    Spoken,
    /// It has nothing more to say, or we have to go.
    Over,
    /// The connection is of no use any more.
    Broken,
}

/// Waits for the client to speak. `false` where the connection has come to its end instead: it is closed.
pub(super) async fn rest(io: &mut ClientIo, conn: &ClientConn) -> bool {
    conn.note_rest();
    let roused = poll_fn(|cx| match conn.order(cx) {
        Order::Serve | Order::Rest => poll_word(io, cx),
        Order::Drain => Poll::Ready(Roused::Over),
        Order::Close | Order::Stop => Poll::Ready(Roused::Broken),
    });
    match roused.await {
        Roused::Spoken => return true,
        Roused::Over => io.end().await,
        Roused::Broken => {}
    }
    false
}

/// Reads what there is and puts it back. Through TLS too, where not all that comes is the client's word.
fn poll_word(io: &mut ClientIo, cx: &mut Context<'_>) -> Poll<Roused> {
    // On the stack: at rest there is no buffer.
    let mut space = [0; WORD_BYTES];
    let mut buf = ReadBuf::new(&mut space);
    let read = ready!(Pin::new(&mut *io).poll_read(cx, buf.unfilled()));
    Poll::Ready(match (read, buf.filled()) {
        (Err(_), _) => Roused::Broken,
        (Ok(()), []) => Roused::Over,
        (Ok(()), word) => {
            io.unread(word);
            Roused::Spoken
        }
    })
}
