//! From a call to the backend and the model version that answer it. Pure: no I/O, no clock, no randomness of its own.

use std::sync::Arc;
use std::time::Instant;

use super::config::OnMismatch;
use super::snapshot::{Backend, Model, Snapshot};
use super::sticky;
use crate::exchange::VersionSource;
use crate::protocol::Protocol;

/// What a call states of the model it wants.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// The server's name for the model.
    pub model: Option<&'a str>,
    /// The server's version of it.
    pub version: Option<&'a str>,
    /// The server's label for it, in place of a version.
    pub label: Option<&'a str>,
}

/// What an answer says of the model that gave it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed<'a> {
    /// The server's name for the model.
    pub model: Option<&'a str>,
    /// The server's version of it; for OpenAI-style answers the system fingerprint.
    pub version: Option<&'a str>,
}

/// Chooses a backend: among those that serve the wanted model, else among all; the healthy ones by weight.
pub(super) fn backend<'a>(
    snapshot: &'a Snapshot,
    wanted: Wanted<'_>,
    now: Instant,
    deal: Deal<'_>,
) -> Option<&'a Arc<Backend>> {
    if let [only] = snapshot.backends.as_slice() {
        return Some(only);
    }
    let serves = |backend: &Arc<Backend>| wanted.model.is_some() && find(backend, wanted).is_some();
    let any_serves = snapshot.backends.iter().any(serves);
    let fits = |backend: &Arc<Backend>| !any_serves || serves(backend);
    let ready = |backend: &Arc<Backend>| {
        let health = &backend.health;
        health.is_ready_for_all() || find(backend, wanted).is_none_or(|model| health.is_ready_for(model.place))
    };
    let healthy = |backend: &Arc<Backend>| backend.health.is_in(now) && fits(backend) && ready(backend);
    // Where none is healthy, any that fits is better than none: its health may be yesterday's.
    choose(&snapshot.backends, healthy, deal).or_else(|| choose(&snapshot.backends, fits, deal))
}

/// What decides among backends that fit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Deal<'a> {
    /// Any number, evenly spread.
    Dice(u32),
    /// Whose call it is: the same caller keeps its backend.
    Key(&'a [u8]),
}

fn choose<'a>(
    backends: &'a [Arc<Backend>],
    fits: impl Fn(&Arc<Backend>) -> bool,
    deal: Deal<'_>,
) -> Option<&'a Arc<Backend>> {
    match deal {
        Deal::Dice(dice) => by_weight(backends, fits, dice),
        Deal::Key(key) => {
            let fitting = backends.iter().filter(|backend| fits(backend));
            let lots =
                fitting.filter_map(|backend| Some((sticky::lot(key, &backend.name, backend.weight())?, backend)));
            lots.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, backend)| backend)
        }
    }
}

fn by_weight(backends: &[Arc<Backend>], fits: impl Fn(&Arc<Backend>) -> bool, dice: u32) -> Option<&Arc<Backend>> {
    let total: u64 = backends.iter().filter(|backend| fits(backend)).map(|backend| u64::from(backend.weight())).sum();
    let mut at = (u64::from(dice) * total) >> 32;
    for backend in backends.iter().filter(|backend| fits(backend)) {
        let weight = u64::from(backend.weight());
        if at < weight {
            return Some(backend);
        }
        at -= weight;
    }
    None
}

/// Finds the model version that a call gets on a backend; `None` leaves the call unresolved.
pub(super) fn model<'a>(backend: &'a Backend, wanted: Wanted<'_>) -> Option<(&'a Arc<Model>, VersionSource)> {
    let model = find(backend, wanted)?;
    let by_version = wanted.version.is_some() && model.served_version.is_some();
    Some((model, if by_version { VersionSource::Path } else { VersionSource::Declared }))
}

