//! Golden messages: what people see when their configuration is wrong.

use super::*;
use crate::lineage::ModelId;
use crate::units::{Period, Size};

const GOOD: &str = "\
deployment: {name: fraud-prod}
backends:
- name: champion
  url: http://127.0.0.1:8000
  models:
  - name: fraud
    version: 1.10
    datasets: [transactions@v2.0]
";

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Environment { variables, host: "pod-7".to_owned() }
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    Source::file("c.yaml")
        .assemble(text, &environment(variables), validate::validate)
        .map_err(|error| error.to_string())
}

fn errors(text: &str) -> Vec<String> {
    load(text, &[]).unwrap_err().lines().map(str::to_owned).collect()
}

#[test]
fn a_good_file_is_read_as_it_is_written() {
    let config = load(GOOD, &[]).unwrap();
    assert_eq!(config.deployment.name, "fraud-prod");
    assert_eq!(config.deployment.instance.as_deref(), Some("pod-7"));
    let model = &config.backends[0].models[0];
    assert_eq!(model.version, "1.10");
    assert_eq!((model.served_name(), model.served_version()), ("fraud", None));
    assert_eq!(config.proxy.limits.head, Size(20 << 10));
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = load(
        GOOD,
        &[
            ("TOUCHMARK_BACKENDS__0__MODELS__0__VERSION", "2.0"),
            ("TOUCHMARK_PROXY__TIMEOUTS__IDLE", "5s"),
            ("TOUCHMARK_PROXY__WORKERS", "2"),
            ("TOUCHMARK_DEPLOYMENT__INSTANCE", "copy-1"),
        ],
    )
    .unwrap();
    assert_eq!(config.backends[0].models[0].version, "2.0");
    assert_eq!(config.proxy.timeouts.idle, Period::secs(5));
    assert_eq!(config.proxy.workers, Some(2));
    assert_eq!(config.deployment.instance.as_deref(), Some("copy-1"));
    let error = load(GOOD, &[("TOUCHMARK_PROXY__INFLIGHT", "many")]).unwrap_err();
    assert_eq!(error, r#"TOUCHMARK_PROXY__INFLIGHT: proxy.inflight: invalid type: string "many", expected usize"#);
}

#[test]
fn flags_win_over_both_and_need_no_file() {
    let model: ModelId = "fraud@v1.2.3".parse().unwrap();
    let source = Source::default()
        .with_upstream("http://127.0.0.1:8000", Some(&model), &["s3://lake/transactions@v2.0".to_owned()])
        .with("--data", "ledger.dir", "/tmp/x");
    let config =
        source.assemble("", &environment(&[("TOUCHMARK_LEDGER__DIR", "elsewhere")]), validate::validate).unwrap();
    assert_eq!(config.ledger.dir, PathBuf::from("/tmp/x"));
    assert_eq!(config.backends[0].url, "http://127.0.0.1:8000");
    assert_eq!(config.backends[0].models[0].datasets[0].namespace.as_deref(), Some("s3://lake"));
    let error = Source::default()
        .with_upstream("http://h", None, &[])
        .with("--listen", "proxy.listen", "8080")
        .assemble("", &environment(&[]), validate::validate);
    assert_eq!(error.unwrap_err().to_string(), "--listen: proxy.listen: '8080': invalid socket address syntax");
    assert_eq!(
        Source::default().assemble("", &environment(&[]), validate::validate).unwrap_err().to_string(),
        "backends: none: name a model server here, or with --upstream URL --model NAME@VERSION"
    );
}

#[test]
fn a_syntax_error_has_its_place() {
    let found = errors("proxy:\n  listen: [\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("c.yaml:2:11: unclosed bracket"), "{found:?}");
    let found = errors("proxy: {}\nproxy: {}\n");
    assert!(found[0].starts_with("c.yaml:2:1: ") && found[0].contains("duplicate"), "{found:?}");
}

#[test]
fn wrong_types_and_unknown_keys_have_their_places() {
    assert_eq!(
        errors("proxy:\n  inflight: -1\n  retry_after: 5\n  on_mismatch: stop\n  limitz: {}\nbackend: []\n"),
        [
            "c.yaml:2:13: proxy.inflight: invalid value: integer `-1`, expected usize",
            "c.yaml:3:16: proxy.retry_after: '5' is no duration: write a whole number and one of ms, s, m, h, d, such as 250ms",
            "c.yaml:4:16: proxy.on_mismatch: unknown variant `stop`, expected `correct` or `warn`",
            "c.yaml:6:10: backend: unknown key: did you mean 'backends'?",
            "c.yaml:5:11: proxy.limitz: unknown key: did you mean 'limits'?",
            "c.yaml:1:1: backends: none: name a model server here, or with --upstream URL --model NAME@VERSION",
        ]
    );
}

#[test]
fn a_wrong_type_hides_nothing_and_invents_nothing() {
    assert_eq!(
        errors("proxy: {listen: 8080}\nbackends:\n- {name: a, url: http://h/x}\n- {name: b}\n"),
        [
            "c.yaml:1:17: proxy.listen: '8080': invalid socket address syntax",
            "c.yaml:4:3: backends[1]: missing field `url`",
            "c.yaml:3:18: backends[0].url: 'http://h/x' must not have a path or query, since requests keep their own: write http://HOST:PORT or https://HOST:PORT",
        ]
    );
    // Not that there were none.
    assert_eq!(errors("backends: [{name: b}]\n"), ["c.yaml:1:12: backends[0]: missing field `url`"]);
}

#[test]
fn everything_wrong_by_meaning_is_said_at_once() {
    let text = "\
deployment: {name: fraud prod}
proxy: {inflight: 8192, limitz: {}, timeouts: {head: 0s}}
admin: {listen: 127.0.0.1:8080}
ledger: {sync_interval: 0s, queue_entries: 8192}
backends:
- name: a
  url: ftp://models:443
  tls: {key: k.pem}
  models:
  - {name: fraud, version: v1, default: true, decision: outputs}
  - {name: fraud, version: v2, default: true, datasets: [{name: t, version: v1, digest: abc}]}
- name: a
  url: http://me:secret@host/path
  grpc_url: http://host:grpc
  protocol: http1
";
    assert_eq!(
        errors(text),
        [
            "c.yaml:2:33: proxy.limitz: unknown key: did you mean 'limits'?",
            "c.yaml:1:20: deployment.name: 'fraud prod' must be visible ASCII without spaces",
            "c.yaml:2:54: proxy.timeouts.head: must be more than 0s: silent connections would never end",
            "c.yaml:7:8: backends[0].url: 'ftp://models:443' must begin with http:// or https://: write http://HOST:PORT or https://HOST:PORT",
            "c.yaml:8:8: backends[0].tls: no URL of it begins with https://: write that, or remove tls",
            "c.yaml:8:8: backends[0].tls.certificate: certificate and key go together: name both files, or none",
            "c.yaml:10:57: backends[0].models[0].decision: 'outputs' is no JSON pointer: begin with '/'",
            "c.yaml:11:41: backends[0].models[1].default: another model of this backend is the default already",
            "c.yaml:11:5: backends[0].models[1].served_as: 'fraud' is served by another entry already: tell them apart with served_as",
            "c.yaml:11:89: backends[0].models[1].datasets[0].digest: 'abc' is no digest: write sha256: and 64 lower-case hexadecimal digits",
            "c.yaml:12:9: backends[1].name: 'a' is taken by another backend",
            "c.yaml:13:8: backends[1].url: '…@host/path' must not hold a user name or password: write http://HOST:PORT or https://HOST:PORT",
            "c.yaml:14:13: backends[1].grpc_url: 'http://host:grpc' has a wrong port: write http://HOST:PORT or https://HOST:PORT",
            "c.yaml:14:13: backends[1].grpc_url: gRPC needs HTTP/2: remove it, or set protocol to auto",
            "c.yaml:4:25: ledger.sync_interval: 0s would never sync, take 1s",
            "c.yaml:4:44: ledger.queue_entries: 8192 is too few for proxy.inflight 8192: each call reserves 2 places and a group takes 64, so write 16448 or more",
            "c.yaml:3:17: admin.listen: is proxy.listen too: choose another port",
        ]
    );
}

#[test]
fn urls_are_checked() {
    let problem = |url: &str| {
        let text = format!("backends: [{{name: a, url: '{url}'}}]\n");
        load(&text, &[]).err().map(|error| error.split(": ").skip(2).collect::<Vec<_>>().join(": "))
    };
    for good in ["http://127.0.0.1:8000", "http://model/", "http://[::1]:9", "http://svc.ns.svc.cluster.local:80"] {
        assert_eq!(problem(good), None, "{good}");
    }
    for bad in [
        "",
        "model:8000",
        "127.0.0.1:8000",
        "http://",
        "http://:80",
        "ftp://x",
        "http://h:99999",
        "http://h:0",
        "http://h/v2",
        "http://h?x",
        "http://a b",
    ] {
        assert!(problem(bad).is_some(), "{bad}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Source::file("/nonexistent/touchmark.yaml").load().unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(error.to_string().starts_with("/nonexistent/touchmark.yaml: No such file"));
}

#[test]
fn one_version_has_one_lineage() {
    let text = "\
backends:
- {name: a, url: http://a, models: [{name: m, version: v1, datasets: [d@v1]}]}
- {name: b, url: http://b, models: [{name: m, version: v1, datasets: [d@v1]}]}
- {name: c, url: http://c, models: [{name: m, version: v1, datasets: [d@v2]}]}
";
    assert_eq!(
        errors(text),
        [
            "c.yaml:4:37: backends[2].models[0]: is declared otherwise in backends[0].models[0]: one version has one lineage"
        ]
    );
}

#[test]
fn depth_and_aliases_are_bounded() {
    for deep in ["[".repeat(200_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert!(load(&deep, &[]).is_err());
    }
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs = format!("{laughs}a{level}: &a{level} [{aliases}]\n");
    }
    assert!(load(&laughs, &[]).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_loader(text in "\\PC{0,80}", line in 0_usize..200, cut in 0_usize..60) {
        let _any = load(&text, &[]);
        let whole = concat!(include_str!("../../../config/touchmark.yaml"), "\n");
        let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        let place = line % lines.len();
        let kept: String = lines[place].chars().take(cut).collect();
        lines[place] = format!("{kept}{text}");
        if let Err(error) = load(&lines.join("\n"), &[]) {
            proptest::prop_assert!(!error.is_empty());
        }
    }
}

#[test]
fn a_witness_needs_no_model_server_and_a_server_no_witness() {
    let text = "witness: {name: witness.example/w1}";
    let source = Source::file("c.yaml");
    for judge in [validate::witness as Validate, validate::either] {
        assert!(source.assemble(text, &environment(&[]), judge).is_ok());
    }
    let error = source.assemble(text, &environment(&[]), validate::validate).unwrap_err().to_string();
    assert!(error.contains("backends: none"), "{error}");
    let error = source.assemble("", &environment(&[]), validate::witness).unwrap_err().to_string();
    assert!(error.contains("witness.name: none"), "{error}");
    let error = source.assemble("witness: {name: a b}", &environment(&[]), validate::either).unwrap_err().to_string();
    assert!(error.starts_with("c.yaml:1:17: witness.name: 'a b'"), "{error}");
}
