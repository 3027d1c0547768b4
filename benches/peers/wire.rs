//! How clients speak to the peers, and the peers to the server behind them.

/// One way of speaking, the same for every peer of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/1.1 in the clear, both ways.
    Http1,
    /// HTTP/1.1 under TLS 1.3, which ends at the peer; in the clear to the server.
    Tls,
    /// gRPC: HTTP/2 in the clear, both ways.
    Grpc,
}

impl Wire {
    /// For the line that says how it was measured.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Tls => "HTTP/1.1 under TLS 1.3 (TLS_AES_128_GCM_SHA256) to the client",
            Self::Grpc => "gRPC, HTTP/2 in the clear on both sides, eight streams a connection",
        }
    }
}
