//! Messages by hand, messages from an encoder of the tests' own, and nonsense.

use proptest::prelude::*;

use super::*;

const MODEL: Fields = Fields::text(1, 2);
/// A version that is an integer in a message of its own.
const NUMBERED: Fields = Fields { version_kind: Kind::Int64, ..MODEL };

fn scan(fields: Fields, message: &[u8]) -> (Option<String>, Option<String>) {
    let mut outcomes = Vec::new();
    for size in [1, 2, 3, message.len().max(1)] {
        let (mut scanner, mut found) = (Scanner::new(fields), Found::default());
        message.chunks(size).for_each(|chunk| scanner.feed(chunk, &mut found));
        outcomes.push((found.get(Slot::Model).map(str::to_owned), found.get(Slot::Version).map(str::to_owned)));
    }
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
    outcomes.swap_remove(0)
}

fn some(model: &str, version: &str) -> (Option<String>, Option<String>) {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (text(model), text(version))
}

#[test]
fn fields_are_found_in_any_order_between_others_of_every_wire_type() {
    assert_eq!(scan(MODEL, b"\x0a\x05fraud\x12\x017"), some("fraud", "7"));
    // 9: varint, 10: fixed 64, 11: fixed 32, 5: nested bytes that look like a name, 2, a group with a name, 1.
    let message = b"\x48\xff\xff\x01\x51ABCDEFGH\x5dABCD\x2a\x03\x0a\x01x\x12\x017\x63\x0a\x01y\x64\x0a\x01z";
    assert_eq!(scan(MODEL, message), some("z", "7"));
    assert_eq!(scan(MODEL, b"\x0a\x00\x12\x00"), some("", ""));
    assert_eq!(scan(MODEL, b""), some("", ""));
}

#[test]
fn a_parent_bounds_its_fields() {
    let nested = Fields { parents: &[2], ..MODEL };
    assert_eq!(scan(nested, b"\x0a\x03err\x12\x08\x0a\x03abc\x12\x017"), some("abc", "7"));
    assert_eq!(scan(nested, b"\x12\x05\x0a\x03abc\x12\x017"), some("abc", ""));
    assert_eq!(scan(nested, b"\x0a\x03err"), some("", ""));
    // A field that claims more than its parent holds.
    assert_eq!(scan(nested, b"\x12\x04\x0a\x7fabcdefgh"), some("", ""));
    assert_eq!(scan(nested, b"\x12\x00\x0a\x01a"), some("", ""));
}

