//! A pattern's path, taken apart into segments. What fits a segment is compared as it was sent.

/// The longest path of a pattern, in bytes.
pub(super) const PATTERN_BYTES_MAX: usize = 1024;

/// Fixed text around what is captured.
#[derive(Debug)]
pub(super) struct Segment {
    before: String,
    /// What the text in between is.
    pub(super) capture: Capture,
    after: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capture {
    /// Nothing: the text stands alone.
    None,
    Any,
    Model,
    Version,
}

impl Segment {
    /// What stands where the capture is; nothing of it where there is none.
    pub(super) fn capture<'a>(&self, part: &'a str) -> Option<&'a str> {
        let captured = part.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (self.capture != Capture::None || captured.is_empty()).then_some(captured)
    }
}

/// The segments of a pattern's path, and whether more may follow.
pub(super) fn segments(path: &str) -> Result<(Vec<Segment>, bool), &'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("does not begin with '/': write the whole path, such as /score/{model}");
    };
    if path.len() > PATTERN_BYTES_MAX {
        return Err("is longer than 1024 bytes: shorten it with {**}");
    }
    let (fixed, open) = match rest.strip_suffix("{**}") {
        Some("") => return Err("takes every path: begin it with a fixed segment"),
        Some(fixed) => (fixed.strip_suffix('/').ok_or("has {**} within a segment: put '/' before it")?, true),
        None => (rest, false),
    };
    let count = fixed.split('/').count();
    let mut segments = Vec::with_capacity(count);
    for (index, part) in fixed.split('/').enumerate() {
        if part.is_empty() && (open || index + 1 < count) {
            return Err("has an empty segment: remove one '/'");
        }
        segments.push(segment(part)?);
    }
    for capture in [Capture::Model, Capture::Version] {
        if segments.iter().filter(|segment| segment.capture == capture).count() > 1 {
            return Err("has the same placeholder twice: use {*} for one of them");
        }
    }
    Ok((segments, open))
}

fn segment(part: &str) -> Result<Segment, &'static str> {
    const UNKNOWN: &str = "has an unknown placeholder: write {model}, {version}, {*} or, at the end, {**}";
    let (before, capture, after) = match part.split_once('{') {
        None => (part, Capture::None, ""),
        Some((before, rest)) => {
            let (placeholder, after) = rest.split_once('}').ok_or(UNKNOWN)?;
            let capture = match placeholder {
                "model" => Capture::Model,
                "version" => Capture::Version,
                "*" => Capture::Any,
                _ => return Err(UNKNOWN),
            };
            (before, capture, after)
        }
    };
    if before.contains('}') || after.contains(['{', '}']) {
        return Err("has a segment with more than one placeholder: put '/' between them");
    }
    if before.contains(['?', '#']) || after.contains(['?', '#']) {
        return Err("has a query or fragment: give the path alone");
    }
    Ok(Segment { before: before.to_owned(), capture, after: after.to_owned() })
}
