//! As much of a prediction's entry as questions need that join predictions with the lineage.

use std::borrow::Cow;

use serde::Deserialize;

/// A prediction in brief, borrowed from its entry.
#[derive(Debug, Deserialize)]
pub struct Brief<'a> {
    /// Its id.
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    /// When it was made, RFC 3339.
    #[serde(borrow, default)]
    pub time: Cow<'a, str>,
    /// Which deployment made it.
    #[serde(borrow, default)]
    pub deployment: Cow<'a, str>,
    /// The model's name.
    #[serde(borrow)]
    pub model: Option<Cow<'a, str>>,
    /// The model's version.
    #[serde(borrow)]
    pub version: Option<Cow<'a, str>>,
    /// What it was stamped with: `[NAMESPACE/]NAME@VERSION` of each.
    #[serde(borrow, default)]
    pub datasets: Vec<Cow<'a, str>>,
    /// The digest of the document behind its stamp.
    #[serde(borrow)]
    pub lineage: Option<Cow<'a, str>>,
}

impl<'a> Brief<'a> {
    /// Reads an entry; none where it is of a form that is not known.
    pub fn parse(entry: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(entry).ok()
    }
}
