//! Parsing, and the exit status that scripts rely on.

use clap::CommandFactory;

use super::*;
use crate::config::Source;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("touchmark").chain(line.split_whitespace()))
}

fn source(line: &str) -> Source {
    match parse(line).unwrap().command {
        Command::Serve(args) => args.source(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_grammar_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn what_the_design_names_is_understood() {
    for line in [
        "serve",
        "serve --config c.yaml --data /tmp/x",
        "serve --upstream http://127.0.0.1:8000 --model fraud@v1 --dataset a@v1 --dataset s3://l/b@v2 --deployment d \
         --listen 0.0.0.0:8080 --admin 127.0.0.1:0 --data /tmp/x",
        "demo",
        "check config c.yaml --json",
        "witness --config c.yaml --listen 0.0.0.0:9092 --data d",
        "witness --show-key --new --json",
        "audit find --input - --from 2h --limit 3 --json --data d",
        "audit show 0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10 --config c.yaml",
        "audit tail -n 5 -f",
        "audit hash a b -",
        "audit verify --since f --key example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k --json",
        "audit export --format csv -o x.csv --model fraud --version v1",
        "audit prove 0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10 -o p.json --data d",
        "audit prove prediction:0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10 --tlog-proof",
        "audit prove --consistency 17 latest -o c.json --json",
        "audit verify-proof p.json --key example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k --witnesses 2",
        "audit key --json",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (line, mend) in [
        ("serve --config c.yaml --upstream http://h", "cannot be used with"),
        ("serve --model fraud@v1", "--upstream"),
        ("serve --upstream http://h --dataset a@v1", "--model"),
        ("serve --upstream http://h --model fraud", "write NAME@VERSION"),
        ("serve --liste x", "--listen"),
        ("audit hash", "FILE"),
        ("audit export --format parquet", "csv"),
        ("audit export --json", "--output"),
        ("audit tail -n 99999", "10000"),
        ("audit prove", "ID"),
        ("audit prove --consistency 17", "NEW"),
        ("audit prove 0192f0c1-7c4e-7a3b-8c11-2f6d0f3e9a10 --consistency 1 2", "cannot be used with"),
        ("audit prove --consistency 1 2 --tlog-proof", "cannot be used with"),
        ("audit verify-proof p.json --key example.com/foo", "NAME+ID+BASE64"),
        ("adit", "audit"),
    ] {
        let error = parse(line).unwrap_err();
        assert!(error.to_string().contains(mend), "{line}: {error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn flags_make_a_configuration() {
    let config = source(
        "serve --upstream http://127.0.0.1:8000 --model fraud@v1 --dataset s3://l/b@v2 --deployment d --listen \
         127.0.0.1:0 --admin 127.0.0.1:1 --data /tmp/x",
    )
    .load()
    .unwrap();
    assert_eq!(config.deployment.name, "d");
    assert_eq!(config.proxy.listen.port(), 0);
    assert_eq!(config.admin.listen.port(), 1);
    assert_eq!(config.ledger.dir, std::path::PathBuf::from("/tmp/x"));
    assert_eq!(config.backends[0].models[0].declared().datasets[0].namespace.as_deref(), Some("s3://l"));
}

#[test]
fn the_status_tells_scripts_what_happened() {
    let status = |line: &str| run(std::iter::once("touchmark").chain(line.split_whitespace()).map(OsString::from));
    let quickstart = concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart.yaml");
    assert_eq!(status(&format!("check config {quickstart}")), Status::Done);
    assert_eq!(status(&format!("audit hash {quickstart}")), Status::Done);
    assert_eq!(status("check config Cargo.toml"), Status::Usage);
    assert_eq!(status("check config /nonexistent"), Status::Failed);
    assert_eq!(status("serve"), Status::Usage);
    assert_eq!(status("--help"), Status::Done);
    assert_eq!(status("--unknown"), Status::Usage);
}

#[test]
fn a_closed_output_is_no_error() {
    let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
    assert_eq!(failed(&closed), Status::Done);
    assert_eq!(failed(&anyhow::anyhow!("disk")), Status::Failed);
}
