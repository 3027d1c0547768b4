//! The files under `config/` say what the code does: every key, every default. Tests only.

use std::path::Path as FilePath;

use super::node::{Node, Value};
use super::{Config, Source, de};

fn read(name: &str) -> String {
    std::fs::read_to_string(FilePath::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// The example of a backend, which stands in comments.
fn example(text: &str) -> String {
    let lines = text.lines().skip_while(|line| *line != "# backends:");
    let lines = lines.take_while(|line| line.starts_with('#')).map(|line| line.trim_start_matches("# "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every path in what serde writes, lists as their first element.
fn paths(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) if !members.is_empty() => {
            for (key, inner) in members {
                paths(inner, &format!("{path}.{key}"), found);
            }
        }
        serde_json::Value::Array(elements) if !elements.is_empty() => paths(&elements[0], path, found),
        _ => found.push(path.to_owned()),
    }
}

fn node_paths(node: &Node, path: &str, found: &mut Vec<String>) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for (key, inner) in entries {
                node_paths(inner, &format!("{path}.{key}"), found);
            }
        }
        // The last element says the most.
        Value::List(nodes) if !nodes.is_empty() => node_paths(&nodes[nodes.len() - 1], path, found),
        _ => found.push(path.to_owned()),
    }
}

fn sorted(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths
}

#[test]
fn touchmark_yaml_lists_every_key_with_its_default() {
    let mut root = Node::parse(&read("touchmark.yaml")).unwrap();
    let (mut listed, mut wanted) = (Vec::new(), Vec::new());
    node_paths(&root, "", &mut listed);
    paths(&serde_json::to_value(Config::default()).unwrap(), "", &mut wanted);
    assert_eq!(sorted(listed), sorted(wanted));
    let (config, problems) = de::typed::<Config>(&mut root);
    assert_eq!(problems, []);
    assert_eq!(config.unwrap(), Config::default());
}

#[test]
fn the_example_of_a_backend_lists_every_key() {
    let text = example(&read("touchmark.yaml"));
    let mut root = Node::parse(&text).unwrap();
    let mut listed = Vec::new();
    node_paths(&root, "", &mut listed);
    let (config, problems) = de::typed::<Config>(&mut root);
    assert_eq!(problems, []);
    let mut config = config.unwrap();
    assert_eq!(super::validate::validate(&config), []);
    let model = &mut config.backends[0].models[0];
    let identity = crate::lineage::resolve(&model.declared()).unwrap();
    // Only the short form of a dataset leaves something open: it has no digest.
    assert!(identity.document.json.contains(r#""missing":["dataset_digest"]"#), "{}", identity.document.json);
    assert_eq!(identity.dataset_version.as_deref(), Some("labels@v7+transactions@v2.0"));
    model.datasets.reverse();
    let mut wanted = Vec::new();
    paths(&serde_json::to_value(&config.backends).unwrap(), ".backends", &mut wanted);
    assert_eq!(sorted(listed), sorted(wanted));
}

#[test]
fn the_quickstart_is_right() {
    let file = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("config/quickstart.yaml");
    let config = Source::file(file).load().unwrap();
    assert_eq!(config.backends[0].models[0].name, "fraud");
}
