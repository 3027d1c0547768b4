//! What is wrong by meaning, all at once: relations between keys that no single type can hold.
//!
//! Pure: no file, no socket. Whether an address can be bound or a folder written shows at the start; whether an
//! address may be exposed without authentication is for `admin` to say.

use std::collections::{HashMap, HashSet};

use http::Uri;

use super::{Config, health};
use crate::lineage::ask::ALIAS;
use crate::lineage::{self, Declared, EntityId, SourceKind};
use crate::proxy::{self, BackendConfig, UpstreamProtocol};
use crate::tls::TlsConfig;
use crate::units::Size;

/// Places in the ledger's queue that one call in flight reserves: its `begin` and its `prediction`.
const PLACES_PER_CALL: u64 = 2;
/// Places beside them, so that a group that is just being written does not stop the next calls.
const PLACES_FOR_A_GROUP: u64 = 64;
/// Bytes of a name that stands in every entry.
const NAME_LEN_MAX: usize = 128;
/// Worker threads beyond which there is surely a mistake.
const WORKERS_MAX: usize = 1024;
/// Bytes of a head that HTTP/1 can be read with at all.
const HEAD_MIN: u64 = 8 << 10;
/// Flow-control windows that HTTP/2 can express (RFC 9113, section 6.9.1), and below which every body would stall.
const WINDOW: std::ops::RangeInclusive<u64> = (64 << 10)..=((1 << 31) - 1);

/// Problems by key.
pub(super) type Problems = Vec<(String, String)>;

/// Everything that is wrong by meaning.
pub(super) fn validate(config: &Config) -> Problems {
    let mut problems = Problems::new();
    let report = &mut problems;
    name("deployment.name", &config.deployment.name, report);
    if let Some(instance) = &config.deployment.instance {
        name("deployment.instance", instance, report);
    }
    proxy(&config.proxy, report);
    backends(config, report);
    ledger(config, report);
    if config.proxy.listen == config.admin.listen && config.proxy.listen.port() != 0 {
        wrong(report, "admin.listen", "is proxy.listen too: choose another port");
    }
    listener_tls("admin.tls", config.admin.tls.as_ref(), report);
    problems.extend(config.admin.problems());
    problems.extend(config.lineage.problems());
    problems.extend(config.witness.problems(false));
    problems
}

/// Everything that is wrong by meaning where the catalog is to be served alone.
pub(super) fn catalog(config: &Config) -> Problems {
    let mut problems = Problems::new();
    listener_tls("admin.tls", config.admin.tls.as_ref(), &mut problems);
    problems.extend(config.admin.problems());
    problems.extend(config.lineage.problems());
    problems
}

/// Everything that is wrong by meaning where a witness is to be run.
pub(super) fn witness(config: &Config) -> Problems {
    config.witness.problems(true)
}

/// Everything that is wrong by meaning with what the file is meant for.
pub(super) fn either(config: &Config) -> Problems {
    let is_a_witness = config.backends.is_empty() && config.witness.name.is_some();
    if is_a_witness { witness(config) } else { validate(config) }
}

fn proxy(config: &proxy::Config, report: &mut Problems) {
    if config.workers.is_some_and(|workers| workers == 0 || workers > WORKERS_MAX) {
        wrong(report, "proxy.workers", format!("must be 1 to {WORKERS_MAX}: leave it out to use the cores there are"));
    }
    for (key, value) in [
        ("proxy.connections", config.connections),
        ("proxy.inflight", config.inflight),
        ("proxy.limits.headers", config.limits.headers),
    ] {
        if value == 0 {
            wrong(report, key, "must be 1 or more: nothing would be served");
        }
    }
    if config.http2.streams == 0 {
        wrong(report, "proxy.http2.streams", "must be 1 or more: nothing would be served");
    }
    let Size(head) = config.limits.head;
    if head < HEAD_MIN {
        wrong(report, "proxy.limits.head", format!("must be {} or more", Size(HEAD_MIN)));
    }
    let Size(uri) = config.limits.uri;
    if uri == 0 || uri > head {
        wrong(
            report,
            "proxy.limits.uri",
            format!("must be more than 0B and at most proxy.limits.head, {}", Size(head)),
        );
    }
    for (key, Size(window)) in [
        ("proxy.http2.stream_window", config.http2.stream_window),
        ("proxy.http2.connection_window", config.http2.connection_window),
    ] {
        if !WINDOW.contains(&window) {
            wrong(report, key, "must be 64KiB or more and less than 2GiB");
        }
    }
    listener_tls("proxy.tls", config.tls.as_ref(), report);
    sticky(&config.sticky, report);
    // Without it a client that opens connections and says nothing would hold them for ever.
    if config.timeouts.head.limit().is_none() {
        wrong(report, "proxy.timeouts.head", "must be more than 0s: silent connections would never end");
    }
}

