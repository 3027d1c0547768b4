//! The environment's word on the configuration: `TOUCHMARK_LEDGER__DIR` overrides `ledger.dir`.
//!
//! `__` stands between keys, a number picks an element of a list, and a value that is a YAML list or mapping is
//! taken as one: `TOUCHMARK_BACKENDS__0__URL`, `TOUCHMARK_BACKENDS='[{name: a, url: "http://127.0.0.1:8000"}]'`.
//! Any other value is taken as it is, with its `#` and quotes, since it may be a secret.
//!
//! Kubernetes puts variables such as `TOUCHMARK_PORT` and `TOUCHMARK_ADMIN_SERVICE_HOST` into every pod beside a
//! Service of that name; they are none of ours and are left alone.

use std::sync::Arc;

use super::node::{Kind, Node, Origin, Path, Step, Value};

const PREFIX: &str = "TOUCHMARK_";
/// What stands between keys.
const SEPARATOR: &str = "__";

/// The environment, as far as the configuration looks at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// The variables that begin with [`PREFIX`], in order of their names.
    pub(super) variables: Vec<(String, String)>,
    /// What `deployment.instance` is where nothing else says so.
    pub(super) host: String,
}

impl Environment {
    /// The process's own.
    pub(super) fn read() -> Self {
        let mut variables: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        variables.sort();
        Self { variables, host: host() }
    }

    /// Lays the variables over the tree. Gives the problems back: the variable, and what is wrong with it.
    pub(super) fn overlay(&self, root: &mut Node, sections: &[&str]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (name, value) in &self.variables {
            let Some(path) = path(name, sections, &mut problems) else { continue };
            if let Err(problem) = set(root, &path, node(name, value)) {
                problems.push((name.clone(), problem));
            }
        }
        problems
    }
}

/// Puts a node at the end of a path, making the maps on the way.
pub(super) fn set(root: &mut Node, path: &Path, leaf: Node) -> Result<(), String> {
    let mut node = root;
    for step in &path.0 {
        let inner = Node::empty(leaf.origin.clone());
        begin(node, step);
        node = match (&mut node.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                let place = entries.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
                    entries.push((key.clone(), inner));
                    entries.len() - 1
                });
                &mut entries[place].1
            }
            (Value::List(nodes), Step::Index(index)) => {
                let len = nodes.len();
                if *index == len {
                    nodes.push(inner);
                }
                nodes.get_mut(*index).ok_or_else(|| format!("there is no element {index}: the list has {len}"))?
            }
            (Value::List(_), Step::Key(key)) => return Err(format!("'{key}' is no number, and a list stands there")),
            (_, Step::Key(key)) => return Err(format!("there is nothing to override in what stands before '{key}'")),
            (_, Step::Index(index)) => return Err(format!("there is no list that '{index}' could be an element of")),
        };
    }
    *node = leaf;
    Ok(())
}

/// Makes a map or a list of what says nothing yet.
fn begin(node: &mut Node, step: &Step) {
    let says_nothing = match &node.value {
        Value::Scalar(_, kind) => *kind == Kind::Null,
        Value::Map(entries) => entries.is_empty(),
        Value::List(_) | Value::Wrong => false,
    };
    if says_nothing {
        node.value = match step {
            Step::Key(_) => Value::Map(Vec::new()),
            Step::Index(_) => Value::List(Vec::new()),
        };
    }
}

/// The path that a variable means; `None` where it is none of ours or wrong.
fn path(name: &str, sections: &[&str], problems: &mut Vec<(String, String)>) -> Option<Path> {
    let keys = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    if !keys.contains(SEPARATOR) && !sections.contains(&keys.as_str()) {
        let section =
            sections.iter().find_map(|section| Some((section, keys.strip_prefix(section)?.strip_prefix('_')?)));
        if let Some((section, rest)) = section.filter(|_| !of_kubernetes(&keys)) {
            let meant = format!("{PREFIX}{section}{SEPARATOR}{rest}").to_ascii_uppercase();
            problems.push((name.to_owned(), format!("two underscores stand between keys: write {meant}")));
        }
        return None;
    }
    let step = |key: &str| key.parse().map_or_else(|_| Step::Key(key.to_owned()), Step::Index);
    Some(Path(keys.split(SEPARATOR).map(step).collect()))
}

/// `…_SERVICE_HOST`, `…_SERVICE_PORT_NAME`, `…_PORT`, `…_PORT_9091_TCP_ADDR`
fn of_kubernetes(keys: &str) -> bool {
    keys.contains("_service_") || keys.ends_with("_port") || keys.contains("_port_")
}

