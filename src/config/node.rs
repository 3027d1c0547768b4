//! The configuration as a tree of nodes, each with the place that it came from.
//!
//! A tree of our own stands between YAML and the types, so that the file, the environment and the command line make
//! one configuration, and any error about it names its place. Scalars keep the text in which they were written:
//! a version `1.10` must not become the number 1.1. Nothing here knows a key.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Line and column in the file, both from 1.
    File(u64, u64),
    /// An environment variable or a flag.
    Named(Arc<str>),
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Where it came from.
    pub(super) origin: Origin,
    /// What it is.
    pub(super) value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// One value: its text, and what YAML takes it for.
    Scalar(String, Kind),
    /// Values in order.
    List(Vec<Node>),
    /// Values by key, in the file's order.
    Map(Vec<(String, Node)>),
    /// Found wrong and reported: looked at no more.
    Wrong,
}

/// What YAML takes a scalar for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number below 0.
    Signed(i64),
    /// Another number.
    Float(f64),
    /// Anything else, and everything in quotes.
    Text,
}

/// One step from a node to a node inside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The way from the root to a node, written `backends[0].models[1].version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The path one step further.
    pub(super) fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Reads what [`Display`](fmt::Display) wrote. Keys with dots or brackets are not told apart: our keys have none.
    pub(super) fn parse(text: &str) -> Self {
        let steps = text.split(['.', '[']).filter(|step| !step.is_empty()).map(|step| match step.strip_suffix(']') {
            Some(index) => index.parse().map_or_else(|_| Step::Key(step.to_owned()), Step::Index),
            None => Step::Key(step.to_owned()),
        });
        Self(steps.collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if place == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Node {
    /// A map without keys.
    pub(super) fn empty(origin: Origin) -> Self {
        Self { origin, value: Value::Map(Vec::new()) }
    }

    /// A text.
    pub(super) fn text(origin: Origin, text: &str) -> Self {
        Self { origin, value: Value::Scalar(text.to_owned(), Kind::Text) }
    }

    /// Reads YAML text.
    pub(super) fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        let options = serde_saphyr::options! { with_snippet: false };
        // An empty file says nothing, as `{}` does.
        let raw: Option<Raw> = serde_saphyr::from_str_with_options(text, options)?;
        Ok(raw.map_or_else(|| Self::empty(Origin::File(1, 1)), |raw| raw.node(text)))
    }

    /// The node at the end of a path.
    pub(super) fn get_mut(&mut self, path: &Path) -> Option<&mut Self> {
        path.0.iter().try_fold(self, |node, step| node.step_mut(step))
    }

    /// The place of the node at the end of a path, or of the last one on the way that there is.
    pub(super) fn origin_of(&self, path: &Path) -> &Origin {
        let mut node = self;
        for step in &path.0 {
            match node.step(step) {
                Some(inner) => node = inner,
                None => break,
            }
        }
        &node.origin
    }

    /// Whether this is a map that has a key found wrong.
    pub(super) fn has_wrong(&self, key: &str) -> bool {
        self.step(&Step::Key(key.to_owned())).is_some_and(|node| node.value == Value::Wrong)
    }

    /// Whether something at the end of a path, on the way there, or inside it was found wrong.
    pub(super) fn is_wrong_about(&self, path: &Path) -> bool {
        let mut node = self;
        for step in &path.0 {
            match node.step(step) {
                Some(inner) => node = inner,
                None => return node.value == Value::Wrong,
            }
        }
        node.holds_wrong()
    }

    fn holds_wrong(&self) -> bool {
        match &self.value {
            Value::Wrong => true,
            Value::Scalar(..) => false,
            Value::List(nodes) => nodes.iter().any(Self::holds_wrong),
            Value::Map(entries) => entries.iter().any(|(_, node)| node.holds_wrong()),
        }
    }

    fn step(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Map(entries), Step::Key(key)) => entries.iter().find(|(name, _)| name == key).map(|(_, node)| node),
            (Value::List(nodes), Step::Index(index)) => nodes.get(*index),
            _ => None,
        }
    }

    fn step_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.value, step) {
            (Value::Map(entries), Step::Key(key)) => {
                entries.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            (Value::List(nodes), Step::Index(index)) => nodes.get_mut(*index),
            _ => None,
        }
    }
}