#[test]
fn nonsense_ends_the_search() {
    for message in [&b"\x00\x0a\x01a"[..], b"\x0f\x0a\x01a", b"\x0c\x0a\x01a", &[0xff; 40]] {
        assert_eq!(scan(MODEL, message), some("", ""));
    }
    // A length past all memory is skipped, not kept.
    assert_eq!(scan(MODEL, b"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x0a\x01a"), some("", ""));
    assert_eq!(scan(MODEL, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01abc"), some("", ""));
}

#[test]
fn parents_may_be_nested() {
    let nested = Fields { parents: &[1, 3], ..MODEL };
    let message = b"\x12\x03\x0a\x01x\x0a\x0c\x12\x01y\x1a\x07\x0a\x01a\x12\x02v7\x0a\x05\x1a\x03\x0a\x01b";
    assert_eq!(scan(nested, message), some("a", "v7"));
    // The first that is entered is the only one, and the inner one's field means nothing outside of it.
    assert_eq!(scan(nested, b"\x0a\x03\x12\x01y\x0a\x05\x1a\x03\x0a\x01b"), some("", ""));
    assert_eq!(scan(nested, b"\x1a\x03\x0a\x01b"), some("", ""));
    // The inner one claims more than the outer one holds.
    assert_eq!(scan(nested, b"\x0a\x05\x1a\x06\x0a\x01b\x12\x01y"), some("", ""));
}

#[test]
fn integers_are_found_as_text() {
    assert_eq!(scan(NUMBERED, b"\x0a\x05fraud\x12\x02\x08\x07"), some("fraud", "7"));
    assert_eq!(scan(NUMBERED, b"\x12\x03\x08\xac\x02\x0a\x05fraud"), some("fraud", "300"));
    assert_eq!(scan(NUMBERED, b"\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), some("", "-1"));
    assert_eq!(scan(NUMBERED, b"\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), some("", "9223372036854775807"));
    assert_eq!(scan(NUMBERED, b"\x12\x00\x0a\x01a"), some("a", "0"), "an encoder leaves out 0");
    // Among fields of a later definition: a name, a group with a value; and twice, where the first counts.
    let message = b"\x12\x0b\x12\x01x\x1b\x08\x09\x1c\x08\x07\x08\x08\x0a\x01a\x12\x02\x08\x06";
    assert_eq!(scan(NUMBERED, message), some("a", "7"));
    let nested = Fields { parents: &[2], ..NUMBERED };
    assert_eq!(scan(nested, b"\x12\x07\x0a\x01a\x12\x02\x08\x07\x0a\x01b"), some("a", "7"));
    assert_eq!(scan(nested, b"\x12\x04\x12\x02\x08\x07\x0a\x01b"), some("", "7"), "both end at once");
    assert_eq!(scan(nested, b"\x12\x02\x12\x00\x0a\x01b"), some("", "0"), "both end at once");
    // A varint where a message is due is another field's.
    assert_eq!(scan(NUMBERED, b"\x10\x07\x0a\x01a"), some("a", ""));
}

#[test]
fn an_integer_that_its_message_cuts_off_is_none() {
    for message in [
        &b"\x12\x01\x08\x07\x0a\x01a"[..],
        b"\x12\x02\x08\x87\x01\x0a\x01a",
        b"\x12\x03\x0d\x01\x02\x03\x04\x0a\x01a",
        b"\x12\x03\x12\x7fx\x0a\x01a",
        b"\x12\x03\x08\x07\x1b\x0a\x01a",
        b"\x12\x02\x0f\x07\x0a\x01a",
        b"\x12\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ] {
        assert_eq!(scan(NUMBERED, message), some("", ""), "{message:x?}");
    }
}

#[test]
fn gigabytes_are_passed_over() {
    const MEBIBYTE: usize = 1 << 20;
    // Three gibibytes of outputs, then the model.
    let fields = Fields { parents: &[2], ..NUMBERED };
    let (mut scanner, mut found) = (Scanner::new(fields), Found::default());
    scanner.feed(b"\x0a\x80\x80\x80\x80\x0c", &mut found);
    let zeros = vec![0; MEBIBYTE];
    for _ in 0..3 << 10 {
        scanner.feed(&zeros, &mut found);
    }
    assert!(!scanner.is_done());
    scanner.feed(b"\x12\x07\x0a\x01a\x12\x02\x08\x07", &mut found);
    assert_eq!((found.get(Slot::Model), found.get(Slot::Version)), (Some("a"), Some("7")));
    assert!(scanner.is_done());
}

/// A field as the encoding guide has it.
#[derive(Clone, Debug)]
enum Field {
    Varint(u32, u64),
    Fixed64(u32, [u8; 8]),
    Fixed32(u32, [u8; 4]),
    Bytes(u32, Vec<u8>),
    Group(u32, Vec<Field>),
}

fn encode(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    let key = |field: u32, wire_type: u64| varint(u64::from(field) * 8 + wire_type);
    for field in fields {
        match field {
            Field::Varint(field, value) => out.extend([key(*field, 0), varint(*value)].concat()),
            Field::Fixed64(field, value) => out.extend([&key(*field, 1)[..], value].concat()),
            Field::Bytes(field, value) => {
                out.extend([&key(*field, 2)[..], &varint(value.len() as u64), value].concat());
            }
            Field::Group(field, inner) => out.extend([key(*field, 3), encode(inner), key(*field, 4)].concat()),
            Field::Fixed32(field, value) => out.extend([&key(*field, 5)[..], value].concat()),
        }
    }
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 128 {
        out.push(u8::try_from(value % 128).unwrap() + 128);
        value /= 128;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

/// Fields that mean nothing where they stand, some with what would mean something elsewhere.
fn noise() -> impl Strategy<Value = Vec<Field>> {
    let number = || prop::sample::select(vec![4, 5, 15, 16, 2047, 2048, (1 << 29) - 1]);
    let any_number = prop_oneof![number(), 1_u32..4];
    let decoys = vec![Field::Bytes(1, b"decoy".to_vec()), Field::Varint(1, 99), Field::Bytes(2, b"\x08\x63".to_vec())];
    let encoded = encode(&decoys);
    let field = prop_oneof![
        (number(), any::<u64>()).prop_map(|(field, value)| Field::Varint(field, value)),
        (any_number.clone(), any::<[u8; 8]>()).prop_map(|(field, value)| Field::Fixed64(field, value)),
        (any_number.clone(), any::<[u8; 4]>()).prop_map(|(field, value)| Field::Fixed32(field, value)),
        (number(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(field, value)| Field::Bytes(field, value)),
        number().prop_map(move |field| Field::Bytes(field, encoded.clone())),
        any_number.prop_map(move |field| Field::Group(field, decoys.clone())),
    ];
    prop::collection::vec(field, 0..4)
}

/// The fields, or none, anywhere among noise.
fn among_noise(fields: impl Strategy<Value = Vec<Field>>) -> impl Strategy<Value = Vec<Field>> {
    (fields, noise()).prop_map(|(fields, noise)| [fields, noise].concat()).prop_shuffle()
}

/// A name and a version, either perhaps missing, and a message that says so within these parents.
fn message(parents: &'static [u32]) -> impl Strategy<Value = (Option<String>, Option<i64>, Vec<u8>)> {
    let version = prop_oneof![Just(0), any::<i64>(), -300_i64..300];
    (prop::option::of("[a-zé]{1,12}"), prop::option::of((version, any::<bool>()))).prop_flat_map(
        move |(name, version)| {
            // That a value is 0 need not be said.
            let value = version.filter(|(value, stated)| *stated || *value != 0);
            let value = value.map(|(value, _)| Field::Varint(1, value.cast_unsigned()));
            let stated = name.clone();
            let spec = among_noise(Just(Vec::from_iter(value))).prop_flat_map(move |value| {
                let name = stated.clone().map(|name| Field::Bytes(1, name.into_bytes()));
                let version = version.map(|_| Field::Bytes(2, encode(&value)));
                among_noise(Just(name.into_iter().chain(version).collect()))
            });
            let mut message = spec.boxed();
            for parent in parents.iter().rev() {
                let within = message.prop_map(|inner| vec![Field::Bytes(*parent, encode(&inner))]);
                message = among_noise(within).boxed();
            }
            message.prop_map(move |fields| (name.clone(), version.map(|(value, _)| value), encode(&fields)))
        },
    )
}

proptest! {
    #[test]
    fn what_an_encoder_wrote_is_read_however_it_is_split(
        (parents, (name, version, message)) in prop::sample::select(vec![&[][..], &[1], &[2], &[1, 1], &[3, 1, 2]])
            .prop_flat_map(|parents| (Just(parents), message(parents))),
    ) {
        let version = version.map(|version| version.to_string());
        let expected = (name.as_deref(), version.as_deref());
        let fields = Fields { parents, ..NUMBERED };
        let read = |found: &Found| (found.get(Slot::Model).map(str::to_owned), found.get(Slot::Version).map(str::to_owned));
        for at in 0..=message.len() {
            let (mut scanner, mut found) = (Scanner::new(fields), Found::default());
            scanner.feed(&message[..at], &mut found);
            let so_far = read(&found);
            prop_assert!(so_far.0.is_none() || so_far.0.as_deref() == expected.0, "{so_far:?}");
            prop_assert!(so_far.1.is_none() || so_far.1.as_deref() == expected.1, "{so_far:?}");
            scanner.feed(&message[at..], &mut found);
            let whole = read(&found);
            prop_assert_eq!((whole.0.as_deref(), whole.1.as_deref()), expected, "split at {}", at);
        }
        let (mut scanner, mut found) = (Scanner::new(fields), Found::default());
        message.chunks(1).for_each(|byte| scanner.feed(byte, &mut found));
        let pieces = read(&found);
        prop_assert_eq!((pieces.0.as_deref(), pieces.1.as_deref()), expected);
    }

    #[test]
    fn any_bytes_are_read_alike_in_one_and_in_pieces(
        message in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"\x08\x0a\x12\x01\x02\x03\x05".to_vec())], 0..64),
        parents in prop::sample::select(vec![&[][..], &[1], &[1, 1]]),
    ) {
        scan(Fields { parents, ..NUMBERED }, &message);
        scan(Fields { parents, ..MODEL }, &message);
    }
}
