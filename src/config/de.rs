//! From nodes to types: a serde `Deserializer` that knows where it is.
//!
//! serde stops at the first error and does not say where it was. [`typed`] notes the path of each error, lays the
//! wrong node aside and goes on, so that one run names every wrong value; keys that a struct does not have are noted
//! on the way, with the key that was probably meant.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::{Deserializer, de};

use super::node::{Kind, Node, Path, Step, Value};

/// Wrong values named by one run. Beyond it the rest is left to the next run.
const ERRORS_MAX: usize = 64;

/// Reads a typed value, with its default wherever a value is wrong; `None` where too little is left. Problems are by
/// path, and a value that is wrong is marked so in the tree.
pub(super) fn typed<T: DeserializeOwned>(root: &mut Node) -> (Option<T>, Vec<(Path, String)>) {
    let unknown = RefCell::new(BTreeMap::new());
    let mut problems = Vec::new();
    let mut value = None;
    for _ in 0..ERRORS_MAX {
        match T::deserialize(De { node: root, path: Path::default(), unknown: &unknown }) {
            Ok(whole) => {
                value = Some(whole);
                break;
            }
            Err(Error { path, message }) => {
                let Some(node) = root.get_mut(&path) else { break };
                // A required key that was wrong itself is missing now only because it was laid aside.
                let echo = message
                    .strip_prefix("missing field `")
                    .and_then(|rest| rest.strip_suffix('`'))
                    .is_some_and(|key| node.has_wrong(key));
                node.value = Value::Wrong;
                let at_root = path.0.is_empty();
                if !echo {
                    problems.push((path, message));
                }
                if at_root {
                    break;
                }
            }
        }
    }
    problems.extend(unknown.into_inner());
    (value, problems)
}

/// A type error and where it happened.
#[derive(Debug)]
struct Error {
    path: Path,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: Path::default(), message: message.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format_args!("missing field `{field}`"))
    }
}

/// Keys that a struct does not have, and what to say of each.
type Unknown = RefCell<BTreeMap<Path, String>>;

#[derive(Clone)]
struct De<'a> {
    node: &'a Node,
    path: Path,
    unknown: &'a Unknown,
}

impl<'a> De<'a> {
    /// Runs a step of the deserialization; an error that has no place yet happened here.
    fn located<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| {
            if error.path.0.is_empty() { Error { path: self.path.clone(), message: error.message } } else { error }
        })
    }

    fn inner(&self, step: Step, node: &'a Node) -> Self {
        Self { node, path: self.path.with(step), unknown: self.unknown }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match &self.node.value {
            Value::Scalar(_, Kind::Null) => Unexpected::Other("nothing"),
            Value::Scalar(_, Kind::Bool(value)) => Unexpected::Bool(*value),
            Value::Scalar(_, Kind::Unsigned(value)) => Unexpected::Unsigned(*value),
            Value::Scalar(_, Kind::Signed(value)) => Unexpected::Signed(*value),
            Value::Scalar(_, Kind::Float(value)) => Unexpected::Float(*value),
            Value::Scalar(text, Kind::Text) => Unexpected::Str(text),
            Value::List(_) => Unexpected::Other("a list"),
            Value::Map(_) | Value::Wrong => Unexpected::Other("a mapping"),
        }
    }

    fn map<'de, V: Visitor<'de>>(
        &self,
        entries: &'a [(String, Node)],
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        let access = Entries { de: self.clone(), rest: entries.iter(), fields, next: None };
        self.located(visitor.visit_map(access))
    }

    fn list<'de, V: Visitor<'de>>(&self, nodes: &'a [Node], visitor: V) -> Result<V::Value, Error> {
        let access = Elements { de: self.clone(), rest: nodes.iter().enumerate() };
        self.located(visitor.visit_seq(access))
    }

    fn text<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        self.located(match &self.node.value {
            Value::Scalar(_, Kind::Null) | Value::List(_) | Value::Map(_) | Value::Wrong => {
                Err(de::Error::invalid_type(self.unexpected(), &visitor))
            }
            Value::Scalar(text, _) => visitor.visit_str(text).map_err(|error| self.with_value(error, text)),
        })
    }

    /// Names the value where the message does not, unless it may be a secret.
    fn with_value(&self, error: Error, text: &str) -> Error {
        let secret = matches!(self.path.0.last(), Some(Step::Key(key)) if key.contains("token"));
        if secret || !error.path.0.is_empty() || error.message.contains(text) {
            return error;
        }
        Error { message: format!("'{text}': {}", error.message), ..error }
    }
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(text, kind) => self.located(match kind {
                Kind::Null => visitor.visit_unit(),
                Kind::Bool(value) => visitor.visit_bool(*value),
                Kind::Unsigned(value) => visitor.visit_u64(*value),
                Kind::Signed(value) => visitor.visit_i64(*value),
                Kind::Float(value) => visitor.visit_f64(*value),
                Kind::Text => visitor.visit_str(text),
            }),
            Value::List(nodes) => self.list(nodes, visitor),
            Value::Map(entries) => self.map(entries, None, visitor),
            Value::Wrong => self.located(visitor.visit_unit()),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(_, Kind::Null) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            // A key without a value says nothing, as an empty list does.
            Value::Scalar(_, Kind::Null) => self.list(&[], visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(_, Kind::Null) => self.map(&[], None, visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(_, Kind::Null) => self.map(&[], None, visitor),
            Value::Map(entries) => self.map(entries, Some(fields), visitor),
            _ => self.located(Err(de::Error::invalid_type(self.unexpected(), &"a mapping"))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.located(match &self.node.value {
            Value::Scalar(text, kind) if *kind != Kind::Null => visitor.visit_enum(StrDeserializer::new(text)),
            Value::Map(entries) if entries.len() == 1 => visitor.visit_enum(Variant {
                name: &entries[0].0,
                de: self.inner(Step::Key(entries[0].0.clone()), &entries[0].1),
            }),
            _ => Err(de::Error::invalid_type(self.unexpected(), &visitor)),
        })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// The entries of a map, one after the other.
struct Entries<'a> {
    de: De<'a>,
    rest: std::slice::Iter<'a, (String, Node)>,
    /// The keys that there are; `None` where any may be.
    fields: Option<&'static [&'static str]>,
    next: Option<&'a (String, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        for entry in self.rest.by_ref() {
            let (key, node) = entry;
            if node.value == Value::Wrong {
                continue;
            }
            if let Some(fields) = self.fields.filter(|fields| !fields.contains(&key.as_str())) {
                let path = self.de.path.with(Step::Key(key.clone()));
                self.de.unknown.borrow_mut().insert(path, unknown_key(key, fields));
                continue;
            }
            self.next = Some(entry);
            return seed.deserialize(StrDeserializer::new(key)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let de = self.de.inner(Step::Key(key.clone()), node);
        de.clone().located(seed.deserialize(de))
    }
}

/// The elements of a list, one after the other.
struct Elements<'a> {
    de: De<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.rest.find(|(_, node)| node.value != Value::Wrong) {
            Some((index, node)) => {
                let de = self.de.inner(Step::Index(index), node);
                de.clone().located(seed.deserialize(de)).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// `{variant: content}`
struct Variant<'a> {
    name: &'a str,
    de: De<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = De<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, De<'a>), Error> {
        Ok((seed.deserialize(StrDeserializer::<Error>::new(self.name))?, self.de))
    }
}

impl<'de> VariantAccess<'de> for De<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.located(Err(de::Error::custom("this choice has no content: write its name alone")))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_struct("", fields, visitor)
    }
}

