//! What a server says that it serves, beside what is declared of it.
//!
//! A check on the configuration and nothing more: what a server says of itself once a minute is no evidence of which
//! version gave an answer in between, so it changes neither a stamp nor an entry.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use crate::protocol::health::{NAMES_MAX, Told};

/// A model as it is declared, in the server's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared<'a> {
    /// The server's name for it.
    pub name: &'a str,
    /// The server's version for it; `None` fits any.
    pub version: Option<&'a str>,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// When.
    pub(super) time: SystemTime,
    pub(super) report: VersionsReport,
}

/// What a server says that it serves, and how that differs from what is declared. In the server's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VersionsReport {
    /// Versions by model; none where the server does not count versions.
    pub models: BTreeMap<String, Vec<String>>,
    /// Declared and not served, as `NAME` or `NAME@VERSION`.
    pub not_served: Vec<String>,
    /// Served and not declared, as `NAME` or `NAME@VERSION`.
    pub not_declared: Vec<String>,
}

impl VersionsReport {
    /// Compares. `told` is what was said of each model that was asked for; what could not be understood says nothing.
    pub(super) fn new(declared: &[Declared<'_>], told: Vec<(&str, Told)>) -> Self {
        let mut report = Self::default();
        for (name, told) in told {
            match told {
                Told::Nothing => {}
                Told::NoModel => report.not_served.push(name.to_owned()),
                Told::Versions(versions) => report.compare(declared, name, versions),
                Told::Models(models) => report.compare_names(declared, models),
            }
        }
        for list in [&mut report.not_served, &mut report.not_declared] {
            list.sort();
            list.dedup();
            list.truncate(NAMES_MAX);
        }
        report
    }

    fn compare(&mut self, declared: &[Declared<'_>], name: &str, versions: Vec<String>) {
        let of_model = || declared.iter().filter(|declared| declared.name == name);
        // A server that does not count versions contradicts none.
        if !versions.is_empty() {
            let missing = of_model().filter_map(|declared| declared.version);
            let missing = missing.filter(|version| !versions.iter().any(|served| served == version));
            self.not_served.extend(missing.map(|version| format!("{name}@{version}")));
        }
        if of_model().all(|declared| declared.version.is_some()) {
            let known = |served: &&String| of_model().any(|declared| declared.version == Some(served.as_str()));
            let surplus = versions.iter().filter(|served| !known(served));
            self.not_declared.extend(surplus.map(|version| format!("{name}@{version}")));
        }
        self.models.insert(name.to_owned(), versions);
    }

    fn compare_names(&mut self, declared: &[Declared<'_>], models: Vec<String>) {
        let missing = declared.iter().filter(|declared| !models.iter().any(|model| model == declared.name));
        self.not_served.extend(missing.map(|declared| declared.name.to_owned()));
        let surplus = models.iter().filter(|model| !declared.iter().any(|declared| declared.name == **model));
        self.not_declared.extend(surplus.cloned());
        self.models.extend(models.into_iter().map(|model| (model, Vec::new())));
    }

    /// Whether nothing differs.
    pub(super) fn agrees(&self) -> bool {
        self.not_served.is_empty() && self.not_declared.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(list: &[(&'static str, Option<&'static str>)]) -> Vec<Declared<'static>> {
        list.iter().map(|(name, version)| Declared { name, version: *version }).collect()
    }

    fn versions(list: &[&str]) -> Told {
        Told::Versions(list.iter().map(|version| (*version).to_owned()).collect())
    }

    #[test]
    fn declared_and_served_are_compared() {
        let two = declared(&[("fraud", Some("1")), ("fraud", Some("2"))]);
        let any = declared(&[("fraud", None)]);
        let differs = |declared: &[Declared<'_>], told: Told| {
            let report = VersionsReport::new(declared, vec![("fraud", told)]);
            assert_eq!(report.agrees(), report.not_served.is_empty() && report.not_declared.is_empty());
            (report.not_served.join(" "), report.not_declared.join(" "))
        };
        let none = || (String::new(), String::new());
        assert_eq!(differs(&two, versions(&["2", "1"])), none());
        assert_eq!(differs(&two, versions(&["2", "3"])), ("fraud@1".to_owned(), "fraud@3".to_owned()));
        assert_eq!(differs(&two, versions(&[])), none(), "a server that does not count versions");
        assert_eq!(differs(&two, Told::NoModel), ("fraud".to_owned(), String::new()));
        assert_eq!(differs(&two, Told::Nothing), none());
        assert_eq!(differs(&any, versions(&["7", "8"])), none());
        let models = Told::Models(vec!["fraud".to_owned(), "other".to_owned()]);
        assert_eq!(differs(&any, models), (String::new(), "other".to_owned()));
        assert_eq!(differs(&any, Told::Models(Vec::new())), ("fraud".to_owned(), String::new()));
    }
}
