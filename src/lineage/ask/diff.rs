//! What changed between two models or two deployments, and the sentence that says it.

use serde::Serialize;

use super::facets::{Facets, Section, of};
use crate::lineage::catalog::{Catalog, CatalogError, Moment, Node};

/// Of these a value that one side alone states is not known of the other; of the rest it is not there.
const SLOTS: [Section; 3] = [Section::Code, Section::Environment, Section::Image];
/// Sections that the sentence speaks of: what may be the cause of another behaviour.
const CAUSES: [Section; 7] = [
    Section::Data,
    Section::Code,
    Section::Parameters,
    Section::Seeds,
    Section::Environment,
    Section::Image,
    Section::Base,
];

/// One value that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about.
    pub section: Section,
    /// Which value of it.
    pub name: String,
    /// On the first side; none where it is not known there.
    pub before: Option<String>,
    /// On the second side.
    pub after: Option<String>,
}

/// Two sides, and what differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The first side.
    pub before: String,
    /// The second side.
    pub after: String,
    /// What differs, by section and name.
    pub changes: Vec<Change>,
    /// Sections of which something is known on both sides, and all of it is the same.
    pub same: Vec<Section>,
    /// Sections of which nothing is known on one side or both.
    pub unknown: Vec<Section>,
    /// All of it in a sentence.
    pub sentence: String,
}

/// Compares two models or deployments, each as of its own moment.
///
/// # Errors
/// Where the database fails.
pub async fn diff(
    catalog: &Catalog,
    (before, then): (&Node, Moment),
    (after, now): (&Node, Moment),
) -> Result<Diff, CatalogError> {
    let sides = (of(catalog, before, then).await?, of(catalog, after, now).await?);
    Ok(compare(&before.identity, &sides.0, &after.identity, &sides.1))
}

impl Change {
    fn is_one_sided(&self) -> bool {
        self.before.is_none() || self.after.is_none()
    }
}

fn compare(before: &str, first: &Facets, after: &str, second: &Facets) -> Diff {
    let mut keys: Vec<_> = first.keys().chain(second.keys()).collect();
    keys.sort();
    keys.dedup();
    let changes: Vec<Change> = keys
        .into_iter()
        .filter(|key| first.get(key) != second.get(key))
        .map(|key| Change {
            section: key.0,
            name: key.1.clone(),
            before: first.get(key).cloned(),
            after: second.get(key).cloned(),
        })
        .collect();
    let known = |side: &Facets, section: Section| side.keys().any(|(of, _)| *of == section);
    let (mut same, mut unknown) = (Vec::new(), Vec::new());
    for section in CAUSES {
        match (known(first, section), known(second, section)) {
            (true, true) => {
                let mut of = changes.iter().filter(|change| change.section == section).peekable();
                if of.peek().is_none() {
                    same.push(section);
                } else if SLOTS.contains(&section) && of.all(Change::is_one_sided) {
                    unknown.push(section);
                }
            }
            // Most models begin with none and most datasets in no image: that is no gap.
            (false, false) if matches!(section, Section::Base | Section::Image) => {}
            _ => unknown.push(section),
        }
    }
    let sentence = sentence(&changes, &same, &unknown);
    Diff { before: before.to_owned(), after: after.to_owned(), changes, same, unknown, sentence }
}

/// "data changed, code did not", and then the rest.
fn sentence(changes: &[Change], same: &[Section], unknown: &[Section]) -> String {
    let differs =
        |section: Section| changes.iter().any(|change| change.section == section) && !unknown.contains(&section);
    let main = [Section::Data, Section::Code];
    let rest = |section: &Section| !main.contains(section);
    let mut parts = Vec::new();
    match main.map(|section| (differs(section), same.contains(&section))) {
        [(true, _), (true, _)] => parts.push("data and code changed".to_owned()),
        [(_, true), (_, true)] => parts.push("neither data nor code changed".to_owned()),
        verdicts => {
            let words: Vec<String> = main
                .into_iter()
                .zip(verdicts)
                .filter_map(|(section, verdict)| match verdict {
                    (true, _) => Some(format!("{} changed", section.word())),
                    (_, true) => Some(format!("{} did not", section.word())),
                    _ => None,
                })
                .collect();
            // What changed stands first.
            match words.as_slice() {
                [first, second] if first.ends_with("did not") => parts.push(format!("{second}, {first}")),
                [] => {}
                [one] if one.ends_with("did not") => parts.push(format!("{one} change")),
                words => parts.push(words.join(", ")),
            }
        }
    }
    let also: Vec<&str> =
        CAUSES.iter().filter(|section| rest(section) && differs(**section)).map(|s| s.word()).collect();
    let not: Vec<&str> = same.iter().filter(|section| rest(section)).map(|section| section.word()).collect();
    if !also.is_empty() {
        parts.push(format!("{} changed", listed(&also)));
    }
    if !not.is_empty() {
        parts.push(format!("{} did not{}", listed(&not), if parts.is_empty() { " change" } else { "" }));
    }
    if !unknown.is_empty() {
        let words: Vec<&str> = unknown.iter().map(|section| section.word()).collect();
        parts.push(format!("{} not known on both sides", listed(&words)));
    }
    parts.join("; ")
}

fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(facts: &[(Section, &str, &str)]) -> Facets {
        facts.iter().map(|(section, name, value)| ((*section, (*name).to_owned()), (*value).to_owned())).collect()
    }

    fn said(first: &[(Section, &str, &str)], second: &[(Section, &str, &str)]) -> String {
        compare("a", &side(first), "b", &side(second)).sentence
    }

    #[test]
    fn the_sentence_says_what_changed_and_what_did_not() {
        let (data, code) = ((Section::Data, "d version", "v1"), (Section::Code, "commit", "abc"));
        let (other, newer) = ((Section::Data, "d version", "v2"), (Section::Code, "commit", "def"));
        let depth = (Section::Parameters, "depth", "6");
        let rest = "; parameters, seeds and environment not known on both sides";
        assert_eq!(said(&[data, code], &[other, code]), format!("data changed, code did not{rest}"));
        assert_eq!(said(&[data, code], &[data, newer]), format!("code changed, data did not{rest}"));
        assert_eq!(said(&[data, code], &[other, newer]), format!("data and code changed{rest}"));
        assert_eq!(said(&[data, code], &[data, code]), format!("neither data nor code changed{rest}"));
        assert_eq!(
            said(&[data, code, depth], &[other, code, (Section::Parameters, "depth", "8")]),
            "data changed, code did not; parameters changed; seeds and environment not known on both sides"
        );
        assert_eq!(
            said(&[data, code, depth], &[other, code, depth]),
            "data changed, code did not; parameters did not; seeds and environment not known on both sides"
        );
        // What one side alone states of its code is not known of the other.
        let clean = (Section::Code, "tree", "clean");
        let unknown = "data changed; code, parameters, seeds and environment not known on both sides";
        assert_eq!(said(&[data, code, clean], &[other, code]), unknown);
        assert!(said(&[data, code, clean], &[other, newer]).starts_with("data and code changed"));
        // One side that is not known is no change.
        assert_eq!(
            said(&[data], &[data, code]),
            "data did not change; code, parameters, seeds and environment not known on both sides"
        );
        assert_eq!(said(&[], &[]), "data, code, parameters, seeds and environment not known on both sides");
    }
}
