//! What both benches share: the load, the same for everyone, and the order statistics that noise leaves standing.

use std::fmt::Write as _;

/// The path that every request asks for: a prediction by the Open Inference Protocol, V2.
pub(crate) const PATH: &str = "/v2/models/m/infer";

/// A V2 answer of about 500 B, head and body together.
pub(crate) const ANSWER: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 386\r\n",
    "date: Fri, 20 Nov 2026 17:29:01 GMT\r\n\r\n",
    r#"{"model_name":"m","model_version":"1","id":"5f0c7a52-0d7e-4c52-a4ae-5c1e9a2a7d10","outputs":["#,
    r#"{"name":"probability","shape":[1,8],"datatype":"FP32","data":[0.25,0.125,0.0625,0.03125,0.5,0.015625,0.25,0.5]},"#,
    r#"{"name":"label","shape":[1,8],"datatype":"BYTES","data":["ok","ok","ok","ok","fraud","ok","ok","fraud"]},"#,
    r#"{"name":"score","shape":[1,4],"datatype":"INT64","data":[812,640,455,377]}]}"#,
);

/// A V2 request body of exactly this many bytes, at least 128.
pub(crate) fn body(bytes: usize) -> Vec<u8> {
    const START: &str = r#"{"inputs":[{"name":"x","shape":[1,-1],"datatype":"FP32","data":["#;
    const END: &str = "1]}]}";
    let mut body = String::with_capacity(bytes);
    body.push_str(START);
    let mut number = 1_u32;
    while body.len() + 16 + END.len() < bytes {
        // Numbers as a feature vector has them: short, all different.
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let _ = write!(body, "{}.{:05},", number >> 28, (number >> 8) % 100_000);
    }
    let pad = bytes.saturating_sub(body.len() + END.len());
    body.extend(std::iter::repeat_n(' ', pad));
    body.push_str(END);
    body.into_bytes()
}

/// A whole request for [`PATH`]: a head of about 230 B and a body of so many bytes.
pub(crate) fn request(body_bytes: usize) -> Vec<u8> {
    let mut request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: models.example:8080\r\nUser-Agent: peers/1\r\nAccept: application/json\r\n\
         Accept-Encoding: identity\r\nContent-Type: application/json\r\n\
         X-Request-Id: 7f9c0b0e-req-17\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes();
    request.extend(body(body_bytes));
    request
}

/// The value of a field in a message's head, its name compared without case.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        {
            return Some(line[name.len() + 1..].trim_ascii());
        }
    }
    None
}

/// A field's value as a number.
pub(crate) fn number(head: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(field(head, name)?).ok()?.parse().ok()
}

/// The value below which this share of the values lies; `None` of nothing. Sorts.
pub(crate) fn quantile<T: Copy + PartialOrd>(values: &mut [T], share: f64) -> Option<T> {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a slice of measurements"
    )]
    let index = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(index).copied()
}

/// The middle value. Sorts.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    quantile(values, 0.5)
}
