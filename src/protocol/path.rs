//! Request paths: their segments, and the other spellings that servers take for the same path.
//!
//! A path is read twice at most: as it was sent (separators first, then percent-decoding, RFC 3986 section 2.4),
//! and, where it is spelt oddly, as servers see it that decode first and clean up (Starlette, nginx). The path that
//! is forwarded is never touched.

use percent_encoding::percent_decode_str;

use super::found::cut;

/// A path to match, and whether its segments are still percent-encoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    /// The path, without query.
    pub(super) text: &'a str,
    encoded: bool,
}

impl<'a> Path<'a> {
    /// A path as it was sent.
    pub(super) const fn encoded(text: &'a str) -> Self {
        Self { text, encoded: true }
    }

    /// A path that [`normalise`] made.
    pub(super) const fn plain(text: &'a str) -> Self {
        Self { text, encoded: false }
    }

    /// A model's or version's name in the path: decoded, bounded; `None` where it is empty.
    ///
    /// In a path as sent a name is one segment. Once decoded, a slash may have been part of the name.
    pub(super) fn name(self, part: &str) -> Option<String> {
        if part.is_empty() || (self.encoded && part.contains('/')) {
            return None;
        }
        if self.encoded {
            return Some(cut(percent_decode_str(part).decode_utf8_lossy().into_owned()));
        }
        Some(cut(part.to_owned()))
    }
}

/// The path with everything decoded, empty segments and dot segments removed and no slash at its end; `None` where
/// it is already so.
pub(super) fn normalise(path: &str) -> Option<String> {
    let trailing = path.len() > 1 && path.ends_with('/');
    if !trailing && !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return None;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut clean = String::with_capacity(decoded.len() + 1);
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => clean.truncate(clean.rfind('/').unwrap_or(0)),
            segment => {
                clean.push('/');
                clean.push_str(segment);
            }
        }
    }
    if clean.is_empty() {
        clean.push('/');
    }
    Some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_spellings_are_cleaned_and_usual_ones_are_left_alone() {
        assert_eq!(normalise("/v2/models/fraud/infer"), None);
        assert_eq!(normalise("/"), None);
        for odd in ["/v2/models/%66raud/infer", "//v2/models//fraud/infer/", "/x/../v2/./models/fraud/infer"] {
            assert_eq!(normalise(odd).as_deref(), Some("/v2/models/fraud/infer"), "{odd}");
        }
        assert_eq!(normalise("/../..").as_deref(), Some("/"));
        assert_eq!(normalise("/%ff").as_deref(), Some("/\u{fffd}"));
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(Path::encoded("").name("a%2Fb%2525").as_deref(), Some("a/b%25"));
        assert_eq!(Path::plain("").name("b%25").as_deref(), Some("b%25"));
        assert_eq!(Path::encoded("").name(""), None);
        assert_eq!(Path::encoded("").name("a/b"), None);
    }
}