/// A node as the YAML parser gives it: scalars have their value, and their place for the text.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Text(String),
    Plain(Kind),
    List(Vec<Raw>),
    Map(Vec<(String, Raw)>),
}

impl Raw {
    fn node(self, source: &str) -> Node {
        let origin = Origin::File(self.0.referenced.line(), self.0.referenced.column());
        let value = match self.0.value {
            RawValue::Text(text) => Value::Scalar(text, Kind::Text),
            RawValue::Plain(kind) => {
                let span = self.0.defined.span();
                let start = span.byte_offset().and_then(|offset| usize::try_from(offset).ok());
                let len = span.byte_len().and_then(|len| usize::try_from(len).ok());
                let text = start.zip(len).and_then(|(start, len)| source.get(start..start.saturating_add(len)));
                Value::Scalar(text.unwrap_or_default().trim().to_owned(), kind)
            }
            RawValue::List(nodes) => Value::List(nodes.into_iter().map(|raw| raw.node(source)).collect()),
            RawValue::Map(entries) => {
                Value::Map(entries.into_iter().map(|(key, raw)| (key, raw.node(source))).collect())
            }
        };
        Node { origin, value }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Null))
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<RawValue, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Unsigned(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(u64::try_from(value).map_or(Kind::Signed(value), Kind::Unsigned)))
    }

    // Wider than any key's number can be: only its text counts.
    fn visit_i128<E>(self, _value: i128) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Text))
    }

    fn visit_u128<E>(self, _value: u128) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Text))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Plain(Kind::Float(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawValue, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(RawValue::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(text: &str, path: &str) -> (String, Kind, Origin) {
        let mut root = Node::parse(text).unwrap();
        let node = root.get_mut(&Path::parse(path)).unwrap();
        match &node.value {
            Value::Scalar(text, kind) => (text.clone(), *kind, node.origin.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn scalars_keep_their_text_and_place() {
        let yaml = "é: 1.10 # comment\nlist:\n  - {a: 0x1F, b: '1.10'}\n  - 1.0e3\nx: ~\ny:\nz: 007\nw: true\n";
        assert_eq!(scalar(yaml, "é"), ("1.10".into(), Kind::Float(1.1), Origin::File(1, 4)));
        assert_eq!(scalar(yaml, "list[0].a"), ("0x1F".into(), Kind::Unsigned(31), Origin::File(3, 9)));
        assert_eq!(scalar(yaml, "list[0].b"), ("1.10".into(), Kind::Text, Origin::File(3, 18)));
        assert_eq!(scalar(yaml, "list[1]").0, "1.0e3");
        assert_eq!(scalar(yaml, "x").1, Kind::Null);
        assert_eq!(scalar(yaml, "y").1, Kind::Null);
        assert_eq!(scalar(yaml, "z").0, "007");
        assert_eq!(scalar(yaml, "w"), ("true".into(), Kind::Bool(true), Origin::File(8, 4)));
        assert_eq!(scalar("a: 340282366920938463463374607431768211455\n", "a").0.len(), 39);
    }

    #[test]
    fn anchors_and_merges_keep_the_text_too() {
        let yaml = "a: &v 1.10\nb: *v\nc: &m {p: 2.50}\nd:\n  <<: *m\n  q: 1\n";
        assert_eq!(scalar(yaml, "b").0, "1.10");
        assert_eq!(scalar(yaml, "d.p").0, "2.50");
        assert_eq!(scalar(yaml, "d.q").0, "1");
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "# only a comment\n", "---\n", "null\n", "{}"] {
            assert_eq!(Node::parse(text).unwrap().value, Value::Map(vec![]), "{text:?}");
        }
    }

    #[test]
    fn a_path_reads_back() {
        for text in ["backends[0].models[1].version", "ledger.dir", "proxy"] {
            assert_eq!(Path::parse(text).to_string(), text);
        }
    }
}
