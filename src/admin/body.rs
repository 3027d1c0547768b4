//! Bodies: read within a limit and a time, unpacked within the same limit, and so many bytes of all at once.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::{Refusal, later, problem};

/// From the head to the body's end.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of all bodies that are being read, unpacked or taken in: 64 MiB.
const BYTES_MAX: usize = 64 << 20;
/// What the smallest body counts as.
const BYTES_MIN: usize = 4 << 10;

/// Room for bodies.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Arc<Semaphore>);

/// A body's head, which was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    length: Option<usize>,
    packed: bool,
    max: usize,
}

/// What was read; the room that it takes is kept with it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) bytes: Bytes,
    pub(super) room: Vec<OwnedSemaphorePermit>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BYTES_MAX)))
    }
}

impl Announced {
    /// Looks at what a head says of its body: its type, its encoding, its length.
    pub(super) fn new(headers: &HeaderMap, max: usize) -> Result<Self, Refusal> {
        // A page in a browser cannot send this type to another site without being asked first: no change by a forged
        // form.
        let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
        if !is_json {
            let detail = "send it as 'content-type: application/json'";
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into());
        }
        let packed = match headers.get(CONTENT_ENCODING).map_or(&b"identity"[..], |value| value.as_bytes()) {
            value if value.eq_ignore_ascii_case(b"identity") => false,
            value if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") => true,
            _ => {
                return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send it as it is, or packed with gzip").into());
            }
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > max) {
            return Err(too_long(max));
        }
        Ok(Self { length, packed, max })
    }
}

impl Bodies {
    /// Reads a body and unpacks it.
    pub(super) async fn read<B>(&self, body: B, announced: Announced) -> Result<Read, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Announced { length, packed, max } = announced;
        let first = length.unwrap_or(max);
        let mut room = vec![self.take(first.max(BYTES_MIN))?];
        let bytes = match timeout(BODY_TIMEOUT, Limited::new(body, max).collect()).await {
            Ok(Ok(whole)) => whole.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_long(max)),
            Ok(Err(_)) | Err(_) => return Err(problem(StatusCode::BAD_REQUEST, "the body did not come whole").into()),
        };
        if !packed {
            return Ok(Read { bytes, room });
        }
        room.push(self.take(max)?);
        let unpacked = tokio::task::spawn_blocking(move || unpack(&bytes, max)).await;
        match unpacked {
            Ok(Ok(Some(bytes))) => Ok(Read { bytes, room }),
            Ok(Ok(None)) => Err(too_long(max)),
            Ok(Err(_)) | Err(_) => {
                Err(problem(StatusCode::BAD_REQUEST, "the body is not packed with gzip, or not whole").into())
            }
        }
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(bytes).map_err(|_error| {
            later(StatusCode::SERVICE_UNAVAILABLE, "too many bodies are being taken in: send it again", 1).into()
        })
    }
}

/// Unpacks at most so many bytes; none where there are more.
fn unpack(packed: &[u8], max: usize) -> std::io::Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= max).then(|| bytes.into()))
}

fn too_long(max: usize) -> Refusal {
    let detail = format!("the body is longer than {} KiB", max >> 10);
    problem(StatusCode::PAYLOAD_TOO_LARGE, &detail).into()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_bomb_is_not_unpacked() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 1 << 20]).unwrap();
        let bomb = packer.finish().unwrap();
        assert!(bomb.len() < 2048);
        assert_eq!(unpack(&bomb, (1 << 20) - 1).unwrap(), None);
        assert_eq!(unpack(&bomb, 1 << 20).unwrap().unwrap().len(), 1 << 20);
        assert!(unpack(&bomb[..bomb.len() - 9], 1 << 20).is_err() && unpack(b"plain", 9).is_err());
    }
}
