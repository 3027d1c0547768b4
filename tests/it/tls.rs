//! TLS on both legs: who is let in, who is trusted, what is renewed while connections live.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use touchmark::app::App;
use touchmark::telemetry::Metrics;
use touchmark::tls::{BackendTlsConfig, TlsConfig};
use touchmark::units::Period;

use crate::support::grpc::{MODEL_INFER, framed, infer as grpc_infer};
use crate::support::http2::{Http2Client, all, grpc, grpc_status, post};
use crate::support::message::{INFER, INPUT, OUTPUT, get, infer, ok};
use crate::support::model_server::ModelServer;
use crate::support::tls::{Authority, Front, Issued, NAME, client, handshake, tunnel};
use crate::support::touchmark::{Folder, Setup, Touchmark};
use crate::support::wire::Wire;
use crate::support::{eventually, soon};

/// A Touchmark that speaks TLS to its clients.
fn secure(setup: Setup, identity: &Issued, change: impl FnOnce(&mut TlsConfig)) -> Touchmark {
    let (certificate, key) = identity.write(setup.folder.path());
    let mut tls = TlsConfig { certificate, key, client_ca: None, client_names: Vec::new() };
    change(&mut tls);
    setup.with(|config| config.proxy.tls = Some(tls)).start()
}

/// One that speaks TLS to its model server.
fn before(
    model: &ModelServer,
    front: &Front,
    authority: &Authority,
    change: impl FnOnce(&mut BackendTlsConfig),
) -> Setup {
    let setup = Setup::new(model);
    let ca = setup.folder.path().join("ca.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let mut tls = BackendTlsConfig { ca: Some(ca), server_name: Some(NAME.to_owned()), ..BackendTlsConfig::default() };
    change(&mut tls);
    setup.with(|config| {
        config.backends[0].url = format!("https://{}", front.address);
        config.backends[0].tls = Some(tls);
    })
}

#[tokio::test]
async fn clients_choose_their_version_by_alpn() {
    let authority = Authority::new();
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let touchmark = secure(Setup::new(&model), &authority.issue(&[NAME]), |_| ());
    for (offered, chosen) in [(&["http/1.1"][..], Some("http/1.1")), (&["h2", "http/1.1"], Some("h2")), (&[], None)] {
        let stream = handshake(touchmark.address, &client(&authority, None, offered)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes), "{offered:?}");
    }
    let mut wire = Wire::connect(tunnel(touchmark.address, client(&authority, None, &["http/1.1"])).await).await;
    wire.send(infer()).await;
    let answer = wire.answer().await;
    assert_eq!(answer.text(), OUTPUT);
    assert_eq!(answer.head.one("x-model-version"), "v1.2.3");
    let mut http2 = Http2Client::connect(tunnel(touchmark.address, client(&authority, None, &["h2"])).await).await;
    let answer = http2.call(post(INFER, &[]), INPUT).await;
    assert_eq!(answer.all("x-model-version"), ["v1.2.3"]);
    for entry in touchmark.predictions(2).await {
        entry.ended("complete", 200).took(INPUT).gave(OUTPUT);
    }
    for request in model.received().requests {
        assert_eq!(request.head.one("x-forwarded-proto"), "https");
        assert!(request.head.one("forwarded").ends_with(";proto=https"));
    }
}

#[tokio::test]
async fn only_clients_that_are_vouched_for_and_named_come_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model);
    let ca = setup.folder.path().join("clients.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let workload = "spiffe://cluster.local/ns/shop/sa/checkout";
    let touchmark = secure(setup, &authority.issue(&[NAME]), |tls| {
        tls.client_ca = Some(ca);
        tls.client_names = vec![workload.to_owned(), "Batch.Test".to_owned()];
    });
    let cases = [
        (None, false),
        (Some(stranger.issue(&[workload])), false),
        (Some(authority.issue(&["other.test", "spiffe://cluster.local/ns/shop/sa/checkout2"])), false),
        (Some(authority.issue(&[workload])), true),
        (Some(authority.issue(&["other.test", "batch.test"])), true),
    ];
    for (identity, welcome) in cases {
        let config = client(&authority, identity.as_ref(), &["http/1.1"]);
        let mut wire = Wire::connect(tunnel(touchmark.address, config).await).await;
        wire.send(infer()).await;
        if welcome {
            assert_eq!(wire.answer().await.text(), OUTPUT);
        } else {
            assert!(wire.read_to_end().await.0.is_empty(), "{identity:?} came in");
        }
    }
    touchmark.predictions(2).await;
}

