//! The load, by the run's way of speaking.

use crate::client::{self, Limit};
use crate::peer::Peer;
use crate::stage::Stage;
use crate::wire::Wire;
use crate::{grpc, message, support};

/// Clients of one peer.
pub(crate) enum Load<'a> {
    Http(client::Load<'a>),
    Grpc(grpc::Load),
}

impl<'a> Load<'a> {
    /// Connects; so many requests are under way at a time.
    pub(crate) fn connect(
        peer: &Peer,
        concurrency: usize,
        request: &'a [u8],
        stage: Stage<'a>,
    ) -> anyhow::Result<Self> {
        let stamps = peer.stamps();
        Ok(match stage.wire {
            Wire::Grpc => Self::Grpc(grpc::Load::connect(peer.address, concurrency, request, stamps)?),
            _ => Self::Http(client::Load::connect(peer.address, concurrency, request, stamps, peer.tls(stage))?),
        })
    }

    /// Sends requests until the limit, waits for the last answers, and gives each request's time in ns.
    pub(crate) fn run(&mut self, limit: Limit) -> anyhow::Result<&mut [u32]> {
        match self {
            Self::Http(load) => load.run(limit),
            Self::Grpc(load) => load.run(limit),
        }
    }
}

/// What each request sends: head and body, or a message with its prefix.
pub(crate) fn request(wire: Wire, bytes: usize) -> Vec<u8> {
    match wire {
        Wire::Grpc => message::request(bytes),
        Wire::Http1 | Wire::Tls => support::request(bytes),
    }
}
