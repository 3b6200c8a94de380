//! Reads a request body within its limits, and lets a client finish sending what nobody wants to read.

use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use chat::{Error, ErrorKind};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

/// A body that goes on arriving may take so many times the patience for one piece of it.
const WHOLE: u32 = 10;
/// Bodies of so many bytes are understood within a fraction of a millisecond.
const QUICK: usize = 32 << 10;
/// Most bytes of an unwanted body that are read and thrown away.
const MAX_DRAINED: usize = 128 << 20;
/// Longest time spent on that.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// What a route reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    /// `multipart/form-data`.
    Form,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "multipart/form-data",
        }
    }
}

/// The whole body of a route, decoded, of at most `limit` bytes.
///
/// # Errors
/// `TooLarge`, `UnsupportedMediaType`; `Invalid` when the client stops sending for `patience`, or sends no gzip where it
/// says so.
pub(crate) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    kind: Kind,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Error> {
    if declared_length(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    is(kind, headers)?;
    let gzip = is_gzip(headers)?;
    let mut bytes = BytesMut::new();
    let end_by = tokio::time::Instant::now() + patience * WHOLE;
    loop {
        let next = end_by.min(tokio::time::Instant::now() + patience);
        let frame = tokio::time::timeout_at(next, body.frame()).await;
        let frame = frame.map_err(|_| Error::invalid("The request body did not arrive in time"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Error::invalid("The request body could not be read to its end"))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    if gzip { aside(move || decoded(&bytes, limit)).await } else { Ok(bytes.freeze()) }
}

/// Understands a body. The largest take most of a second, which no stream may wait for.
pub(crate) async fn understood<T: Send + 'static>(
    bytes: Bytes,
    parse: impl FnOnce(&Bytes) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if bytes.len() <= QUICK { parse(&bytes) } else { aside(move || parse(&bytes)).await }
}

/// Does `work` where it may take its time.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::internal("Internal server error")))
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("Request body too large: the limit is {limit} bytes"))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A missing type is taken for JSON.
fn is(wanted: Kind, headers: &HeaderMap) -> Result<(), Error> {
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_none() && wanted == Kind::Json {
        return Ok(());
    }
    let kind = String::from_utf8_lossy(kind.map_or(b"", HeaderValue::as_bytes));
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted.name()) {
        return Ok(());
    }
    let kind: String = kind.chars().take(64).collect();
    let message = format!("Unsupported content type `{kind}`, expected {}", wanted.name());
    Err(Error::new(ErrorKind::UnsupportedMediaType, message))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Error> {
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(coding) if coding.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => {
            let message = "Unsupported content encoding, send the body plain or with gzip";
            Err(Error::new(ErrorKind::UnsupportedMediaType, message))
        }
    }
}

fn decoded(bytes: &[u8], limit: usize) -> Result<Bytes, Error> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(limit as u64 + 1).read_to_end(&mut plain);
    read.map_err(|_| Error::invalid("The request body is not valid gzip"))?;
    if plain.len() > limit { Err(too_large(limit)) } else { Ok(plain.into()) }
}

/// A request body that is read to its end in the background when it is dropped before.
///
/// A connection closed with unread bytes is reset, and the reset overtakes the answer: a refused client would see no
/// status at all.
pub(crate) struct Drained(Option<Incoming>);

impl Drained {
    pub(crate) fn over(body: Incoming) -> Body {
        Body::new(Self(Some(body)))
    }
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        let drain = async move {
            let mut left = MAX_DRAINED;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len);
                let Some(rest) = left.checked_sub(length) else { break };
                left = rest;
            }
        };
        tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    async fn sent(headers: &HeaderMap, body: impl Into<Body>) -> Result<Bytes, ErrorKind> {
        read(headers, body.into(), Kind::Json, 100, Duration::from_millis(50)).await.map_err(|error| error.kind)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn the_limit_holds_for_what_is_declared_sent_and_decoded() {
        let none = HeaderMap::new();
        assert_eq!(sent(&none, vec![b'x'; 100]).await.unwrap().len(), 100);
        assert_eq!(sent(&none, vec![b'x'; 101]).await, Err(ErrorKind::TooLarge));
        assert_eq!(sent(&headers(header::CONTENT_LENGTH, "101"), "{}").await, Err(ErrorKind::TooLarge));
        let zipped = headers(header::CONTENT_ENCODING, "gzip");
        assert_eq!(sent(&zipped, gzip(&[b'x'; 100])).await.unwrap().len(), 100);
        assert_eq!(sent(&zipped, gzip(&[b'x'; 100_000])).await, Err(ErrorKind::TooLarge));
        assert_eq!(sent(&zipped, "{}").await, Err(ErrorKind::Invalid));
    }

    #[tokio::test]
    async fn only_json_in_known_encodings_is_read() {
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(sent(&headers(header::CONTENT_TYPE, kind), "{}").await.is_ok());
        }
        for kind in ["text/plain", "application/jsonx", ""] {
            let refused = sent(&headers(header::CONTENT_TYPE, kind), "{}").await;
            assert_eq!(refused, Err(ErrorKind::UnsupportedMediaType));
        }
        let refused = sent(&headers(header::CONTENT_ENCODING, "br"), "{}").await;
        assert_eq!(refused, Err(ErrorKind::UnsupportedMediaType));
    }

    #[tokio::test]
    async fn a_body_that_only_trickles_is_given_up() {
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let began = tokio::time::Instant::now();
        assert_eq!(sent(&HeaderMap::new(), Body::from_stream(drip)).await, Err(ErrorKind::Invalid));
        assert!(began.elapsed() >= Duration::from_millis(500));
    }

    #[tokio::test]
    async fn a_body_that_stops_arriving_is_given_up() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(sent(&HeaderMap::new(), Body::from_stream(never)).await, Err(ErrorKind::Invalid));
    }
}