#[tokio::test]
async fn the_admin_listener_lets_in_whom_its_own_authority_vouches_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model);
    let ca = setup.folder.path().join("clients.crt");
    std::fs::write(&ca, &authority.pem).unwrap();
    let (certificate, key) = authority.issue(&[NAME]).write(setup.folder.path());
    let tls = TlsConfig { certificate, key, client_ca: Some(ca), client_names: vec!["scraper.test".to_owned()] };
    let touchmark = setup.with(|config| config.admin.tls = Some(tls)).start();
    let cases = [
        (None, false),
        (Some(stranger.issue(&["scraper.test"])), false),
        (Some(authority.issue(&["other.test"])), false),
        (Some(authority.issue(&["scraper.test"])), true),
    ];
    for (identity, welcome) in cases {
        let config = client(&authority, identity.as_ref(), &["http/1.1"]);
        let mut wire = Wire::connect(tunnel(touchmark.admin, config).await).await;
        wire.send(get("/readyz", &[])).await;
        if welcome {
            assert_eq!(wire.answer().await.head.status(), 200);
        } else {
            assert!(wire.read_to_end().await.0.is_empty(), "{identity:?} came in");
        }
    }
    let mut plain = Wire::connect(touchmark.admin).await;
    plain.send(get("/readyz", &[])).await;
    let (said, _) = plain.read_to_end().await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP/"), "nothing is told in the clear");
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_holds_no_place() {
    let authority = Authority::new();
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model).with(|config| config.proxy.timeouts.head = Period::millis(200));
    let touchmark = secure(setup, &authority.issue(&[NAME]), |_| ());
    let mut plain = touchmark.connect().await;
    plain.send(infer()).await;
    let (said, _) = plain.read_to_end().await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP/"), "it is told by a TLS alert, not by HTTP");
    let mut silent = TcpStream::connect(touchmark.address).await.unwrap();
    let read = soon("the end of a handshake that never comes", silent.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)));
    touchmark.predictions(0).await;
}

#[tokio::test]
async fn a_model_server_is_reached_under_tls_and_shown_who_calls() {
    let authority = Authority::new();
    let model = ModelServer::listen().await;
    let front = Front::before(model.address(), &authority.issue(&[NAME]), Some(&authority)).await;
    let ours = Folder::new();
    let (certificate, key) = authority.issue(&["touchmark.test"]).write(ours.path());
    let touchmark = before(&model, &front, &authority, |tls| {
        (tls.certificate, tls.key) = (Some(certificate), Some(key));
    })
    .start();
    let mut wire = touchmark.connect().await;
    wire.send(infer()).await;
    let mut upstream = model.accept().await;
    for _ in 0..2 {
        upstream.request().await;
        upstream.send(ok(OUTPUT)).await;
        assert_eq!(wire.answer().await.text(), OUTPUT);
        wire.send(infer()).await;
    }
    upstream.request().await;
    upstream.send(ok(OUTPUT)).await;
    assert_eq!(wire.answer().await.text(), OUTPUT);
    let mut calls = touchmark.http2().await;
    let (input, output) = (framed(&grpc_infer("fraud", "", "1")), framed(&grpc_infer("fraud", "1", "1")));
    let (answer, mut stream) = calls.open(grpc(MODEL_INFER, &[]), false).await;
    stream.send_data(input.into(), true).unwrap();
    let mut server = model.accept_http2().await;
    let call = server.call().await;
    assert_eq!(call.head.uri.scheme_str(), Some("https"));
    assert_eq!(all(&call.head.headers, "te"), ["trailers"]);
    call.answer_grpc(&output, grpc_status(0, &[]));
    assert_eq!(soon("the answer", answer).await.unwrap().status(), 200);
    touchmark.predictions(4).await;
    let seen = front.seen();
    let alpn: Vec<_> = seen.iter().map(|one| one.alpn.as_deref()).collect();
    assert_eq!(alpn, [Some("http/1.1"), Some("h2")], "one connection each");
    assert!(seen.iter().all(|one| one.name.as_deref() == Some(NAME) && one.has_certificate), "{seen:?}");
}

#[tokio::test]
async fn a_model_server_that_is_not_who_it_should_be_gets_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let workload = "spiffe://cluster.local/ns/ml/sa/fraud";
    let identities = [
        (stranger.issue(&[NAME]), None, 502),
        (authority.issue(&["other.test"]), None, 502),
        (authority.issue(&[NAME]), None, 200),
        (authority.issue(&[NAME]), Some(workload), 502),
        (stranger.issue(&[workload]), Some(workload), 502),
        (authority.issue(&[workload]), Some(workload), 200),
    ];
    let mut expected = 0;
    for (identity, named, status) in identities {
        let front = Front::before(model.address(), &identity, None).await;
        let touchmark =
            before(&model, &front, &authority, |tls| tls.server_names.extend(named.map(str::to_owned))).start();
        assert_eq!(touchmark.call(infer()).await.head.status(), status, "{named:?}");
        let outcome = if status == 200 { "complete" } else { "upstream_error" };
        assert_eq!(touchmark.prediction().await.text("/outcome"), Some(outcome));
        expected += usize::from(status == 200);
    }
    assert_eq!(model.received().requests.len(), expected);
}