fn node(name: &str, value: &str) -> Node {
    let origin = Origin::Named(Arc::from(name));
    if value.starts_with(['[', '{'])
        && let Ok(mut node) = Node::parse(value)
    {
        relocate(&mut node, &origin);
        return node;
    }
    let kind = match value {
        "" | "~" | "null" => Kind::Null,
        "true" => Kind::Bool(true),
        "false" => Kind::Bool(false),
        _ => value
            .parse()
            .map(Kind::Unsigned)
            .or_else(|_| value.parse().map(Kind::Signed))
            .or_else(|_| value.parse().map(Kind::Float))
            .unwrap_or(Kind::Text),
    };
    Node { origin, value: Value::Scalar(value.to_owned(), kind) }
}

fn relocate(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        Value::List(nodes) => nodes.iter_mut().for_each(|node| relocate(node, origin)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| relocate(node, origin)),
        Value::Scalar(..) | Value::Wrong => {}
    }
}

/// The pod's name or the host's. Kubernetes sets `HOSTNAME` to the pod's name, unless the pod uses the host's
/// network; then a downward API variable says it.
fn host() -> String {
    let named = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTIONS: &[&str] = &["backends", "ledger", "admin", "proxy"];

    fn overlaid(yaml: &str, variables: &[(&str, &str)]) -> (Node, Vec<String>) {
        let mut root = Node::parse(yaml).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let problems = Environment { variables, host: String::new() }.overlay(&mut root, SECTIONS);
        (root, problems.into_iter().map(|(name, problem)| format!("{name}: {problem}")).collect())
    }

    fn value(root: &mut Node, path: &str) -> Value {
        root.get_mut(&Path::parse(path)).unwrap().value.clone()
    }

    #[test]
    fn variables_override_and_add() {
        let (mut root, problems) = overlaid(
            "ledger: {dir: a}\nbackends:\n- {name: one}\nproxy:\n",
            &[
                ("TOUCHMARK_LEDGER__DIR", "/var/lib/1.10"),
                ("TOUCHMARK_BACKENDS__0__MODELS__0__VERSION", "1.10"),
                ("TOUCHMARK_BACKENDS__1", "{name: two, weight: 3}"),
                ("TOUCHMARK_PROXY__LIMITS__BODY", "2GiB"),
                ("TOUCHMARK_ADMIN__LISTEN", "[::1]:9091"),
                ("TOUCHMARK_ADMIN__TOKEN", "se#cret 'x'"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        let scalar = |text: &str, kind| Value::Scalar(text.to_owned(), kind);
        assert_eq!(value(&mut root, "ledger.dir"), scalar("/var/lib/1.10", Kind::Text));
        assert_eq!(value(&mut root, "backends[0].models[0].version"), scalar("1.10", Kind::Float(1.1)));
        assert_eq!(value(&mut root, "backends[0].name"), scalar("one", Kind::Text));
        assert_eq!(value(&mut root, "backends[1].weight"), scalar("3", Kind::Unsigned(3)));
        assert_eq!(value(&mut root, "proxy.limits.body"), scalar("2GiB", Kind::Text));
        assert_eq!(value(&mut root, "admin.listen"), scalar("[::1]:9091", Kind::Text));
        assert_eq!(value(&mut root, "admin.token"), scalar("se#cret 'x'", Kind::Text));
        let named = Origin::Named("TOUCHMARK_BACKENDS__1".into());
        assert_eq!(*root.origin_of(&Path::parse("backends[1].weight")), named);
    }

    #[test]
    fn what_kubernetes_sets_is_left_alone() {
        let (root, problems) = overlaid(
            "",
            &[
                ("TOUCHMARK_PORT", "tcp://10.0.0.1:80"),
                ("TOUCHMARK_SERVICE_HOST", "10.0.0.1"),
                ("TOUCHMARK_ADMIN_PORT_9091_TCP_ADDR", "10.0.0.1"),
                ("TOUCHMARK_ADMIN_SERVICE_PORT", "9091"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(root.value, Value::Map(vec![]));
    }

    #[test]
    fn a_wrong_variable_says_what_was_meant() {
        let (_, problems) = overlaid(
            "ledger: {dir: a}\nbackends: []\n",
            &[
                ("TOUCHMARK_LEDGER_DIR", "x"),
                ("TOUCHMARK_BACKENDS__2__URL", "x"),
                ("TOUCHMARK_BACKENDS__URL", "x"),
                ("TOUCHMARK_LEDGER__DIR__DEEPER", "x"),
            ],
        );
        assert_eq!(
            problems,
            [
                "TOUCHMARK_LEDGER_DIR: two underscores stand between keys: write TOUCHMARK_LEDGER__DIR",
                "TOUCHMARK_BACKENDS__2__URL: there is no element 2: the list has 0",
                "TOUCHMARK_BACKENDS__URL: 'url' is no number, and a list stands there",
                "TOUCHMARK_LEDGER__DIR__DEEPER: there is nothing to override in what stands before 'deeper'",
            ]
        );
    }
}
