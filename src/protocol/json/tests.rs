//! The scanner and [`pointer()`] against `serde_json` on valid documents, and against broken ones.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::Value;

use super::super::found::{Found, Slot, cut};
use super::*;

static NAMES: Names = Names::top_level(Some("model"), Some("model_version"), Some("ü\"x"));
static NESTED: Names = Names::under("response", "model");

/// What the scanner finds, the document split into pieces of these sizes, over and over.
fn scan(names: &Names, document: &[u8], sizes: &[usize]) -> [Option<String>; 3] {
    let (mut scanner, mut found, mut rest) = (Scanner::new(names), Found::default(), document);
    for size in sizes.iter().cycle() {
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        scanner.feed(names, chunk, &mut found);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    Slot::ALL.map(|slot| found.get(slot).map(str::to_owned))
}

fn whole(names: &Names, document: &str) -> [Option<String>; 3] {
    scan(names, document.as_bytes(), &[document.len().max(1)])
}

/// The text that the scanner takes of a member.
fn expected(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => (!text.is_empty()).then(|| cut(text.clone())),
        Value::Number(number) => Some(cut(number.to_string())),
        _ => None,
    }
}

fn documents() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        4 => prop::sample::select(vec!["model", "model_version", "ü\"x", "response", "models", "a/b~c", ""])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["\\", "\"", "\\\"{", "\u{1F600}\n", "}]", "x\u{0}"]).prop_map(Value::from),
        "[a-zé]{200,300}".prop_map(Value::from),
    ];
    let members = prop::collection::hash_map(keys.clone(), leaf, 0..6);
    let leaf = members.prop_map(|members| Value::Object(members.into_iter().collect()));
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let value =
            prop_oneof![inner.clone(), any::<u32>().prop_map(Value::from), any::<String>().prop_map(Value::from)];
        prop_oneof![
            1 => prop::collection::vec(value.clone(), 0..5).prop_map(|list| serde_json::json!({ "list": list })),
            3 => prop::collection::hash_map(keys.clone(), value, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn written(document: &Value, pretty: bool, escaped: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(document) } else { serde_json::to_string(document) }.unwrap();
    if !escaped {
        return text;
    }
    // What is not ASCII stands in strings only, so escaping it leaves the document as it was.
    let mut ascii = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04X}").unwrap();
            }
        }
    }
    ascii
}

