//! The members of an entry by which it is found again and fits the others, read in a fraction of the time that all of it
//! would take.
//!
//! Indexing and verification read every entry once more. Entries of one process are of few forms: names, versions and
//! the digest of the lineage are those of the entry before, while ids, times, hashes and numbers change. [`Glances`]
//! keeps the last forms; what stays is compared as one piece, what changes stands between those pieces. Only the form
//! in which entries are written here is known: compact, no escapes, nothing nested but `input` and `output`. Anything
//! else is read by [`Entry::parse`]. It judges nothing: what it reads is checked when the entry is found.

use std::ops::Range;

use crate::ledger::parse::{Entry, Text};

/// Forms that are kept: models and versions that share the traffic, complete answers and others.
const FORMS_MAX: usize = 8;

/// What entries of one form have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Common {
    pub(crate) kind: String,
    pub(crate) model: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) datasets: Vec<String>,
    /// The lineage document's digest in hexadecimal.
    pub(crate) lineage: Option<String>,
    pub(crate) outcome: Option<String>,
}

/// What is each entry's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own<'a> {
    pub(crate) time: Text<'a>,
    pub(crate) id: Option<Text<'a>>,
    pub(crate) trace: Option<Text<'a>>,
    /// The hashes of the bodies in hexadecimal.
    pub(crate) input: Option<Text<'a>>,
    pub(crate) output: Option<Text<'a>>,
}

/// An entry at a glance.
#[derive(Debug)]
pub(crate) struct Glance<'a> {
    pub(crate) common: &'a Common,
    pub(crate) own: Own<'a>,
    /// False where an entry with the same `common` was read before.
    pub(crate) news: bool,
}

/// Reads entries, one after another.
#[derive(Debug, Default)]
pub(crate) struct Glances {
    /// The last one used first.
    forms: Vec<Form>,
    /// Of the last entry that was of no known form.
    unusual: Common,
}

impl Glances {
    /// Reads an entry; an error where it is none.
    pub(crate) fn read<'a>(&'a mut self, entry: &'a [u8]) -> Result<Glance<'a>, serde_json::Error> {
        if let Ok(text) = std::str::from_utf8(entry) {
            for at in 0..self.forms.len() {
                if let Some(own) = self.forms[at].read(text) {
                    self.forms[..=at].rotate_right(1);
                    return Ok(Glance { common: &self.forms[0].common, own, news: false });
                }
            }
            if let Some((form, own)) = Form::of(text) {
                self.forms.truncate(FORMS_MAX - 1);
                self.forms.insert(0, form);
                return Ok(Glance { common: &self.forms[0].common, own, news: true });
            }
        }
        let entry = Entry::parse(entry)?;
        self.unusual = Common::of(&entry);
        let own = Own {
            time: entry.time,
            id: entry.id,
            trace: entry.trace,
            input: entry.input.and_then(|body| body.hash),
            output: entry.output.and_then(|body| body.hash),
        };
        Ok(Glance { common: &self.unusual, own, news: true })
    }
}

impl Common {
    fn of(entry: &Entry<'_>) -> Self {
        let owned = |text: &Option<Text<'_>>| text.as_deref().map(str::to_owned);
        Self {
            kind: entry.kind.to_string(),
            model: owned(&entry.model),
            version: owned(&entry.version),
            datasets: entry.datasets.iter().flatten().map(|name| name.to_string()).collect(),
            lineage: owned(&entry.lineage),
            outcome: owned(&entry.outcome),
        }
    }
}

/// What entries share that are alike.
#[derive(Debug)]
struct Form {
    common: Common,
    /// The entry that it was first seen in.
    text: String,
    /// What changes, each with what stays before it.
    parts: Vec<(Range<usize>, Change)>,
    /// Where what stays behind the last of them begins.
    rest: usize,
}

/// A value that is each entry's own.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Digits.
    Number,
    /// A text, without its quotes.
    Text(Option<Member>),
}

#[derive(Clone, Copy, Debug)]
enum Member {
    Time,
    Id,
    Trace,
    Input,
    Output,
}

