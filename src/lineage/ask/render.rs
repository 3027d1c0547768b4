//! A graph as people and tools read it: a tree, rows, Graphviz, Mermaid. Pure, and the same at every call.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use crate::lineage::catalog::{Direction, Edge, Graph, Node, NodeKind, State, Value, names};

/// One node a line, below what it was reached from. What stands there already is not told again.
pub fn tree(graph: &Graph, begin: i64, direction: Direction) -> String {
    let mut next: HashMap<i64, Vec<&Edge>> = HashMap::new();
    for edge in &graph.edges {
        let from = if direction == Direction::Upstream { edge.target } else { edge.source };
        next.entry(from).or_default().push(edge);
    }
    let nodes: HashMap<i64, &Node> = graph.nodes.iter().map(|reached| (reached.node.id, &reached.node)).collect();
    let mut text = String::new();
    let Some(node) = nodes.get(&begin) else { return text };
    let _infallible = writeln!(text, "{}", label(node));
    let mut told = HashSet::from([begin]);
    // By hand rather than by recursion: a graph may be deeper than a stack.
    let children = |id: i64| -> Vec<&Edge> {
        next.get(&id).map(|edges| edges.iter().rev().copied().collect()).unwrap_or_default()
    };
    let mut levels: Vec<(String, Vec<&Edge>)> = vec![(String::new(), children(begin))];
    while let Some((indent, edges)) = levels.last_mut() {
        let Some(edge) = edges.pop() else {
            levels.pop();
            continue;
        };
        let last = edges.is_empty();
        let indent = indent.clone();
        let to = if direction == Direction::Upstream { edge.source } else { edge.target };
        let Some(node) = nodes.get(&to) else { continue };
        let seen = !told.insert(to);
        let mark = if last { "└─ " } else { "├─ " };
        let again = if seen && next.contains_key(&to) { " …" } else { "" };
        let _infallible = writeln!(text, "{indent}{mark}{}{}{again}", label(node), edge_words(edge));
        if !seen {
            levels.push((format!("{indent}{}", if last { "   " } else { "│  " }), children(to)));
        }
    }
    if graph.truncated {
        text.push_str("… and more: raise --limit or --depth\n");
    }
    text
}

/// The heads of [`rows`].
pub const HEADS: [&str; 6] = ["depth", "type", "id", "role", "state", "owner"];

/// One row for each node, nearest first.
pub fn rows(graph: &Graph) -> Vec<[String; 6]> {
    let mut roles: HashMap<i64, Vec<&str>> = HashMap::new();
    for edge in graph.edges.iter().filter(|edge| !edge.path.is_empty()) {
        for end in [edge.source, edge.target] {
            let roles = roles.entry(end).or_default();
            if !roles.contains(&edge.path.as_str()) {
                roles.push(&edge.path);
            }
        }
    }
    let row = |reached: &crate::lineage::catalog::Reached| {
        let node = &reached.node;
        // A role is an artifact's.
        let roles = roles.get(&node.id).filter(|_| node.kind == NodeKind::Artifact);
        [
            reached.depth.to_string(),
            node.type_name.clone(),
            shown(node),
            roles.map(|roles| roles.join(", ")).unwrap_or_default(),
            state(node).unwrap_or_default(),
            node.text("owner").unwrap_or_default().to_owned(),
        ]
    };
    graph.nodes.iter().map(row).collect()
}

/// For Graphviz; the way that the data went is from left to right.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph lineage {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let places = places(graph);
    for (place, reached) in graph.nodes.iter().enumerate() {
        let node = &reached.node;
        let shape = match node.kind {
            NodeKind::Artifact => "box",
            NodeKind::Execution => "ellipse",
            NodeKind::Context => "folder",
        };
        let (id, type_name) = (quoted(&shown(node)), quoted(&node.type_name));
        let _infallible = writeln!(text, "  n{place} [shape={shape}, label=\"{id}\\n{type_name}\"];");
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (places.get(&edge.source), places.get(&edge.target)) else { continue };
        let role =
            if edge.path.is_empty() { String::new() } else { format!(" [label=\"{}\"]", quoted(&plain(&edge.path))) };
        let _infallible = writeln!(text, "  n{from} -> n{to}{role};");
    }
    text.push_str("}\n");
    text
}

/// For Mermaid, which Markdown of several hosts draws.
pub fn mermaid(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    let quoted =
        |text: &str| text.replace('&', "&amp;").replace('"', "#quot;").replace('<', "&lt;").replace('>', "&gt;");
    let places = places(graph);
    for (place, reached) in graph.nodes.iter().enumerate() {
        let node = &reached.node;
        let (open, close) = match node.kind {
            NodeKind::Artifact => ("[", "]"),
            NodeKind::Execution => ("([", "])"),
            NodeKind::Context => ("[[", "]]"),
        };
        let _infallible = writeln!(text, "  n{place}{open}\"{}\"{close}", quoted(&shown(node)));
    }
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (places.get(&edge.source), places.get(&edge.target)) else { continue };
        let role = if edge.path.is_empty() { String::new() } else { format!("|\"{}\"|", quoted(&plain(&edge.path))) };
        let _infallible = writeln!(text, "  n{from} -->{role} n{to}");
    }
    text
}

/// Nodes' places in the graph: the same graph gives the same names, whatever else the catalog holds.
fn places(graph: &Graph) -> HashMap<i64, usize> {
    graph.nodes.iter().enumerate().map(|(place, reached)| (reached.node.id, place)).collect()
}

/// A node on one line.
fn label(node: &Node) -> String {
    let mut about = Vec::new();
    let kind = node.identity.split_once(':').map(|(kind, _)| kind).unwrap_or_default();
    if !node.type_name.eq_ignore_ascii_case(kind) {
        about.push(node.type_name.to_lowercase());
    }
    if let Some(Value::Int(records)) = node.properties.get("records") {
        about.push(format!("{records} records"));
    }
    about.extend(node.text("derivation").map(plain));
    about.extend(state(node));
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
    format!("{}{about}", shown(node))
}

/// What it is called; a node without a name that people use, by its type's.
pub fn shown(node: &Node) -> String {
    match &node.name {
        Some(name) if [names::METRICS, names::ENVIRONMENT].contains(&node.type_name.as_str()) || nameless(node) => {
            plain(&format!("{} {name}", node.type_name.to_lowercase()))
        }
        _ => plain(&node.identity),
    }
}

fn nameless(node: &Node) -> bool {
    ["artifact:", "execution:", "context:"].iter().any(|kind| node.identity.starts_with(kind))
}

/// A state that is worth a word.
pub fn state(node: &Node) -> Option<String> {
    match node.state {
        State::Unknown | State::Live | State::Complete => None,
        state => serde_json::to_value(state).ok().and_then(|state| Some(state.as_str()?.replace('_', " "))),
    }
}

fn edge_words(edge: &Edge) -> String {
    let role = if edge.path.is_empty() { String::new() } else { format!(" [{}]", plain(&edge.path)) };
    let flaw = edge.flaw.as_ref().map(|flaw| format!(" ! {}", plain(flaw))).unwrap_or_default();
    format!("{role}{flaw}")
}

/// Without control characters: others wrote these names.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
