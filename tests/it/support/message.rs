//! HTTP/1.1 messages as text: written by hand for tests, read strictly, kept verbatim.

use std::fmt::Write as _;

/// A call that names its model in its path.
pub(crate) const INFER: &str = "/v2/models/fraud/infer";
/// A call that is no prediction.
pub(crate) const HEALTH: &str = "/v2/health/ready";
/// A call whose answers may stream.
pub(crate) const CHAT: &str = "/v1/chat/completions";
/// A prediction's input.
pub(crate) const INPUT: &str = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#;
/// A prediction's output, which names no version.
pub(crate) const OUTPUT: &str = r#"{"model_name":"fraud","outputs":[{"name":"y","data":[0.25]}]}"#;

/// A message's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// As it came, up to and with the empty line.
    pub raw: Vec<u8>,
    /// The first line.
    pub start: String,
    /// Fields in order, as they were spelled.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a head. Any line that RFC 9112 would not allow is a failure of the test.
    pub(crate) fn parse(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw).into_owned();
        let bare = raw.iter().enumerate().any(|(at, byte)| match byte {
            b'\n' => at == 0 || raw[at - 1] != b'\r',
            b'\r' => raw.get(at + 1) != Some(&b'\n'),
            0 => true,
            _ => false,
        });
        assert!(!bare, "a bare CR, LF or NUL in {text:?}");
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?} in {text:?}"));
            assert!(!name.is_empty() && !name.contains([' ', '\t']), "no field name: {name:?}");
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        });
        Self { raw: raw.to_vec(), start, fields: fields.collect() }
    }

    /// Every value of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name)
    }

    /// The value of a field that stands exactly once.
    pub(crate) fn one(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [value] => value,
            ref values => panic!("{name} stands {} times in {self:?}", values.len()),
        }
    }

    /// Whether a field is absent.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        self.all(name).is_empty()
    }

    /// An answer's status.
    pub(crate) fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status in {:?}", self.start))
    }

    /// A request's target.
    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

fn all<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let same = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    same.map(|(_, value)| value.as_str()).collect()
}

/// A message, as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its head.
    pub head: Head,
    /// Its body, without transfer coding.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
    /// Whether it came to its end.
    pub whole: bool,
}

impl Message {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or("(no text)")
    }

    /// Every value of a trailer.
    pub(crate) fn trailer(&self, name: &str) -> Vec<&str> {
        all(&self.trailers, name)
    }
}

/// A message with a known length. `start` is the first line; `host` is up to the caller.
pub(crate) fn message(start: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = body.len().to_string();
    let mut fields = fields.to_vec();
    fields.push(("content-length", &length));
    [head(start, &fields).as_slice(), body].concat()
}

/// A head alone.
pub(crate) fn head(start: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{start}\r\n");
    for (name, value) in fields {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A `POST` of JSON.
pub(crate) fn post(path: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_with(path, &[], body)
}

/// A `POST` of JSON with further fields.
pub(crate) fn post_with(path: &str, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut all = vec![("host", "models.test"), ("content-type", "application/json")];
    all.extend_from_slice(fields);
    message(&format!("POST {path} HTTP/1.1"), &all, body)
}

/// A `GET`.
pub(crate) fn get(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![("host", "models.test")];
    all.extend_from_slice(fields);
    head(&format!("GET {path} HTTP/1.1"), &all)
}

/// A good prediction.
pub(crate) fn infer() -> Vec<u8> {
    post(INFER, INPUT)
}

/// A 200 with JSON.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    ok_with(&[], body)
}

/// A 200 with JSON and further fields.
pub(crate) fn ok_with(fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(fields);
    message("HTTP/1.1 200 OK", &all, body)
}

/// The head of an answer that comes in chunks.
pub(crate) fn streaming(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all = vec![("content-type", "text/event-stream"), ("transfer-encoding", "chunked")];
    all.extend_from_slice(fields);
    head("HTTP/1.1 200 OK", &all)
}

/// One chunk.
pub(crate) fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// The end of a body in chunks.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
