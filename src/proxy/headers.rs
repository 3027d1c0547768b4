//! Header hygiene at the gateway: what is consumed, what is forged, what is added (RFC 9110, section 7.6).
//!
//! Order matters. Names nominated by `Connection` go first, so that neither side can nominate a stamp away; stamps
//! are put on last, by `stamp`.

use std::net::IpAddr;

use http::Version;
use http::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};

/// The prediction's id.
pub(super) const LINEAGE_TRACE_ID: HeaderName = HeaderName::from_static("x-lineage-trace-id");
/// The model that answered.
pub(super) const MODEL_NAME: HeaderName = HeaderName::from_static("x-model-name");
/// Its version.
pub(super) const MODEL_VERSION: HeaderName = HeaderName::from_static("x-model-version");
/// The dataset version that it was trained on.
pub(super) const DATASET_VERSION: HeaderName = HeaderName::from_static("x-dataset-version");
/// Whether its training can be repeated.
pub(super) const REPRODUCIBLE: HeaderName = HeaderName::from_static("x-reproducible");
/// The ledger's signed promise to show the prediction's entry.
pub(super) const LINEAGE_RECEIPT: HeaderName = HeaderName::from_static("x-lineage-receipt");

/// Every stamp: inserted by us alone, stripped from all else.
pub(super) const STAMPS: [HeaderName; 6] =
    [LINEAGE_TRACE_ID, MODEL_NAME, MODEL_VERSION, DATASET_VERSION, REPRODUCIBLE, LINEAGE_RECEIPT];

/// The caller's own id for a request.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const FORWARDED: HeaderName = header::FORWARDED;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what ends here: hop-by-hop fields, whatever `Connection` nominates, and forged stamps.
///
/// A length beside a transfer coding goes with the coding: it was overridden (RFC 9112, section 6.3), and on its own it
/// would frame the message anew.
pub(super) fn clean(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if headers.contains_key(header::CONNECTION) {
        remove_nominated(headers);
    }
    // One pass to see whether there is anything to remove: as a rule there is not.
    if headers.keys().any(is_consumed) {
        let consumed: Vec<HeaderName> = headers.keys().filter(|name| is_consumed(name)).cloned().collect();
        for name in consumed {
            headers.remove(name);
        }
    }
}

fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // A sender must not nominate what is meant for every recipient (RFC 9110, section 7.6.1); without these the
        // message would mean something else.
        .filter(|name| !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::CONTENT_TYPE))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
}

fn is_consumed(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION
        | header::TE
        | header::TRANSFER_ENCODING
        | header::UPGRADE
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION => true,
        _ => *name == KEEP_ALIVE || *name == PROXY_CONNECTION || is_stamp(name),
    }
}

/// Whether a name is one that only we may set.
pub(super) fn is_stamp(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-") && STAMPS.contains(name)
}

/// Removes from trailers what must not stand there: forged stamps and fields that frame or route (RFC 9110, 6.5.1).
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    clean(trailers);
    for name in [header::CONTENT_LENGTH, header::HOST, header::TRAILER, header::AUTHORIZATION, header::SET_COOKIE] {
        trailers.remove(name);
    }
}

/// Whether the caller says that it takes trailers (RFC 9110, section 10.1.4).
pub(super) fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Says who asked, in `Forwarded` (RFC 7239) and in the older `X-Forwarded-*`.
///
/// What the caller sent of them is kept in front only where it is trusted; else it is replaced.
pub(super) fn add_forwarded(headers: &mut HeaderMap, client: &ClientNames, host: Option<&HeaderValue>, trusted: bool) {
    put(headers, X_FORWARDED_FOR, client.address.clone(), trusted);
    put(headers, FORWARDED, client.forwarded.clone(), trusted);
    if !trusted || !headers.contains_key(&X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme));
    }
    if (!trusted || !headers.contains_key(&X_FORWARDED_HOST))
        && let Some(host) = host
    {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, ours: HeaderValue, keep: bool) {
    match headers.entry(name) {
        Entry::Occupied(mut theirs) if keep => {
            let mut joined = Vec::new();
            for value in theirs.iter() {
                joined.extend_from_slice(value.as_bytes());
                joined.extend_from_slice(b", ");
            }
            joined.extend_from_slice(ours.as_bytes());
            theirs.insert(HeaderValue::from_bytes(&joined).unwrap_or(ours));
        }
        Entry::Occupied(mut theirs) => drop(theirs.insert(ours)),
        Entry::Vacant(place) => drop(place.insert(ours)),
    }
}

