//! What can be asked of the bench.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::peer::Kind;
use crate::wire::Wire;

/// The same load against the backend alone, nginx, `HAProxy`, Envoy and Touchmark, interleaved.
#[derive(Debug, Parser)]
#[command(name = "peers")]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of a command line")]
pub(crate) struct Args {
    /// A few short rounds, under a minute: enough to see a mistake, not to quote.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Client and backend on one core, the proxy on another. Default: everything on one.
    #[arg(long)]
    pub(crate) cross: bool,
    /// Let nothing else have the core meanwhile, by real-time priority (needs root). For a machine that is not idle.
    #[arg(long)]
    pub(crate) realtime: bool,
    /// Clients under TLS 1.3 on kept connections, which ends at the proxy; the backend alone is asked in the clear.
    #[arg(long, conflicts_with_all = ["grpc", "memory"])]
    pub(crate) tls: bool,
    /// gRPC, one unary call a stream, eight streams a connection, HTTP/2 in the clear on both sides.
    #[arg(long, conflicts_with_all = ["memory", "connections", "soak"])]
    pub(crate) grpc: bool,
    /// Measure memory instead of time.
    #[arg(long)]
    pub(crate) memory: bool,
    /// Measure memory with so many idle connections, and that none of them is closed.
    #[arg(long, value_name = "IDLE", conflicts_with_all = ["memory", "soak"], value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub(crate) connections: Option<u32>,
    /// Busy connections beside the idle ones of --connections.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=2000))]
    pub(crate) busy: u32,
    /// Rising and falling load for so many seconds; fails where memory rises or descriptors stay open.
    #[arg(long, value_name = "SECONDS", conflicts_with = "memory", value_parser = clap::value_parser!(u64).range(20..=604_800))]
    pub(crate) soak: Option<u64>,
    /// Who is measured. The backend alone and nginx are what the others are compared with.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Kind::usual())]
    pub(crate) peer: Vec<Kind>,
    /// Bodies, in KiB.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256], value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) size: Vec<u32>,
    /// Connections, each with one request at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 32, 128], value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) concurrency: Vec<u32>,
    /// Rounds of each case. Default: 9; quick: 3.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Milliseconds of one peer in one round. Default: 300; quick: 120.
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) slice: Option<u64>,
    /// The binary under test. Default: the one that was built for this bench.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_touchmark"))]
    pub(crate) touchmark: PathBuf,
    /// Also write everything to a file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Print the tables as they stand in `docs/performance.md`.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// What `cargo bench` adds; without it, as under `cargo test`, nothing is measured.
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

impl Args {
    /// How often each peer has its turn.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 9 })
    }

    /// How is spoken.
    pub(crate) fn wire(&self) -> Wire {
        match (self.tls, self.grpc) {
            (_, true) => Wire::Grpc,
            (true, _) => Wire::Tls,
            _ => Wire::Http1,
        }
    }

    /// How long a turn is.
    pub(crate) fn slice(&self) -> Duration {
        Duration::from_millis(self.slice.unwrap_or(if self.quick { 120 } else { 300 }))
    }
}