fn listener_tls(key: &str, config: Option<&TlsConfig>, report: &mut Problems) {
    if config.is_some_and(|tls| tls.client_ca.is_none() && !tls.client_names.is_empty()) {
        let problem = format!("nobody vouches for these names: name the authorities' file in {key}.client_ca");
        wrong(report, format!("{key}.client_names"), problem);
    }
}

fn sticky(config: &proxy::StickyConfig, report: &mut Problems) {
    if config.header.is_some() && config.cookie.is_some() {
        wrong(report, "proxy.sticky", "header and cookie are both set: keep one");
    }
    for (key, name) in [("proxy.sticky.header", &config.header), ("proxy.sticky.cookie", &config.cookie)] {
        // Cookies' names are tokens, as those of header fields are (RFC 6265, section 4.1.1).
        if let Some(name) = name
            && name.parse::<http::HeaderName>().is_err()
        {
            wrong(report, key, format!("'{}' is no name: write letters, digits and dashes", name.escape_debug()));
        }
    }
}

fn backends(config: &Config, report: &mut Problems) {
    let backends = &config.backends;
    if backends.is_empty() {
        wrong(report, "backends", "none: name a model server here, or with --upstream URL --model NAME@VERSION");
    }
    let mut names = HashSet::new();
    let mut documents = HashMap::new();
    for (index, backend) in backends.iter().enumerate() {
        let key = format!("backends[{index}]");
        name(&format!("{key}.name"), &backend.name, report);
        if !names.insert(&backend.name) {
            wrong(report, format!("{key}.name"), format!("'{}' is taken by another backend", backend.name));
        }
        url(&format!("{key}.url"), &backend.url, report);
        if let Some(grpc_url) = &backend.grpc_url {
            url(&format!("{key}.grpc_url"), grpc_url, report);
            if backend.protocol == UpstreamProtocol::Http1 {
                wrong(report, format!("{key}.grpc_url"), "gRPC needs HTTP/2: remove it, or set protocol to auto");
            }
        }
        if let Some(image) = &backend.image
            && format!("image:{image}").parse::<EntityId>().is_err()
        {
            wrong(report, format!("{key}.image"), format!("'{image}' can be moved: write NAME@sha256:HEX"));
        }
        backend_tls(&key, backend, report);
        health::validate(&key, backend, report);
        models(&key, backend, report);
        lineages(&key, (backend, config.lineage.source), &mut documents, report);
    }
    if !backends.is_empty() && backends.iter().all(|backend| backend.weight == 0) {
        wrong(report, "backends", "every weight is 0: no call would be served");
    }
}

fn backend_tls(backend_key: &str, backend: &BackendConfig, report: &mut Problems) {
    let Some(tls) = &backend.tls else { return };
    let urls = [Some(&backend.url), backend.grpc_url.as_ref()];
    if !urls.into_iter().flatten().any(|url| url.starts_with("https://")) {
        wrong(report, format!("{backend_key}.tls"), "no URL of it begins with https://: write that, or remove tls");
    }
    if tls.certificate.is_some() != tls.key.is_some() {
        let problem = "certificate and key go together: name both files, or none";
        wrong(report, format!("{backend_key}.tls.certificate"), problem);
    }
}

fn models(backend_key: &str, backend: &BackendConfig, report: &mut Problems) {
    let mut defaults = 0;
    let (mut served, mut labels) = (HashSet::new(), HashSet::new());
    for (index, model) in backend.models.iter().enumerate() {
        let key = format!("{backend_key}.models[{index}]");
        defaults += usize::from(model.default);
        if model.default && defaults == 2 {
            wrong(report, format!("{key}.default"), "another model of this backend is the default already");
        }
        if !served.insert((model.served_name(), model.served_version())) {
            let version = model.served_version().map_or(String::new(), |version| format!(" version '{version}'"));
            let problem = format!(
                "'{}'{version} is served by another entry already: tell them apart with served_as",
                model.served_name()
            );
            wrong(report, format!("{key}.served_as"), problem);
        }
        for label in model.served_labels() {
            if !labels.insert((model.served_name(), label)) {
                let problem = format!("'{label}' stands for another entry of this model already");
                wrong(report, format!("{key}.served_as.labels"), problem);
            }
        }
        if let Some(decision) = &model.decision
            && !is_pointer(decision)
        {
            wrong(report, format!("{key}.decision"), format!("'{decision}' is no JSON pointer: begin with '/'"));
        }
    }
}

