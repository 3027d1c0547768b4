//! The demo as a newcomer and a script see it.

use serde_json::Value;

use super::*;

fn args(json: bool) -> Args {
    Args { keep: false, data: None, json }
}

/// A whole run, once for each way to show it.
fn facts() -> (Facts, Figures) {
    let place = Place::new(None, false).unwrap();
    let mut demo = Demo::start(&place, &Arc::new(Metrics::new())).unwrap();
    let facts = demo.run().unwrap();
    demo.stop();
    let figures = Figures::read(&facts.metrics);
    (facts, figures)
}

fn tour(facts: &Facts, figures: &Figures, commands: Option<&Commands>, style: Style) -> String {
    let mut out = Vec::new();
    tour::print(facts, figures, commands, style, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn scripts_get_one_object_whose_facts_agree() {
    let mut out = Vec::new();
    assert_eq!(run(&args(true), &mut out).unwrap(), Status::Done);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 1);
    let facts: Value = serde_json::from_str(&text).unwrap();
    let number = |pointer: &str| facts.pointer(pointer).and_then(Value::as_f64).unwrap();
    assert!((number("/predictions") - number("/entries")).abs() < 0.5, "{facts}");
    assert!((number("/metrics/predictions") - number("/metrics/entries")).abs() < 0.5, "{facts}");
    assert!((number("/predictions") - number("/metrics/predictions")).abs() < 0.5, "{facts}");
    assert!(number("/metrics/unrecorded").abs() < 0.5, "{facts}");
    let headers: Vec<(String, String)> =
        serde_json::from_value(facts["answers"][0]["answer"]["headers"].clone()).unwrap();
    let header = |name: &str| headers.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    assert_eq!(header("x-model-version"), facts["found"][0]["entry"]["version"].as_str());
    assert_eq!(facts["found"][0]["entry"]["input"]["hash"], facts["input"]["sha256"]);
    assert!(!std::path::Path::new(facts["data"].as_str().unwrap()).exists(), "the temporary directory stays behind");
}

#[test]
fn the_tour_shows_what_came_out_in_a_hundred_columns() {
    let (facts, figures) = facts();
    let text = tour(&facts, &figures, None, Style::PLAIN);
    // Commands are as long as this program's path makes them.
    let (prose, _) = text.split_once("Where next\n").unwrap();
    let wide: Vec<&str> = prose.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let id = facts.answers[0].answer.header("x-lineage-trace-id").unwrap();
    assert_eq!(text.matches(id).count(), 2, "in the stamp and in the ledger: {text}");
    for shown in
        [&facts.input.sha256, "1. The stamp", "6. The metrics", "the books balance", "random_seed, image_digest"]
    {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    // Colour is all that differs on a terminal.
    let coloured = tour(&facts, &figures, None, Style::COLOURED);
    assert_ne!(coloured, text);
    let codes = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"];
    assert_eq!(codes.iter().fold(coloured, |text, code| text.replace(code, "")), text);
}

#[test]
fn what_goes_on_says_where_and_what_to_try() {
    let (facts, figures) = facts();
    let commands = Commands::new(&facts);
    let text = tour(&facts, &figures, Some(&commands), Style::PLAIN);
    for line in commands.lines() {
        assert!(text.contains(&format!("   {line}\n")), "{line}: {text}");
    }
    assert!(text.contains(&facts.proxy) && text.contains(&facts.admin) && text.contains("Ctrl-C"), "{text}");
}

#[test]
fn books_that_do_not_balance_are_not_hidden() {
    let (facts, figures) = facts();
    let text = tour(&facts, &Figures { entries: figures.entries - 1.0, ..figures }, None, Style::PLAIN);
    assert!(text.contains("DO NOT BALANCE"), "{text}");
}

#[test]
fn a_place_that_cannot_be_is_named_with_the_mend() {
    let file = std::env::temp_dir().join(format!("touchmark-no-place-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let args = Args { data: Some(file.join("x")), ..args(false) };
    let error = run(&args, &mut Vec::new()).unwrap_err();
    assert!(format!("{error:#}").starts_with(&format!("--data {}/x: name a directory", file.display())), "{error:#}");
    std::fs::remove_file(&file).unwrap();
}
