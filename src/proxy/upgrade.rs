//! `Upgrade` (RFC 9110, section 7.8): what a client offers to switch to, and whether the model server took it up.
//!
//! `Upgrade` and `Connection` end at each hop; where an offer may go on, both are made anew from what is kept here. What
//! passes after a switch is `tunnel`'s matter.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Version, request};

/// What is not passed on, by protocol name: under these HTTP would go on where nobody sees its requests. `h2c` is gone
/// besides (RFC 9113, section 3.1).
const UNSEEN: [&[u8]; 4] = [b"http", b"h2c", b"h2", b"tls"];

/// The protocols that a client would switch to, as they are passed on.
#[derive(Clone, Debug)]
pub(super) struct Offer(HeaderValue);

impl Offer {
    /// What an HTTP/1.1 request offers; `None` where there is nothing that may be passed on.
    pub(super) fn of(parts: &request::Parts) -> Option<Self> {
        if parts.version != Version::HTTP_11 || !parts.headers.contains_key(UPGRADE) {
            return None;
        }
        if !members(&parts.headers, CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade")) {
            return None;
        }
        passing(&parts.headers).map(Self)
    }

    /// Puts the offer onto a request from which everything hop-by-hop was removed.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        put(headers, self.0.clone());
    }

    /// What a 101 switches to; `None` where it names nothing, or what was not offered.
    pub(super) fn taken(&self, answer: &HeaderMap) -> Option<Named> {
        let offered = |name: &[u8]| list(&self.0).any(|own| own.eq_ignore_ascii_case(name));
        let named: Vec<&[u8]> = members(answer, UPGRADE).collect();
        if named.is_empty() || !named.iter().all(|name| offered(name)) {
            return None;
        }
        HeaderValue::from_bytes(&named.join(&b", "[..])).ok().map(Named)
    }
}

/// The protocols that an answer names.
#[derive(Clone, Debug)]
pub(super) struct Named(HeaderValue);

impl Named {
    /// What a 426 demands, of which a client of HTTP/1.1 has to be told (RFC 9110, section 15.5.22).
    pub(super) fn demanded(answer: &HeaderMap) -> Option<Self> {
        passing(answer).map(Self)
    }

    /// Puts them onto the answer, from which everything hop-by-hop was removed.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        put(headers, self.0.clone());
    }
}

fn put(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocols);
}

/// The protocols that a message names and that may be passed on; `None` where there are none.
fn passing(headers: &HeaderMap) -> Option<HeaderValue> {
    let named: Vec<&[u8]> = members(headers, UPGRADE).filter(|name| may_pass(name)).collect();
    let value = HeaderValue::from_bytes(&named.join(&b", "[..])).ok()?;
    (!value.is_empty()).then_some(value)
}

fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().flat_map(list)
}

/// The members of a list (RFC 9110, section 5.6.1), without empty ones.
fn list(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether it is a protocol (a token, or two with a `/` between), and one that may be passed on.
fn may_pass(protocol: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_token = |token: &[u8]| !token.is_empty() && token.iter().all(is_tchar);
    let mut tokens = protocol.splitn(2, |byte| *byte == b'/');
    let name = tokens.next().unwrap_or_default();
    is_token(name) && tokens.next().is_none_or(is_token) && !UNSEEN.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(version: Version, connection: &str, upgrade: &[&str]) -> Option<Offer> {
        let mut request = http::Request::builder().version(version).header("connection", connection);
        for protocols in upgrade {
            request = request.header("upgrade", *protocols);
        }
        Offer::of(&request.body(()).unwrap().into_parts().0)
    }

    fn passed(connection: &str, upgrade: &[&str]) -> Option<String> {
        offer(Version::HTTP_11, connection, upgrade).map(|offer| offer.0.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_offer_is_nominated_and_over_http_1_1() {
        assert_eq!(passed("Upgrade", &["websocket"]).as_deref(), Some("websocket"));
        assert_eq!(passed("keep-alive, UPGRADE", &["WebSocket"]).as_deref(), Some("WebSocket"));
        assert_eq!(passed("keep-alive", &["websocket"]), None);
        assert_eq!(passed("upgrade", &[]), None);
        assert!(offer(Version::HTTP_10, "upgrade", &["websocket"]).is_none());
        assert!(offer(Version::HTTP_2, "upgrade", &["websocket"]).is_none());
    }

    #[test]
    fn what_would_carry_http_unseen_is_taken_out() {
        for unseen in ["h2c", "H2C", "h2", "HTTP/2.0", "http/1.1", "TLS/1.0", "", ",", "two words", "a/b/c", "/1", "a/"]
        {
            assert_eq!(passed("upgrade", &[unseen]), None, "{unseen}");
        }
        assert_eq!(passed("upgrade", &["h2c, websocket", "IRC/6.9,x"]).as_deref(), Some("websocket, IRC/6.9, x"));
    }

    #[test]
    fn only_what_was_offered_can_be_taken() {
        let offer = offer(Version::HTTP_11, "upgrade", &["websocket, irc/6.9"]).unwrap();
        let taken = |upgrade: &str| {
            let mut answer = HeaderMap::new();
            answer.insert(UPGRADE, HeaderValue::from_str(upgrade).unwrap());
            offer.taken(&answer).is_some()
        };
        assert!(taken("WebSocket"));
        assert!(taken("irc/6.9, websocket"));
        assert!(!taken("irc"));
        assert!(!taken("h2c"));
        assert!(!taken("websocket, h2c"));
        assert!(!taken(""));
        assert!(offer.taken(&HeaderMap::new()).is_none());
    }
}