/// Where each model version was declared first, and by which document.
type Documents<'a> = HashMap<(&'a str, &'a str), (String, [u8; 32])>;

/// One model version has one lineage, whichever backend answers.
fn lineages<'a>(
    backend_key: &str,
    (backend, source): (&'a BackendConfig, SourceKind),
    documents: &mut Documents<'a>,
    report: &mut Problems,
) {
    for (index, model) in backend.models.iter().enumerate() {
        let key = format!("{backend_key}.models[{index}]");
        // An alias names no version of its own; what else is declared must hold all the same.
        let alias = model.version.strip_prefix(ALIAS);
        if alias.is_some() && source == SourceKind::Static {
            let problem = format!("'{}' is an alias, and nobody here knows it: set lineage.source", model.version);
            wrong(report, format!("{key}.version"), problem);
            continue;
        }
        let declared = model.declared();
        match lineage::resolve(&Declared { version: alias.unwrap_or(declared.version), ..declared }) {
            Ok(identity) => {
                let digest = identity.document.digest;
                let (first_key, first) =
                    documents.entry((&model.name, &model.version)).or_insert_with(|| (key.clone(), digest));
                if *first != digest {
                    let problem = format!("is declared otherwise in {first_key}: one version has one lineage");
                    wrong(report, key, problem);
                }
            }
            Err(errors) => {
                for error in errors {
                    let key = if error.key.is_empty() { key.clone() } else { format!("{key}.{}", error.key) };
                    wrong(report, key, error.problem);
                }
            }
        }
    }
}

fn ledger(config: &Config, report: &mut Problems) {
    for problem in config.ledger.problems() {
        let (key, problem) = problem.split_once(": ").unwrap_or(("ledger", &problem));
        wrong(report, key, problem);
    }
    if config.ledger.dir.as_os_str().is_empty() {
        wrong(report, "ledger.dir", "must not be empty");
    }
    let inflight = config.proxy.inflight as u64;
    let wanted = inflight.saturating_mul(PLACES_PER_CALL).saturating_add(PLACES_FOR_A_GROUP);
    if config.ledger.queue_entries < wanted {
        let problem = format!(
            "{} is too few for proxy.inflight {inflight}: each call reserves {PLACES_PER_CALL} places and a group \
             takes {PLACES_FOR_A_GROUP}, so write {wanted} or more",
            config.ledger.queue_entries
        );
        wrong(report, "ledger.queue_entries", problem);
    }
}

/// A name that stands in entries, metrics and spans.
fn name(key: &str, value: &str, report: &mut Problems) {
    let problem = if value.is_empty() {
        "must not be empty"
    } else if value.len() > NAME_LEN_MAX {
        "must not be longer than 128 bytes"
    } else if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        "must be visible ASCII without spaces"
    } else {
        return;
    };
    wrong(report, key, format!("'{}' {problem}", value.escape_debug()));
}

fn url(key: &str, text: &str, report: &mut Problems) {
    const FORM: &str = "write http://HOST:PORT or https://HOST:PORT";
    let problem = match text.parse::<Uri>() {
        Err(_) => format!("is no URL: {FORM}"),
        Ok(uri) => match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.host().is_empty() => format!("has no host: {FORM}"),
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                format!("must not hold a user name or password: {FORM}")
            }
            // `http` accepts a port that is no number, and gives none back.
            (Some("http" | "https"), Some(authority)) if has_odd_port(authority) => format!("has a wrong port: {FORM}"),
            (Some("http" | "https"), Some(_)) if !matches!(uri.path(), "" | "/") || uri.query().is_some() => {
                format!("must not have a path or query, since requests keep their own: {FORM}")
            }
            (Some("http" | "https"), Some(_)) => return,
            _ => format!("must begin with http:// or https://: {FORM}"),
        },
    };
    // Never with what stands before an '@': it may be a password.
    let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("…@{host}"));
    wrong(report, key, format!("'{}' {problem}", shown.escape_debug()));
}

fn has_odd_port(authority: &http::uri::Authority) -> bool {
    let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0)
}

/// RFC 6901: empty, or `/` before each token, with `~` only as `~0` and `~1`.
fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

pub(super) fn wrong(report: &mut Problems, key: impl Into<String>, problem: impl Into<String>) {
    report.push((key.into(), problem.into()));
}