impl<'a> Own<'a> {
    fn set(&mut self, member: Member, value: &'a str) {
        match member {
            Member::Time => self.time = value.into(),
            Member::Id => self.id = Some(value.into()),
            Member::Trace => self.trace = Some(value.into()),
            Member::Input => self.input = Some(value.into()),
            Member::Output => self.output = Some(value.into()),
        }
    }
}

impl Form {
    /// The form of an entry, and what is that entry's own; `None` where it is not in the usual form.
    fn of(text: &str) -> Option<(Self, Own<'_>)> {
        let mut cursor = Cursor { text, ..Cursor::default() };
        let mut common = Common::default();
        cursor.object(|key, cursor| {
            let own = match key {
                "kind" => return cursor.owned().map(|kind| common.kind = kind),
                "model" => return cursor.owned().map(|model| common.model = Some(model)),
                "version" => return cursor.owned().map(|version| common.version = Some(version)),
                "lineage" => return cursor.owned().map(|digest| common.lineage = Some(digest)),
                "outcome" => return cursor.owned().map(|outcome| common.outcome = Some(outcome)),
                "datasets" => return cursor.strings().map(|names| common.datasets = names),
                "input" => return cursor.body(Member::Input),
                "output" => return cursor.body(Member::Output),
                "time" => Some(Member::Time),
                "id" => Some(Member::Id),
                "trace" => Some(Member::Trace),
                "nonce" | "span" | "decision" | "parent" | "client_request_id" => None,
                _ => return cursor.pass(),
            };
            cursor.change(own)
        })?;
        if cursor.at != text.len() || common.kind.is_empty() {
            return None;
        }
        let form = Self { common, text: text.to_owned(), parts: cursor.parts, rest: cursor.stays };
        let own = form.read(text)?;
        Some((form, own))
    }

    /// What is an entry's own; `None` where it is of another form.
    fn read<'e>(&self, entry: &'e str) -> Option<Own<'e>> {
        let (mut own, mut left) = (Own::default(), entry);
        for (stays, change) in &self.parts {
            left = left.strip_prefix(&self.text[stays.clone()])?;
            let (value, behind) = match change {
                Change::Number => digits(left)?,
                Change::Text(_) => plain(left)?,
            };
            if let Change::Text(Some(member)) = change {
                own.set(*member, value);
            }
            left = behind;
        }
        (left == &self.text[self.rest..] && !own.time.is_empty()).then_some(own)
    }
}

/// A text up to its closing quote, and that with what follows. An escape is not known.
fn plain(text: &str) -> Option<(&str, &str)> {
    let end = memchr::memchr2(b'"', b'\\', text.as_bytes())?;
    text[end..].starts_with('"').then(|| text.split_at(end))
}

/// A whole number, and what follows.
fn digits(text: &str) -> Option<(&str, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    (end > 0).then(|| text.split_at(end))
}

