//! The places in bodies where a pattern's model and version stand.

use std::borrow::Cow;
use std::sync::Arc;

use super::super::json::Names;
use super::super::protobuf::Fields;
use super::super::reader::{Members, Rule};

/// The longest name of a JSON member, in bytes.
const MEMBER_BYTES_MAX: usize = 64;
/// The largest protobuf field number.
const FIELD_MAX: u32 = (1 << 29) - 1;

const NO_FIELD: &str = "is no protobuf field number: write the number of a string field, such as \"1\"";

/// Where a body names model and version; an error says whether it is the model's place that is wrong.
pub(super) fn rule(grpc: bool, model: Option<&str>, version: Option<&str>) -> Result<Rule, (bool, &'static str)> {
    if model.is_none() && version.is_none() {
        return Ok(Rule::Nothing);
    }
    if model == version {
        return Err((false, "is the model's place too: give it its own, or leave it out"));
    }
    if grpc {
        let field = |place: Option<&str>| place.map_or(Some(0), field_number);
        let (model, version) = (field(model).ok_or((true, NO_FIELD))?, field(version).ok_or((false, NO_FIELD))?);
        return Ok(Rule::Grpc(Fields::text(model, version)));
    }
    let place = |place: Option<&str>| place.map(member).transpose();
    let (model, version) = (place(model).map_err(|problem| (true, problem))?, place(version).map_err(|p| (false, p))?);
    let parent = match (&model, &version) {
        (Some(model), Some(version)) if model.0 != version.0 => {
            return Err((false, "is not beside the model: both must stand in the same object"));
        }
        (Some((parent, _)), _) | (None, Some((parent, _))) => parent.clone(),
        (None, None) => None,
    };
    let slots = [model.map(|(_, name)| name.into()), version.map(|(_, name)| name.into()), None];
    let names = Members::Configured(Arc::new(Names { parent: parent.map(Cow::Owned), slots }));
    Ok(Rule::Json { document: names.clone(), event: names })
}

fn field_number(place: &str) -> Option<u32> {
    place.parse().ok().filter(|field| (1..=FIELD_MAX).contains(field))
}

/// A member's parent, if any, and its name.
fn member(place: &str) -> Result<(Option<String>, String), &'static str> {
    let (parent, name) = match place.strip_prefix('/') {
        None => (None, place.to_owned()),
        Some(tokens) => match tokens.split_once('/') {
            None => (None, unescape(tokens)),
            Some((_, name)) if name.contains('/') => {
                return Err("is too deep: only members of the document or of an object right in it are read");
            }
            Some((parent, name)) => (Some(unescape(parent)), unescape(name)),
        },
    };
    let is_wrong = |name: &str| name.is_empty() || name.len() > MEMBER_BYTES_MAX;
    if is_wrong(&name) || parent.as_deref().is_some_and(is_wrong) {
        return Err("is no member's name: write 1 to 64 bytes, such as model or /response/model");
    }
    Ok((parent, name))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}
