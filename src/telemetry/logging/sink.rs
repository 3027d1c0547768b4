//! A bounded buffer between whoever logs and the file descriptor that lines go to.
//!
//! Standard error may be a pipe that nobody reads. So a line is only copied into a buffer, or dropped and counted
//! where that is full; a thread of its own writes. Lines go in and out whole. This file does not format.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait to be written; as many again are being written.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Takes finished lines from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct LogSink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// Everything is written.
    idle: Condvar,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    lines: u64,
    writing: bool,
}

impl LogSink {
    /// A sink before `output`, with the thread that writes. The thread lives as long as the process: a global
    /// subscriber is never dropped.
    pub(super) fn start(output: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shared = Shared { state: Mutex::default(), filled: Condvar::new(), idle: Condvar::new(), dropped };
        let sink = Self(Arc::new(shared));
        let writer = Arc::clone(&sink.0);
        std::thread::Builder::new().name("touchmark-log".to_owned()).spawn(move || writer.write_for_ever(output))?;
        Ok(sink)
    }

    /// Takes one line, its line feed included, or drops and counts it. Control characters before that are escaped:
    /// text that a client sent cannot look like a line of ours, nor move a terminal's cursor.
    pub(super) fn push(&self, line: &[u8]) {
        let shared = &*self.0;
        let mut state = shared.lock();
        let (start, text) = (state.buffer.len(), line.strip_suffix(b"\n").unwrap_or(line));
        escape(text, &mut state.buffer);
        state.buffer.push(b'\n');
        if state.buffer.len() > BUFFER_BYTES_MAX {
            state.buffer.truncate(start);
            drop(state);
            shared.dropped.inc();
        } else {
            state.lines += 1;
            shared.filled.notify_one();
        }
    }

    /// Waits until everything is written, for `deadline` at most; `false` where it passed.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        let mut state = self.0.lock();
        while state.writing || !state.buffer.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.0.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut output: impl Write) {
        let mut taken = Vec::new();
        let mut state = self.lock();
        loop {
            if state.buffer.is_empty() {
                state.writing = false;
                self.idle.notify_all();
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            std::mem::swap(&mut state.buffer, &mut taken);
            let lines = std::mem::take(&mut state.lines);
            state.writing = true;
            drop(state);
            if output.write_all(&taken).and_then(|()| output.flush()).is_err() {
                self.dropped.inc_by(lines);
            }
            taken.clear();
            state = self.lock();
        }
    }
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.split_inclusive(u8::is_ascii_control) {
        match chunk.split_last() {
            Some((control, before)) if control.is_ascii_control() => {
                out.extend_from_slice(before);
                out.extend(std::ascii::escape_default(*control));
            }
            _ => out.extend_from_slice(chunk),
        }
    }
}

/// What the formatter writes one event to: it does so in one call.
#[derive(Debug)]
pub(super) struct LineWriter<'a>(&'a LogSink);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

    use super::*;

    /// Where a test reads what was written.
    #[derive(Clone, Debug, Default)]
    pub(in crate::telemetry::logging) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        pub(in crate::telemetry::logging) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(in crate::telemetry::logging) fn counter() -> IntCounter {
        crate::telemetry::Metrics::new().telemetry_dropped.with_label_values(&["logs"])
    }

    /// Standard error into a pipe that nobody reads until told to.
    struct Stuck {
        entered: SyncSender<()>,
        gate: Receiver<()>,
        inner: Captured,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.entered.send(()).unwrap();
            let _ = self.gate.recv();
            self.inner.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_not_time_nor_memory() {
        let (entered, inside) = sync_channel(64);
        let (open, gate): (Sender<()>, _) = gate();
        let (captured, dropped) = (Captured::default(), counter());
        let stuck = Stuck { entered, gate, inner: captured.clone() };
        let sink = LogSink::start(stuck, dropped.clone()).unwrap();
        sink.push(b"first\n");
        inside.recv().unwrap();
        // The thread hangs in its first write. A megabyte fits behind it.
        let line = [b'x'; 1024];
        let pushed = 2000;
        for _ in 0..pushed {
            sink.push(&line);
        }
        let fit = BUFFER_BYTES_MAX as u64 / 1025;
        assert_eq!(dropped.get(), pushed - fit);
        assert!(!sink.flush(Duration::from_millis(10)), "nothing can have been written");
        drop(open);
        assert!(sink.flush(Duration::from_secs(30)));
        let text = captured.text();
        assert_eq!(text.lines().count() as u64, 1 + fit);
        assert!(text.lines().skip(1).all(|line| line.len() == 1024), "a line was torn");
    }

    #[expect(clippy::disallowed_methods, reason = "the gate carries nothing: it is only ever dropped")]
    fn gate() -> (Sender<()>, Receiver<()>) {
        std::sync::mpsc::channel()
    }

    #[test]
    fn control_characters_are_escaped() {
        let captured = Captured::default();
        let sink = LogSink::start(captured.clone(), counter()).unwrap();
        sink.push("a\nb\r\x1b[2Jc\x7f é\n".as_bytes());
        assert!(sink.flush(Duration::from_secs(30)));
        assert_eq!(captured.text(), "a\\nb\\r\\x1b[2Jc\\x7f é\n");
    }

    #[test]
    fn a_failing_output_is_counted() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let dropped = counter();
        let sink = LogSink::start(Gone, dropped.clone()).unwrap();
        for _ in 0..3 {
            sink.push(b"line\n");
        }
        assert!(sink.flush(Duration::from_secs(30)));
        assert_eq!(dropped.get(), 3);
    }
}
