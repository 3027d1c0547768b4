//! Words that stand in one place alone, and words that stand nowhere.

use crate::{File, files, has_extension, is_tests, none, product, root, rust};

/// The one file that names metrics.
const METRICS: &str = "src/telemetry/metrics.rs";
/// Those that show metrics to people; they make none.
const SHOWS_METRICS: [&str; 3] = ["src/cli/", "src/demo/", "src/demo.rs"];

/// Every metric that the code registers, with its prefix; a test in that file holds its table equal to the registry.
pub(crate) fn metrics() -> Vec<String> {
    let text = std::fs::read_to_string(root().join(METRICS)).expect("the file of metrics");
    let table = text.split("const CONTRACT").nth(1).and_then(|rest| rest.split("];\n").next()).unwrap_or_default();
    let names = table.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next());
    let names: Vec<String> = names.map(|name| format!("touchmark_{name}")).collect();
    assert!(names.len() > 10, "{METRICS} has no table CONTRACT");
    names
}

fn metric_elsewhere(file: &File, metrics: &[String]) -> Vec<String> {
    let named = metrics.iter().filter(|name| words(product(&file.text)).any(|word| word == *name));
    named.map(|name| format!("{}: names {name}; {METRICS} alone does", file.path)).collect()
}

fn unknown_metrics(file: &File, metrics: &[String]) -> Vec<String> {
    let series = |word: &str| {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        metrics.iter().any(|name| name == word || base == Some(name))
    };
    let named = words(&file.text).filter(|word| word.starts_with("touchmark_") && !series(word));
    named.map(|word| format!("{}: {word} is no metric", file.path)).collect()
}

/// What a text says of things to be done later, of one machine, or of where packages come from.
fn forbidden(file: &File) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let parked = ["TO-DO", "FIX-ME", "XX-X"].map(|word| word.replace('-', ""));
    let machine = ["/wo:rk/", "/ro:ot/", "/ho:me/", "/Use:rs/"].map(|path| path.replace(':', ""));
    let hosts =
        ["pypi-org", "index-crates-io", "static-crates-io", "registry-npmjs-org", "deb-debian-org", "proxy-golang-org"]
            .map(|host| host.replace('-', "."));
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let place = || format!("{}:{}", file.path, number + 1);
        found.extend(
            parked
                .iter()
                .filter(|&word| words(line).any(|found| found == word))
                .map(|word| format!("{}: {word}: mend it, or open an issue", place())),
        );
        found.extend(
            machine
                .iter()
                .filter(|&path| line.contains(path))
                .map(|path| format!("{}: {path} is a path of one machine", place())),
        );
        found.extend(
            hosts
                .iter()
                .filter(|&host| line.contains(host))
                .map(|host| format!("{}: {host}: packages are named, not where they come from", place())),
        );
    }
    found
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

#[test]
fn metrics_are_named_in_one_file() {
    let metrics = metrics();
    let sources = rust("src").into_iter().filter(|file| {
        file.path != METRICS && !is_tests(&file.path) && !SHOWS_METRICS.iter().any(|shows| file.path.starts_with(shows))
    });
    none(&sources.flat_map(|file| metric_elsewhere(&file, &metrics)).collect::<Vec<_>>());
}

#[test]
fn documents_and_manifests_name_metrics_that_exist() {
    let metrics = metrics();
    let named = files("", |path| {
        let folder =
            ["config/", "deploy/", "docs/", "src/cli/", "src/demo/"].iter().any(|folder| path.starts_with(folder));
        folder || (has_extension(path, "md") && !path.contains('/'))
    });
    none(&named.iter().flat_map(|file| unknown_metrics(file, &metrics)).collect::<Vec<_>>());
}

#[test]
fn nothing_is_parked_and_no_machine_is_named() {
    let ours = files("", |path| !path.ends_with("Cargo.lock") && path != "LICENSE");
    none(&ours.iter().flat_map(forbidden).collect::<Vec<_>>());
}

#[test]
fn words_out_of_place_are_found() {
    let file = |text: &str| File { path: "src/a.rs".to_owned(), text: text.to_owned() };
    let metrics = metrics();
    assert_eq!(metric_elsewhere(&file("let a = \"touchmark_predictions_total\";"), &metrics).len(), 1);
    assert_eq!(unknown_metrics(&file("rate(touchmark_prediction_total[5m])"), &metrics).len(), 1);
    assert!(unknown_metrics(&file("touchmark_overhead_seconds_bucket touchmark_build_info"), &metrics).is_empty());
    assert_eq!(forbidden(&file(&format!("// {}{}: later", "TO", "DO"))).len(), 1);
    assert_eq!(forbidden(&file(&format!("cd {}{}/x", "/ro", "ot"))).len(), 1);
    assert_eq!(forbidden(&file(&format!("index = https://{}.{}/simple", "pypi", "org"))).len(), 1);
    assert!(forbidden(&file("a rooted path, to do")).is_empty());
}