/// Every pointer into a document, with what it names.
fn pointers(value: &Value, prefix: &str, into: &mut Vec<(String, Value)>) {
    into.push((prefix.to_owned(), value.clone()));
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            pointers(value, &format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1")), into);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{prefix}/{index}"), into));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn the_scanner_agrees_with_serde_json(
        document in documents(), pretty: bool, escaped: bool, sizes in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let text = written(&document, pretty, escaped);
        let found = scan(&NAMES, text.as_bytes(), &sizes);
        prop_assert_eq!(&found, &whole(&NAMES, &text));
        let members = ["model", "model_version", "ü\"x"].map(|name| expected(document.get(name)));
        prop_assert_eq!(found, members, "{}", text);

        let [found, ..] = scan(&NESTED, text.as_bytes(), &sizes);
        let parent = document.get("response").filter(|parent| parent.is_object());
        prop_assert_eq!(found, expected(parent.and_then(|parent| parent.get("model"))), "{}", text);
    }

    #[test]
    fn pointer_agrees_with_serde_json(document in documents(), pretty: bool) {
        // Escaped text would be compacted as written, unlike serde_json's.
        let text = written(&document, pretty, false);
        let mut all = Vec::new();
        pointers(&document, "", &mut all);
        for (place, value) in all {
            let expected = match &value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            prop_assert_eq!(pointer(text.as_bytes(), &place), Some(cut(expected)), "{} in {}", place, text);
        }
        prop_assert_eq!(pointer(text.as_bytes(), "/no such member"), None);
    }

    #[test]
    fn any_bytes_pass_whatever_the_chunking(
        bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(br#"{}[]":,\u0eE-model_version.nDdaA "#.to_vec()), any::<u8>()], 0..200),
        sizes in prop::collection::vec(1_usize..9, 1..6), prefixed: bool,
    ) {
        let bytes = if prefixed { [&br#"{"model":"#[..], &bytes].concat() } else { bytes };
        prop_assert_eq!(scan(&NAMES, &bytes, &sizes), scan(&NAMES, &bytes, &[bytes.len().max(1)]));
        for place in ["", "/model", "/model/0", "/0/model"] {
            prop_assert!(pointer(&bytes, place).is_none_or(|value| value.len() <= 256));
        }
    }

    #[test]
    fn blocks_hide_nothing(
        bytes in prop::collection::vec(
            prop_oneof![8 => any::<u8>(), 1 => prop::sample::select(br#""{}[]"#.to_vec())], 0..200),
        depth in 1..60_u64,
    ) {
        let mut naive = depth;
        let end = bytes.iter().position(|byte| {
            match byte {
                b'{' | b'[' => naive += 1,
                b'}' | b']' => naive -= 1,
                _ => {}
            }
            *byte == b'"' || naive == 0
        });
        let mut counted = depth;
        prop_assert_eq!(skip_brackets(&bytes, &mut counted), end.map(|at| at + 1));
        prop_assert_eq!(counted, naive);
    }
}

fn some(model: &str, version: &str, fingerprint: &str) -> [Option<String>; 3] {
    [model, version, fingerprint].map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

#[test]
fn what_is_no_valid_json_is_read_as_far_as_it_goes() {
    assert_eq!(whole(&NAMES, r#"{"a":NaN,"b":-Infinity,"c":[Infinity],"model":"m"}"#), some("m", "", ""));
    assert_eq!(whole(&NAMES, r#"{"model":"m","model":"n","model_version":3"#), some("m", "", ""));
    assert_eq!(whole(&NAMES, r#"{"model":null,"model":"n"}"#), some("", "", ""));
    assert_eq!(whole(&NAMES, r#"{"model_version":-1.50,"model":true}"#), some("", "-1.50", ""));
    assert_eq!(whole(&NAMES, r#"{"model":"\ud83d\u0041\ude00\uZZ\q"}"#), some("\u{fffd}A\u{fffd}\u{fffd}ZZq", "", ""));
    assert_eq!(whole(&NAMES, r#"{"mod\u0065l":"m"}"#), some("m", "", ""));
    for nothing in ["", "[1]", "\"model\"", "{model:1}", r#"{"model""m"}"#, r#"{"model":}"#, r#"{"a":"#, "<html>"] {
        assert_eq!(whole(&NAMES, nothing), some("", "", ""), "{nothing}");
    }
}

#[test]
fn the_scanner_stops_as_soon_as_it_knows_all() {
    for (document, rest) in [
        (r#"{"model":"m","model_version":"1","ü\"x":null"#, ""),
        (r#"{"model":"m"}"#, "{}"),
        ("[", "1]"),
        (r#"{"a":[[{}]],"model":"m","model_version":{"x":1},"ü\"x":"f""#, "}"),
    ] {
        let (mut scanner, mut found) = (Scanner::new(&NAMES), Found::default());
        scanner.feed(&NAMES, document.as_bytes(), &mut found);
        // An object as a value ends the wait for it at its opening.
        assert!(scanner.is_done(), "{document}");
        scanner.feed(&NAMES, rest.as_bytes(), &mut found);
        assert!(scanner.is_done());
    }
}

#[test]
fn depth_costs_nothing() {
    let deep = format!("{{\"a\":{}{},\"model\":\"m\"}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(whole(&NAMES, &deep), some("m", "", ""));
    assert_eq!(pointer(deep.as_bytes(), "/model").as_deref(), Some("m"));
    assert_eq!(pointer("[".repeat(200_000).as_bytes(), "/0/0/0"), None);
}

#[test]
fn pointer_reads_what_decisions_look_like() {
    let body = br#" { "predictions" : [ [0.25, 1e-7], NaN, -Infinity ], "a/b":{"m~n":" x\n\u00e9"}, "d": 1, "d": 2 } "#;
    for (place, value) in [
        ("/predictions/0/1", Some("1e-7")),
        ("/predictions/0", Some("[0.25,1e-7]")),
        ("/predictions/1", Some("NaN")),
        ("/predictions/2", Some("-Infinity")),
        ("/predictions/3", None),
        ("/predictions/-", None),
        ("/predictions/00", None),
        ("/predictions/+1", None),
        ("/predictions/", None),
        ("/predictions/99999999999999999999999", None),
        ("/a~1b/m~0n", Some(" x\né")),
        ("/a~1b", Some(r#"{"m~n":" x\n\u00e9"}"#)),
        ("/d", Some("2")),
        ("/d/0", None),
        ("d", None),
        ("/", None),
    ] {
        assert_eq!(pointer(body, place).as_deref(), value, "{place}");
    }
    assert_eq!(pointer(b"0.5", "").as_deref(), Some("0.5"));
    assert_eq!(pointer(br#"{"":{"":7}}"#, "//").as_deref(), Some("7"));
    assert_eq!(pointer(br#"{"a":1,"b":{"#, "/a"), None, "a document that breaks off names nothing");
    assert_eq!(pointer(br#"{"a":"\"#, "/a"), None);
    let long = format!("[\"{}\"]", "é".repeat(300));
    assert_eq!(pointer(long.as_bytes(), "/0").unwrap(), format!("{}…", "é".repeat(126)));
    assert_eq!(pointer(long.as_bytes(), "").unwrap(), format!("[\"{}…", "é".repeat(125)));
}