/// A client's address as header values, made once a connection.
#[derive(Clone, Debug)]
pub(super) struct ClientNames {
    address: HeaderValue,
    forwarded: HeaderValue,
    /// The scheme of its requests.
    pub scheme: &'static str,
}

impl ClientNames {
    /// The names of the client at `ip`, under TLS or in the clear.
    pub(super) fn new(ip: IpAddr, secure: bool) -> Self {
        let ip = ip.to_canonical();
        let scheme = if secure { "https" } else { "http" };
        let node = match ip {
            IpAddr::V4(ip) => format!("for={ip};proto={scheme}"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\";proto={scheme}"),
        };
        let text = |value: &str| HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("unknown"));
        Self { address: text(&ip.to_string()), forwarded: text(&node), scheme }
    }
}

/// Makes the stamps readable to scripts in a browser, where the answer carries CORS headers at all.
pub(super) fn expose_stamps(headers: &mut HeaderMap) {
    const EXPOSED: &str = "x-lineage-trace-id, x-model-name, x-model-version, x-dataset-version, x-reproducible, \
                           x-lineage-receipt";
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED), true);
    }
}

/// Says that the message came through here (RFC 9110, section 7.6.3), and in which version of HTTP it came.
pub(super) fn add_via(headers: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_2 => "2.0 touchmark",
        Version::HTTP_10 => "1.0 touchmark",
        _ => "1.1 touchmark",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

/// How often a request may still be forwarded (RFC 9110, section 7.6.2); `None` where it says nothing that counts.
pub(super) fn max_forwards(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::MAX_FORWARDS)?.to_str().ok()?.parse().ok()
}

/// Joins the crumbs that HTTP/2 may split `Cookie` into (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
            headers.insert(header::COOKIE, whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn nominated_and_forged_fields_go_others_stay() {
        let mut headers = map(&[
            ("connection", "close, X-Secret"),
            ("Connection", "x-lineage-trace-id , keep-alive, host"),
            ("x-secret", "1"),
            ("x-model-version", "forged"),
            ("x-model-version", "twice"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("host", "h"),
            ("x-model", "kept"),
        ]);
        clean(&mut headers);
        assert_eq!(headers, map(&[("host", "h"), ("x-model", "kept")]));
    }

    #[test]
    fn a_length_goes_with_the_coding_that_overrides_it() {
        let mut headers = map(&[("content-length", "2"), ("transfer-encoding", "chunked"), ("x-own", "1")]);
        clean(&mut headers);
        assert_eq!(headers, map(&[("x-own", "1")]));
        let mut headers = map(&[("content-length", "2")]);
        clean(&mut headers);
        assert_eq!(headers, map(&[("content-length", "2")]));
    }

    #[test]
    fn forwarded_is_replaced_unless_trusted() {
        let client = ClientNames::new("2001:db8::1".parse().unwrap(), false);
        let mut headers = map(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")]);
        add_forwarded(&mut headers, &client, Some(&HeaderValue::from_static("h")), true);
        assert_eq!(headers["x-forwarded-for"], "6.6.6.6, 2001:db8::1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        add_forwarded(&mut headers, &client, Some(&HeaderValue::from_static("h")), false);
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
        assert_eq!(headers["forwarded"], "for=\"[2001:db8::1]\";proto=http");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "h");
    }

    #[test]
    fn trailers_are_accepted_by_token() {
        assert!(accepts_trailers(&map(&[("te", "gzip, Trailers")])));
        assert!(!accepts_trailers(&map(&[("te", "trailersx")])));
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2")]));
    }
}