fn unknown_key(key: &str, fields: &[&str]) -> String {
    let near = fields.iter().map(|field| (distance(key, field), field)).min().filter(|(far, _)| *far <= 2);
    match near {
        Some((_, field)) => format!("unknown key: did you mean '{field}'?"),
        None => format!("unknown key: there are {}", fields.join(", ")),
    }
}

/// Letters to insert, remove or change (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for column in 0..right.len() {
            let changed = diagonal + usize::from(letter != right[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Top {
        list: Vec<Item>,
        #[serde(default)]
        choice: Choice,
        #[serde(default)]
        map: BTreeMap<String, String>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        name: String,
        #[serde(default)]
        count: Option<u32>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        #[default]
        Plain,
        Full {
            depth: u8,
        },
    }

    fn run(yaml: &str) -> (Option<Top>, Vec<String>) {
        let (value, problems) = typed(&mut Node::parse(yaml).unwrap());
        (value, problems.into_iter().map(|(path, problem)| format!("{path}: {problem}")).collect())
    }

    #[test]
    fn text_stays_as_it_was_written() {
        let (top, problems) =
            run("list: [{name: 1.10, count: 3}]\nchoice: {full: {depth: 2}}\nmap: {a: 0.10, b: yes}\n");
        assert_eq!(problems, [""; 0]);
        let top = top.unwrap();
        assert_eq!(top.list, [Item { name: "1.10".into(), count: Some(3) }]);
        assert_eq!(top.choice, Choice::Full { depth: 2 });
        assert_eq!(top.map["a"], "0.10");
    }

    #[test]
    fn every_wrong_value_is_named_once() {
        let (top, problems) = run(
            "list:\n- {name: [], count: 3}\n- {name: a, count: -1, cuont: 1}\n- {count: x}\n- {name: b, colour: red}\nchoice: plane\n",
        );
        let left = ["a", "b"].map(|name| Item { name: name.into(), count: None });
        assert_eq!(top.unwrap().list, left);
        assert_eq!(
            problems,
            [
                "list[0].name: invalid type: a list, expected a string",
                "list[1].count: invalid value: integer `-1`, expected u32",
                "list[2].count: invalid type: string \"x\", expected u32",
                "list[2]: missing field `name`",
                "choice: unknown variant `plane`, expected `plain` or `full`",
                "list[1].cuont: unknown key: did you mean 'count'?",
                "list[3].colour: unknown key: there are name, count",
            ]
        );
    }

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("url", "url"), 0);
    }
}
