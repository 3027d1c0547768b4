//! The peers' configurations: each at its best for this load, none doing less than the others.
//!
//! One thread, connections to the server behind kept and shared, nothing spooled to files, three fields added to every
//! answer. Limits that this load would meet are raised.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::stage::Stage;
use crate::wire::Wire;

/// Connections and requests that nobody should count here.
const MANY: u32 = 1_000_000_000;
/// Seconds for which idle connections are kept, longer than any run leaves one idle.
const IDLE_SECONDS: u32 = 600;
/// Streams and bytes that may be under way of one connection of HTTP/2, where a peer's default is lower.
const STREAMS: u32 = 1024;
const WINDOW_BYTES: u32 = 1 << 20;

/// nginx's, with or without its access log.
pub(crate) fn nginx(dir: &Path, listen: SocketAddr, stage: Stage<'_>, access_log: &str) -> String {
    let (dir, model) = (dir.display(), stage.model);
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let identity = stage.identity;
    let (how, pass) = match stage.wire {
        Wire::Http1 => (String::new(), "proxy_pass http://backend; proxy_http_version 1.1;"),
        Wire::Tls => (
            format!(
                " ssl; ssl_protocols TLSv1.3; ssl_certificate {}; ssl_certificate_key {}",
                identity.certificate.display(),
                identity.key.display()
            ),
            "proxy_pass http://backend; proxy_http_version 1.1;",
        ),
        Wire::Grpc => (" http2".to_owned(), "grpc_pass grpc://backend;"),
    };
    let (connections, kept) = (2 * stage.connections + 2048, stage.busy().max(256));
    format!(
        "{user}
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    access_log {access_log};
    tcp_nodelay on;
    keepalive_requests {MANY};
    keepalive_timeout {IDLE_SECONDS}s;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    http2_max_concurrent_streams {STREAMS};
    upstream backend {{ server {model}; keepalive {kept}; keepalive_requests {MANY}; }}
    server {{
        listen {listen}{how};
        location / {{
            {pass}
            proxy_set_header Connection \"\";
            add_header X-Model-Name fraud;
            add_header X-Model-Version v1.2.3;
            add_header X-Dataset-Version v2.0;
        }}
    }}
}}
"
    )
}

/// `HAProxy`'s.
pub(crate) fn haproxy(listen: SocketAddr, stage: Stage<'_>) -> String {
    let (bind, server) = match stage.wire {
        Wire::Http1 => (String::new(), ""),
        Wire::Tls => (format!(" ssl crt {} ssl-min-ver TLSv1.3 alpn http/1.1", stage.identity.both.display()), ""),
        Wire::Grpc => (" proto h2".to_owned(), " proto h2"),
    };
    let (model, connections) = (stage.model, stage.connections + 4096);
    format!(
        "global
    nbthread 1
    maxconn {connections}
    no strict-limits
    tune.h2.initial-window-size {WINDOW_BYTES}
    tune.h2.max-concurrent-streams {STREAMS}
defaults
    mode http
    timeout connect 5s
    timeout client {IDLE_SECONDS}s
    timeout server 60s
    timeout http-keep-alive {IDLE_SECONDS}s
    option http-keep-alive
    http-reuse always
frontend models
    bind {listen}{bind}
    default_backend model
    http-after-response set-header X-Model-Name fraud
    http-after-response set-header X-Model-Version v1.2.3
    http-after-response set-header X-Dataset-Version v2.0
backend model
    server one {model}{server}
"
    )
}

/// Envoy's.
pub(crate) fn envoy(listen: SocketAddr, stage: Stage<'_>) -> Value {
    let typed = |kind: &str, mut fields: Value| {
        fields["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
        fields
    };
    let address = |at: SocketAddr| json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let stamps = [("X-Model-Name", "fraud"), ("X-Model-Version", "v1.2.3"), ("X-Dataset-Version", "v2.0")]
        .map(|(key, value)| json!({"header": {"key": key, "value": value}}));
    let router = typed("extensions.filters.http.router.v3.Router", json!({"suppress_envoy_headers": true}));
    let manager = json!({
        "stat_prefix": "models",
        // The client's own is kept.
        "generate_request_id": false,
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"response_headers_to_add": stamps, "virtual_hosts": [{"name": "models", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "model", "timeout": "0s"}}]}]},
    });
    let manager = typed("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", manager);
    let mut chain = json!({"filters": [{"name": "http", "typed_config": manager}]});
    if stage.wire == Wire::Tls {
        let (certificate, key) = (&stage.identity.certificate, &stage.identity.key);
        let common = json!({
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [{"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}],
        });
        let context =
            typed("extensions.transport_sockets.tls.v3.DownstreamTlsContext", json!({"common_tls_context": common}));
        chain["transport_socket"] = json!({"name": "tls", "typed_config": context});
    }
    let spoken = if stage.wire == Wire::Grpc { "http2_protocol_options" } else { "http_protocol_options" };
    let options =
        typed("extensions.upstreams.http.v3.HttpProtocolOptions", json!({"explicit_http_config": {spoken: {}}}));
    let threshold = json!({"max_connections": MANY, "max_pending_requests": MANY, "max_requests": MANY});
    let cluster = json!({
        "name": "model",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [threshold]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": "model",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(stage.model)}}]}]},
    });
    let listener = json!({"name": "models", "address": address(listen), "filter_chains": [chain]});
    json!({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
}

/// Touchmark's, with everything on: stamps, both hashes, ledger, metrics, and traces to a sink at 1 %.
pub(crate) fn touchmark(dir: &Path, [listen, admin]: [SocketAddr; 2], stage: Stage<'_>, durability: &str) -> Value {
    let mut config = json!({
        "deployment": {"name": "bench"},
        "proxy": {
            "listen": listen,
            "workers": 1,
            "connections": stage.connections.max(10_000) + 100,
            "inflight": stage.busy().max(1000) + 24,
            "limits": {"body": "8GiB"},
            "timeouts": {"head": format!("{IDLE_SECONDS}s")},
        },
        "backends": [{
            "name": "local",
            "url": format!("http://{}", stage.model),
            "models": [{
                "name": "fraud",
                "version": "v1.2.3",
                "served_as": {"name": "m", "version": "1"},
                "datasets": ["transactions@v2.0"],
            }],
        }],
        "ledger": {"dir": dir.join("data"), "durability": durability},
        "telemetry": {
            "log": {"level": "warn"},
            "traces": {
                "endpoint": format!("http://{}", stage.spans),
                "protocol": "http/protobuf",
                "sampler": "parentbased_traceidratio",
                "ratio": 0.01,
            },
        },
        "admin": {"listen": admin},
    });
    if stage.wire == Wire::Tls {
        config["proxy"]["tls"] = json!({"certificate": stage.identity.certificate, "key": stage.identity.key});
    }
    if let Some(grpc) = stage.grpc {
        config["backends"][0]["grpc_url"] = format!("http://{grpc}").into();
    }
    config
}
