//! Spans' way out: a bounded queue, and a task on threads of its own that sends them to the collector in batches.
//!
//! The proxy only ever tries to put a span into the queue. Every span that was put in, or tried, ends in one of two
//! ways: exported, or counted in `telemetry_dropped_total{signal="traces"}` — because the queue was full, because the
//! collector did not take its batch in time, or because the deadline of the shutdown passed. (A collector that takes a
//! batch and rejects part of it says so in its own metrics; the SDK does not hand us the number.)

mod settings;

#[cfg(test)]
mod tests;

pub(super) use settings::{Env, Settings};
pub use settings::{Protocol, Service, TraceError, TracesConfig};

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus::IntCounter;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// Threads of the exporter's runtime: one sends while the other serves the connection's reads.
const THREADS: usize = 2;
/// Flushes that may wait at once; more are refused.
const FLUSHES_MAX: usize = 8;
/// What a shutdown allows past its deadline for the task to count what is left.
const COUNTING: Duration = Duration::from_secs(2);

/// The sending end of the queue and the owner of the exporter's threads.
#[derive(Debug)]
pub(super) struct Exporter {
    spans: mpsc::Sender<SpanData>,
    batch_spans: usize,
    /// Tells that a batch is whole. Before that a span wakes nobody but the first of its batch.
    whole: Arc<Notify>,
    flushes: mpsc::Sender<SyncSender<()>>,
    stop: watch::Sender<Option<Stop>>,
    dropped: IntCounter,
    runtime: Mutex<Option<Runtime>>,
}

#[derive(Clone, Debug)]
struct Stop {
    deadline: Instant,
    done: SyncSender<()>,
}