fn find<'a>(backend: &'a Backend, wanted: Wanted<'_>) -> Option<&'a Arc<Model>> {
    let Some(name) = wanted.model else {
        return match backend.models.as_slice() {
            [only] => Some(only),
            models => models.iter().find(|model| model.is_default),
        };
    };
    let named = || backend.models.iter().filter(move |model| model.served_name == name);
    if let Some(label) = wanted.label {
        let labelled = named().find(|model| model.served_labels.iter().any(|served| served == label));
        // Where only one version is declared, and as whichever the server has, every label stands for it.
        let only = || named().next().filter(|model| model.served_version.is_none() && named().nth(1).is_none());
        return labelled.or_else(only);
    }
    let fits = |model: &&Arc<Model>| match (wanted.version, model.served_version.as_deref()) {
        (Some(wanted), Some(served)) => wanted == served,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let exact = |model: &&Arc<Model>| wanted.version.is_some() && model.served_version.as_deref() == wanted.version;
    if let Some(model) = named().find(exact).or_else(|| named().find(fits)) {
        return Some(model);
    }
    // No version asked for, and only versions declared: the server's choice is ours where there is but one.
    match (wanted.version, named().nth(1)) {
        (None, None) => named().next(),
        (None, Some(_)) => named().find(|model| model.is_default),
        (Some(_), _) => None,
    }
}

/// What an answer's own word makes of the declaration.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// It agrees, or says nothing.
    Agrees,
    /// It names another model version, which is configured.
    Is(&'a Arc<Model>),
    /// It names one that is not.
    Unknown,
}

/// Compares what was declared with what the answer says.
pub(super) fn verdict<'a>(
    backend: &'a Backend,
    declared: &Model,
    wanted: Wanted<'_>,
    observed: Observed<'_>,
    protocol: Protocol,
) -> Verdict<'a> {
    // An OpenAI-style call names an alias, and the answer the model behind it: either name is the model's.
    let alias = (protocol == Protocol::OpenAi).then_some(wanted.model).flatten();
    let name_agrees =
        observed.model.is_none_or(|name| name == declared.served_name || (alias.is_some() && alias == Some(name)));
    let version_agrees = match (observed.version, declared.served_version.as_deref()) {
        (Some(observed), Some(served)) => observed == served,
        _ => true,
    };
    if name_agrees && version_agrees {
        return Verdict::Agrees;
    }
    let name = observed.model.unwrap_or(&declared.served_name);
    served(backend, name, observed.version).map_or(Verdict::Unknown, Verdict::Is)
}

/// The model version that answered a call which was unresolved, where the answer names one that is configured.
pub(super) fn named<'a>(
    backend: &'a Backend,
    wanted: Wanted<'_>,
    observed: Observed<'_>,
    on_mismatch: OnMismatch,
) -> Option<&'a Arc<Model>> {
    if on_mismatch == OnMismatch::Warn || (observed.model.is_none() && observed.version.is_none()) {
        return None;
    }
    served(backend, observed.model.or(wanted.model)?, observed.version)
}

/// What stands for a name and version of the server's own.
fn served<'a>(backend: &'a Backend, name: &str, version: Option<&str>) -> Option<&'a Arc<Model>> {
    let fits = |model: &&Arc<Model>| {
        model.served_name == name && (model.served_version.is_none() || model.served_version.as_deref() == version)
    };
    backend.models.iter().find(fits)
}

/// The model version to stamp and record on a held answer.
#[derive(Debug)]
pub(super) struct Corrected {
    /// The model; `None` keeps the one declared.
    pub model: Option<Arc<Model>>,
    /// Whether a version may be claimed at all.
    pub version_known: bool,
}

/// Applies `on_mismatch` to a verdict.
pub(super) fn correct(verdict: &Verdict<'_>, on_mismatch: OnMismatch) -> Corrected {
    match (verdict, on_mismatch) {
        (Verdict::Agrees, _) | (_, OnMismatch::Warn) => Corrected { model: None, version_known: true },
        (Verdict::Is(model), OnMismatch::Correct) => Corrected { model: Some(Arc::clone(model)), version_known: true },
        (Verdict::Unknown, OnMismatch::Correct) => Corrected { model: None, version_known: false },
    }
}