#[tokio::test]
async fn what_cannot_be_used_is_said_at_the_start_with_the_file_and_the_mend() {
    let authority = Authority::new();
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let (good, other) = (authority.issue(&[NAME]), authority.issue(&[NAME]));
    let expired = authority.issue_with(&[NAME], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = authority.issue_with(&[NAME], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let cases = [
        (None, Some(&good.key), "proxy.tls.certificate: ", "tls.crt cannot be read: No such file"),
        (Some(&good.certificate), None, "proxy.tls.key: ", "tls.key cannot be read: No such file"),
        (Some(&good.certificate), Some(&other.key), "proxy.tls.key: ", "does not belong to"),
        (Some(&good.key), Some(&good.key), "proxy.tls.certificate: ", "holds no certificate"),
        (Some(&good.certificate), Some(&good.certificate), "proxy.tls.key: ", "holds no private key"),
        (Some(&expired.certificate), Some(&expired.key), "proxy.tls.certificate: ", "expired on 2021-01-01"),
        (Some(&early.certificate), Some(&early.key), "proxy.tls.certificate: ", "is not valid before 2999-01-01"),
    ];
    for (certificate, key, names, says) in cases {
        let setup = Setup::new(&model);
        let folder = setup.folder.path();
        let tls = TlsConfig {
            certificate: folder.join("tls.crt"),
            key: folder.join("tls.key"),
            client_ca: None,
            client_names: Vec::new(),
        };
        for (path, text) in [(&tls.certificate, certificate), (&tls.key, key)] {
            if let Some(text) = text {
                std::fs::write(path, text).unwrap();
            }
        }
        let setup = setup.with(|config| config.proxy.tls = Some(tls));
        let error = App::start(setup.config, &Arc::new(Metrics::new())).unwrap_err().to_string();
        assert!(error.starts_with(names) && error.contains(says), "{error}");
    }
}

/// The binary, with a file that it reads.
struct Process(Child);

impl Process {
    fn start(file: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_touchmark"));
        Self(command.args(["serve", "--config"]).arg(file).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts certificate and key in place as the kubelet does: a new folder, and one link that is swapped.
fn swap(folder: &Path, round: u32, identity: &Issued) {
    let data = folder.join(format!("..{round}"));
    std::fs::create_dir(&data).unwrap();
    identity.write(&data);
    symlink(data.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if round == 0 {
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_by_new_connections_and_old_ones_live_on() {
    let authority = Authority::new();
    let model = ModelServer::answering(ok(OUTPUT)).await;
    let setup = Setup::new(&model);
    let (folder, data) = (Folder::new(), setup.config.ledger.dir.clone());
    let (first, second) = (authority.issue(&[NAME]), authority.issue(&[NAME]));
    swap(folder.path(), 0, &first);
    let tls = json!({"certificate": folder.path().join("tls.crt"), "key": folder.path().join("tls.key")});
    let tls: Option<TlsConfig> = serde_json::from_value(tls).unwrap();
    let setup = setup.with(|config| (config.proxy.tls, config.admin.tls) = (tls.clone(), tls));
    let file = data.join("touchmark.yaml");
    std::fs::write(&file, serde_json::to_string(&setup.config).unwrap()).unwrap();
    let _process = Process::start(&file);
    let [address, admin] = eventually("serve.json", || {
        let says: serde_json::Value = serde_json::from_slice(&std::fs::read(data.join("serve.json")).ok()?).ok()?;
        let at = |name: &str| says[name].as_str()?.strip_prefix("https://")?.parse::<SocketAddr>().ok();
        Some([at("listen")?, at("admin")?])
    })
    .await;

    let config = client(&authority, None, &["http/1.1"]);
    let mut old = Wire::connect(tunnel(address, Arc::clone(&config)).await).await;
    old.send(infer()).await;
    assert_eq!(old.answer().await.text(), OUTPUT);
    swap(folder.path(), 1, &second);
    for listener in [address, admin] {
        let renewed = async { while shown(listener, &config).await != pem_bytes(&second) {} };
        soon("a connection with the new certificate", renewed).await;
    }
    old.send(infer()).await;
    assert_eq!(old.answer().await.text(), OUTPUT, "the connection lived on");

    let mut scraper = Wire::connect(tunnel(admin, Arc::clone(&config)).await).await;
    // One swap may be seen as several changes.
    let before = refused(&mut scraper).await;
    swap(folder.path(), 2, &Issued { certificate: first.certificate, key: second.key.clone() });
    let more = async { while refused(&mut scraper).await == before {} };
    soon("the pair that does not fit to be refused", more).await;
    for listener in [address, admin] {
        assert_eq!(shown(listener, &config).await, pem_bytes(&second), "what was in force stays");
    }
}

/// Reloads that were refused so far.
async fn refused(scraper: &mut Wire) -> u64 {
    const COUNTER: &str = "touchmark_config_reloads_total{result=\"refused\"} ";
    scraper.send(get("/metrics", &[])).await;
    let metrics = scraper.answer().await;
    metrics.text().lines().find_map(|line| line.strip_prefix(COUNTER)?.parse().ok()).unwrap_or(0)
}

/// The certificate that a listener shows to a new connection.
async fn shown(listener: SocketAddr, config: &Arc<ClientConfig>) -> Vec<u8> {
    let stream = handshake(listener, config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn pem_bytes(identity: &Issued) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap().to_vec()
}
