//! A pattern of a dataset's `NAMESPACE/NAME`, and what it finds of a model there.
//!
//! One comparison a segment, with nothing to try twice: names come from outside and may be long.

use super::ModelName;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1024;

/// A pattern, taken apart at its slashes.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    /// Whether more may follow.
    open: bool,
}

/// Fixed text around what is found.
#[derive(Debug)]
struct Segment {
    before: String,
    place: Place,
    after: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing: the text stands alone.
    None,
    Any,
    Name,
    Version,
}

impl Template {
    pub(super) fn new(pattern: &str) -> Result<Self, &'static str> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err("is longer than 1024 bytes: shorten it with {**}");
        }
        let (fixed, open) = match pattern.strip_suffix("{**}") {
            Some(fixed) => (fixed.strip_suffix('/').ok_or("has {**} within a segment: put '/' before it")?, true),
            None => (pattern, false),
        };
        let segments = fixed.split('/').map(Segment::new).collect::<Result<Vec<_>, _>>()?;
        if segments.iter().all(|segment| segment.before.is_empty() && segment.after.is_empty()) {
            return Err("fits every dataset: begin it with a namespace, such as mlflow/{name}");
        }
        for place in [Place::Name, Place::Version] {
            if segments.iter().filter(|segment| segment.place == place).count() > 1 {
                return Err("has the same placeholder twice: use {*} for one of them");
            }
        }
        Ok(Self { segments, open })
    }

    /// What it finds in a path that it fits.
    pub(super) fn fit(&self, path: &str) -> Option<ModelName> {
        let mut parts = path.split('/');
        let mut found = ModelName::default();
        for segment in &self.segments {
            let text = segment.fit(parts.next()?)?;
            match segment.place {
                Place::Name => found.name = Some(text.to_owned()),
                Place::Version => found.version = Some(text.to_owned()),
                Place::None | Place::Any => {}
            }
        }
        (self.open || parts.next().is_none()).then_some(found)
    }
}

impl Segment {
    fn new(text: &str) -> Result<Self, &'static str> {
        const UNKNOWN: &str = "has an unknown placeholder: write {name}, {version}, {*} or, at the end, {**}";
        let (before, place, after) = match text.split_once('{') {
            None => (text, Place::None, ""),
            Some((before, rest)) => {
                let (placeholder, after) = rest.split_once('}').ok_or(UNKNOWN)?;
                let place = match placeholder {
                    "name" => Place::Name,
                    "version" => Place::Version,
                    "*" => Place::Any,
                    _ => return Err(UNKNOWN),
                };
                (before, place, after)
            }
        };
        if before.contains('}') || after.contains(['{', '}']) {
            return Err("has a segment with more than one placeholder: put '/' between them");
        }
        Ok(Self { before: before.to_owned(), place, after: after.to_owned() })
    }

    /// What stands in its place, if it fits: nothing where it has none.
    fn fit<'a>(&self, part: &'a str) -> Option<&'a str> {
        let found = part.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (found.is_empty() == (self.place == Place::None)).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(pattern: &str, path: &str) -> Option<(Option<String>, Option<String>)> {
        Template::new(pattern).unwrap().fit(path).map(|found| (found.name, found.version))
    }

    #[test]
    fn it_finds_name_and_version() {
        let both = Some((Some("fraud".to_owned()), Some("3".to_owned())));
        assert_eq!(fit("s3://models/{name}/v{version}/{**}", "s3://models/fraud/v3/model.pkl"), both);
        assert_eq!(fit("s3://models/{name}/v{version}/{**}", "s3://models/fraud/v3"), both);
    }

    #[test]
    fn it_fits_whole_segments_alone() {
        assert_eq!(fit("mlflow/{**}", "mlflow/fraud"), Some((None, None)));
        assert_eq!(fit("mlflow/{**}", "mlflows/fraud"), None);
        assert_eq!(fit("mlflow/{name}", "mlflow/team/fraud"), None);
        assert_eq!(fit("mlflow/{name}", "mlflow/"), None);
        assert_eq!(fit("s3://{*}/models/{name}", "s3://lake/models/m"), Some((Some("m".to_owned()), None)));
    }

    #[test]
    fn a_wrong_one_says_why() {
        let wrong = |pattern: &str| Template::new(pattern).unwrap_err();
        assert!(wrong("{**}").contains("put '/' before"));
        assert!(wrong("/{**}").contains("fits every"));
        assert!(wrong("{*}/{name}").contains("fits every"));
        assert!(wrong("").contains("fits every"));
        assert!(wrong("a/{name}/{name}").contains("twice"));
        assert!(wrong("a/{name").contains("unknown"));
        assert!(wrong("a/{name}-{version}").contains("more than one"));
        assert!(wrong(&"a".repeat(2000)).contains("1024"));
    }
}