impl Exporter {
    /// Starts the threads. Nothing is connected before the first batch.
    pub(super) fn start(settings: &Settings, endpoint: &str, dropped: IntCounter) -> Result<Self, TraceError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("touchmark-otlp").enable_all().build()?;
        let exporter = {
            let _inside = runtime.enter();
            build(settings, endpoint)?
        };
        let (spans, queue) = mpsc::channel(settings.queue_spans);
        let (flushes, asked) = mpsc::channel(FLUSHES_MAX);
        let (stop, stopped) = watch::channel(None);
        let whole = Arc::new(Notify::new());
        let batcher = Batcher {
            queue,
            whole: Arc::clone(&whole),
            flushes: asked,
            stop: stopped,
            exporter,
            batch: Vec::with_capacity(settings.batch_spans),
            batch_spans: settings.batch_spans,
            delay: settings.delay,
            export_timeout: settings.export_timeout,
            dropped: dropped.clone(),
            failing: false,
        };
        runtime.spawn(batcher.run());
        let (batch_spans, runtime) = (settings.batch_spans, Mutex::new(Some(runtime)));
        Ok(Self { spans, batch_spans, whole, flushes, stop, dropped, runtime })
    }

    /// Queues a span, or drops and counts it. Never waits.
    pub(super) fn push(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
        // With the one that has been taken already.
        if self.spans.max_capacity() - self.spans.capacity() + 1 >= self.batch_spans {
            self.whole.notify_one();
        }
    }

    /// Sends what is queued now. Blocks this thread, for `deadline` at most; `false` where it passed.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let (done, waiting) = sync_channel(1);
        self.flushes.try_send(done).is_ok() && waiting.recv_timeout(deadline).is_ok()
    }

    /// Sends what is queued, for `deadline` at most, counts the rest as dropped and ends the threads. Blocks this
    /// thread; `false` where the deadline passed.
    pub(super) fn shutdown(&self, deadline: Duration) -> bool {
        let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() else { return true };
        let (done, waiting) = sync_channel(1);
        let until = Instant::now() + deadline;
        let asked = self.stop.send(Some(Stop { deadline: until, done })).is_ok();
        let ended = asked && waiting.recv_timeout(deadline + COUNTING).is_ok();
        // Not a plain drop, which would panic where the caller is itself inside a runtime.
        runtime.shutdown_background();
        ended && Instant::now() <= until
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

fn build(settings: &Settings, endpoint: &str) -> Result<SpanExporter, TraceError> {
    let builder = SpanExporter::builder();
    let mut exporter = match settings.protocol {
        Protocol::Grpc => builder.with_tonic().with_endpoint(endpoint).build()?,
        Protocol::HttpProtobuf => {
            let protocol = opentelemetry_otlp::Protocol::HttpBinary;
            builder.with_http().with_protocol(protocol).with_endpoint(endpoint).build()?
        }
    };
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(settings.resource.iter().cloned())
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

/// The receiving end: one task.
struct Batcher {
    queue: mpsc::Receiver<SpanData>,
    whole: Arc<Notify>,
    flushes: mpsc::Receiver<SyncSender<()>>,
    stop: watch::Receiver<Option<Stop>>,
    exporter: SpanExporter,
    batch: Vec<SpanData>,
    batch_spans: usize,
    delay: Duration,
    export_timeout: Duration,
    dropped: IntCounter,
    /// Whether the last export failed: the log tells changes, the counter tells numbers.
    failing: bool,
}

impl Batcher {
    async fn run(mut self) {
        // Set while a batch is being gathered: its first span is taken, the others wait in the queue and wake nobody.
        let mut due = None;
        loop {
            tokio::select! {
                biased;
                changed = self.stop.changed() => {
                    // Without a word, the sending end is gone and nobody waits.
                    if changed.is_err() || self.stop.borrow().is_some() {
                        return self.finish().await;
                    }
                }
                Some(done) = self.flushes.recv() => {
                    self.drain().await;
                    let _ = done.try_send(());
                    due = None;
                }
                first = self.queue.recv(), if due.is_none() => {
                    let Some(first) = first else { return self.finish().await };
                    self.batch.push(first);
                    due = Some(Instant::now() + self.delay);
                }
                () = self.whole.notified(), if due.is_some() => {}
                () = sleep_until(due), if due.is_some() => {
                    self.fill(usize::MAX);
                    self.export().await;
                    due = None;
                }
            }
            // One batch, then a look at who asks for a stop or a flush.
            if self.batch.len() + self.queue.len() >= self.batch_spans {
                self.fill(usize::MAX);
                self.export().await;
                due = None;
            }
        }
    }

    /// Takes of what is queued as much as fits into the batch, and no more than so many. Says how many.
    fn fill(&mut self, most: usize) -> usize {
        let before = self.batch.len();
        let most = most.min(self.batch_spans - before);
        self.batch.extend((0..most).map_while(|_| self.queue.try_recv().ok()));
        self.batch.len() - before
    }

    /// Sends the batch and what is queued at this moment.
    async fn drain(&mut self) {
        let mut left = self.queue.len();
        loop {
            left -= self.fill(left);
            if self.batch.is_empty() {
                return;
            }
            self.export().await;
        }
    }

    /// Closes the queue, sends what is left until the deadline and counts the rest.
    async fn finish(mut self) {
        self.queue.close();
        while !self.past_deadline() {
            let room = self.batch_spans - self.batch.len();
            if room > 0 && self.queue.recv_many(&mut self.batch, room).await == 0 && self.batch.is_empty() {
                break;
            }
            self.export().await;
        }
        let mut left = self.batch.len() as u64;
        // Closed, so that this ends; it also waits for a span that is being put in at this moment.
        while self.queue.recv().await.is_some() {
            left += 1;
        }
        self.dropped.inc_by(left);
        if let Some(stop) = self.stop.borrow().as_ref() {
            let _ = stop.done.try_send(());
        }
    }

    fn past_deadline(&self) -> bool {
        self.stop.borrow().as_ref().is_none_or(|stop| stop.deadline <= Instant::now())
    }

    /// Sends the batch; what the collector does not take in time is counted.
    async fn export(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(self.batch_spans));
        if batch.is_empty() {
            return;
        }
        let spans = batch.len();
        let mut stop = self.stop.clone();
        let result = tokio::select! {
            result = tokio::time::timeout(self.export_timeout, self.exporter.export(batch)) => {
                result.unwrap_or(Err(OTelSdkError::Timeout(self.export_timeout)))
            }
            error = deadline(&mut stop) => Err(error),
        };
        if result.is_err() {
            self.dropped.inc_by(spans as u64);
        }
        match result {
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(spans, error = %error, "spans dropped: the collector does not take them");
            }
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the collector takes spans again");
            }
            _ => {}
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
}

/// Waits until a shutdown has been asked for and its deadline has passed.
async fn deadline(stop: &mut watch::Receiver<Option<Stop>>) -> OTelSdkError {
    let asked = stop.wait_for(Option::is_some).await.ok().and_then(|stop| stop.as_ref().map(|stop| stop.deadline));
    if let Some(asked) = asked {
        tokio::time::sleep_until(asked).await;
    }
    OTelSdkError::AlreadyShutdown
}