/// Goes through an entry for its form.
#[derive(Default)]
struct Cursor<'a> {
    text: &'a str,
    /// What is still to be read begins here.
    at: usize,
    /// What stays, since the last change, began here.
    stays: usize,
    parts: Vec<(Range<usize>, Change)>,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, token: char) -> Option<()> {
        self.text[self.at..].starts_with(token).then(|| self.at += token.len_utf8())
    }

    /// A string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.take('"')?;
        let (text, _) = plain(&self.text[self.at..])?;
        self.at += text.len();
        self.take('"')?;
        Some(text)
    }

    fn owned(&mut self) -> Option<String> {
        self.string().map(str::to_owned)
    }

    fn strings(&mut self) -> Option<Vec<String>> {
        let mut strings = Vec::with_capacity(1);
        self.take('[')?;
        loop {
            strings.push(self.owned()?);
            if self.take(']').is_some() {
                return Some(strings);
            }
            self.take(',')?;
        }
    }

    /// Each member's name, and the cursor before its value.
    fn object(&mut self, mut member: impl FnMut(&'a str, &mut Self) -> Option<()>) -> Option<()> {
        self.take('{')?;
        loop {
            let key = self.string()?;
            self.take(':')?;
            member(key, self)?;
            if self.take('}').is_some() {
                return Some(());
            }
            self.take(',')?;
        }
    }

    fn body(&mut self, hash: Member) -> Option<()> {
        self.object(|key, cursor| match key {
            "hash" => cursor.change(Some(hash)),
            _ => cursor.pass(),
        })
    }

    /// A string that is each entry's own.
    fn change(&mut self, member: Option<Member>) -> Option<()> {
        let quote = self.at;
        let length = self.string()?.len();
        self.part(quote + 1, length, Change::Text(member));
        Some(())
    }

    /// A string, which stays, or a whole number, which does not.
    fn pass(&mut self) -> Option<()> {
        if self.text[self.at..].starts_with('"') {
            return self.string().map(drop);
        }
        let (number, _) = digits(&self.text[self.at..])?;
        let from = self.at;
        self.at += number.len();
        self.part(from, number.len(), Change::Number);
        Some(())
    }

    fn part(&mut self, from: usize, length: usize, change: Change) {
        self.parts.push((self.stays..from, change));
        self.stays = from + length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual(entry: &str) -> bool {
        Form::of(entry).is_some()
    }

    #[test]
    fn gives_up_at_what_it_does_not_know() {
        let good = r#"{"v":1,"kind":"gap","time":"t","count":3}"#;
        assert!(usual(good));
        for odd in [
            "",
            "{}",
            r#"{"kind":"gap"}"#,
            r#"{"kind":"gap","time":"t"} "#,
            r#"{"kind":"gap","time":"t","count":-3}"#,
            r#"{"kind":"gap","time":"t","model":"a\"b"}"#,
            r#"{"kind":"gap","time":"t","input":{"hash":1}}"#,
            r#"{"kind":"gap","time":"t","document":{}}"#,
            r#"{"kind":"gap","time":"t","datasets":[]}"#,
            r#"{"kind":"gap", "time":"t"}"#,
        ] {
            assert!(!usual(odd), "{odd}");
        }
        for end in 0..good.len() {
            assert!(!usual(&good[..end]), "{end}");
        }
    }

    /// An entry in which the given members are there, with values out of a few.
    fn entry() -> impl Strategy<Value = String> {
        let value = prop_oneof![Just("a"), Just(""), Just("bb"), Just("ü"), Just("x,y"), Just(r#"q\"q"#)];
        let key = prop::sample::select(vec![
            "v", "nonce", "id", "time", "model", "version", "lineage", "outcome", "trace", "decision", "kind", "route",
        ]);
        let members = prop::collection::vec((key, value, 0_u8..12), 0..8);
        members.prop_map(|members| {
            let member = |(key, value, form): (&str, &str, u8)| match form {
                0 => format!(r#","input":{{"bytes":{},"hash":"{value}"}}"#, value.len()),
                1 => format!(r#","datasets":["{value}","c"]"#),
                2 => format!(r#","count":{}"#, value.len() * 7),
                _ => format!(r#","{key}":"{value}""#),
            };
            let members: String = members.into_iter().map(member).collect();
            format!(r#"{{"kind":"prediction","time":"t"{members}}}"#)
        })
    }

    /// What an entry is read as by a reader that has read others before.
    fn read(glances: &mut Glances, entry: &[u8]) -> Option<String> {
        let glance = glances.read(entry).ok()?;
        Some(format!("{:?} {:?}", glance.common, glance.own))
    }

    proptest! {
        #[test]
        fn what_was_read_before_changes_nothing(entries in prop::collection::vec(entry(), 1..40)) {
            let mut glances = Glances::default();
            for entry in entries.iter().cycle().take(2 * entries.len()) {
                let alone = read(&mut Glances::default(), entry.as_bytes());
                prop_assert_eq!(read(&mut glances, entry.as_bytes()), alone);
            }
        }

        #[test]
        fn a_changed_byte_is_read_as_if_nothing_had_been_before(
            entry in entry(), at: prop::sample::Index, byte: prop::sample::Index,
        ) {
            let mut changed = entry.clone().into_bytes();
            let at = at.index(changed.len());
            changed[at] = *byte.get(br#"{}[]":,\0a"#);
            let mut glances = Glances::default();
            let _ = glances.read(entry.as_bytes());
            let alone = read(&mut Glances::default(), &changed);
            prop_assert_eq!(read(&mut glances, &changed), alone);
        }
    }
}
