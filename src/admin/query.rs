//! What stands after the `?`: names and values, every one of them known.
//!
//! A name that a route does not know is refused rather than passed over: a question that was misspelt would be answered
//! as another one.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::answer::{Refusal, bad_parameter};

/// Names and values of one query.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query whose names are among these.
    pub(super) fn parse(query: &str, known: &[&str]) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name).ok_or_else(|| bad_parameter(name, "is not UTF-8"))?;
            if !known.contains(&name.as_str()) {
                let detail = format!("is not known here: there are {}", known.join(", "));
                return Err(bad_parameter(&name, if known.is_empty() { "none is known here" } else { &detail }));
            }
            let value = decoded(value).ok_or_else(|| bad_parameter(&name, "is not UTF-8"))?;
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// All values of a name, in their order.
    pub(super) fn all<'q>(&'q self, name: &str) -> impl Iterator<Item = &'q str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The one value of a name.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(bad_parameter(name, "is given twice")),
        }
    }

    /// The value of a name that must be given.
    pub(super) fn needed(&self, name: &str) -> Result<&str, Refusal> {
        self.one(name)?.filter(|value| !value.is_empty()).ok_or_else(|| bad_parameter(name, "is needed"))
    }

    /// A value that is a number.
    pub(super) fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Refusal> {
        let wrong = |text: &str| bad_parameter(name, &format!("'{text}' is no number that fits"));
        self.one(name)?.map(|text| text.parse().map_err(|_error| wrong(text))).transpose()
    }

    /// A value that is a time: RFC 3339, or a day in UTC.
    pub(super) fn time(&self, name: &str) -> Result<Option<jiff::Timestamp>, Refusal> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let day = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
        let time = text.parse().ok().or_else(|| day().map(|day| day.timestamp()));
        time.map(Some).ok_or_else(|| bad_parameter(name, "write a time such as 2026-11-20T17:00:00Z, or a day"))
    }

    /// Values that are pairs, `NAME=VALUE`.
    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, Refusal> {
        let pair = |text: &str| {
            let (left, right) = text.split_once('=').ok_or_else(|| bad_parameter(name, "write NAME=VALUE"))?;
            Ok((left.to_owned(), right.to_owned()))
        };
        self.all(name).map(pair).collect()
    }
}

/// A text as it was before it was sent; none where it is not UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let text = text.replace('+', "%20");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_or_refused() {
        let query = Query::parse("a=1&b=x%3D1&b=y+z&d=2026-11-20", &["a", "b", "d"]).unwrap();
        assert_eq!(query.number::<u32>("a").unwrap(), Some(1));
        assert_eq!(query.all("b").collect::<Vec<_>>(), ["x=1", "y z"]);
        assert_eq!(query.time("d").unwrap().unwrap().to_string(), "2026-11-20T00:00:00Z");
        let status = |answer: Refusal| answer.status().as_u16();
        assert_eq!(status(query.one("b").unwrap_err()), 400);
        assert_eq!(status(query.time("a").unwrap_err()), 400);
        assert_eq!(status(query.pairs("d").unwrap_err()), 400);
        assert_eq!(query.pairs("b").unwrap_err().status(), 400);
        for wrong in ["c=1", "a=%ff", "%ff=1"] {
            assert_eq!(status(Query::parse(wrong, &["a"]).unwrap_err()), 400, "{wrong}");
        }
    }
}
