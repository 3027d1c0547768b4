//! Which backend a caller keeps: the same key goes to the same backend for as long as weights and backends stay.
//!
//! Weighted rendezvous hashing: each backend draws a lot from the key and its own name, and the best lot wins. When a
//! weight moves or a backend goes, only those callers move that must. The lots are SHA-256, so that every worker, every
//! copy and every version of this program draws the same. Nothing is stored, and no cookie is set.

use http::{HeaderMap, HeaderName, header};

use super::config::StickyConfig;
use crate::sha256::Sha256;

/// Where a request carries its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// In a header field.
    Header(HeaderName),
    /// In a cookie.
    Cookie(String),
}

impl Sticky {
    /// What the configuration asks for. It has been validated.
    pub(super) fn new(config: &StickyConfig) -> Option<Self> {
        match (&config.header, &config.cookie) {
            (Some(header), _) => header.parse().ok().map(Self::Header),
            (None, Some(cookie)) => Some(Self::Cookie(cookie.clone())),
            (None, None) => None,
        }
    }

    /// A request's key; `None` where it has none.
    pub(super) fn key<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let key = match self {
            Self::Header(name) => headers.get(name)?.as_bytes(),
            Self::Cookie(name) => headers
                .get_all(header::COOKIE)
                .iter()
                .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
                .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))?,
        };
        (!key.is_empty()).then_some(key)
    }
}

/// A backend's lot for a key: the greatest wins. Nobody draws with weight 0.
pub(super) fn lot(key: &[u8], backend: &str, weight: u32) -> Option<f64> {
    let mut hash = Sha256::new();
    hash.update(key);
    hash.update([0]);
    hash.update(backend);
    let digest = hash.finish();
    let drawn = digest.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
    // Evenly spread between 0 and 1, and neither.
    let share = (f64::from(drawn) + 0.5) / (f64::from(u32::MAX) + 1.0);
    (weight > 0).then(|| -f64::from(weight) / share.ln())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn winner(key: u32, backends: &[(&'static str, u32)]) -> &'static str {
        let lots = backends.iter().filter_map(|(name, weight)| Some((lot(&key.to_be_bytes(), name, *weight)?, *name)));
        lots.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1
    }

    #[test]
    fn shares_follow_weights_and_only_those_move_that_must() {
        const KEYS: u32 = 20_000;
        let (before, after) = ([("a", 1), ("b", 1), ("c", 2)], [("a", 1), ("b", 3), ("c", 2)]);
        let mut won = [0_u32; 3];
        let mut moved = 0;
        for key in 0..KEYS {
            let (old, new) = (winner(key, &before), winner(key, &after));
            won[before.iter().position(|(name, _)| *name == old).unwrap()] += 1;
            if old != new {
                assert_eq!(new, "b", "to the one that gained");
                moved += 1;
            }
        }
        // b goes from 1/4 to 1/2.
        for (count, share) in won.into_iter().zip([4, 4, 2]).chain([(moved, 4)]) {
            let wanted = KEYS / share;
            assert!(count.abs_diff(wanted) < wanted / 12, "{count}, about {wanted}");
        }
        assert!((0..1000).all(|key| winner(key, &[("a", 0), ("b", 1)]) == "b"), "weight 0 takes none");
    }

    #[test]
    fn keys_are_found_where_they_stand() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("u1"));
        headers.append("cookie", HeaderValue::from_static("sid=; a=1"));
        headers.append("cookie", HeaderValue::from_static("xsid=2;session=s%201; session=other"));
        let cookie = |name: &str| Sticky::Cookie(name.to_owned()).key(&headers).map(<[u8]>::to_vec);
        assert_eq!(Sticky::Header(HeaderName::from_static("x-user")).key(&headers), Some(&b"u1"[..]));
        assert_eq!(Sticky::Header(HeaderName::from_static("x-other")).key(&headers), None);
        assert_eq!(cookie("session").as_deref(), Some(&b"s%201"[..]));
        assert_eq!(cookie("a").as_deref(), Some(&b"1"[..]));
        assert_eq!(cookie("sid"), None, "an empty key is none");
        assert_eq!(cookie("b"), None);
    }
}
