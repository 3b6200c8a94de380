//! Reads a request body within its limits and its memory, and lets a client finish sending what
//! nobody wants to read.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use chat::{Error, ErrorKind};
use flate2::read::MultiGzDecoder;
use gateway::{MemoryReservation, RequestMemory, ReservedBuffer, offload};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

/// A body that goes on arriving may take so many times the patience for one piece of it.
const WHOLE_BODY_TIMEOUT_FACTOR: u32 = 10;
/// The patience for one piece of it, and the bytes a second that it has to bring on average, while
/// memory is scarce.
const SCARCE_READ_TIMEOUT: Duration = Duration::from_secs(5);
const SCARCE_MIN_BYTES_PER_SECOND: usize = 16 << 10;
/// A shorter body is not asked for its memory before it arrives.
const SHORT_BODY: u64 = 64 << 10;
/// Bytes that one byte of gzip is taken to become, and the most that counts: inflating takes time,
/// but no memory of its own.
const GZIP_RATIO: usize = 64;
const MAX_INFLATED_ESTIMATE: usize = 4 << 20;
/// Bytes that are inflated at a time.
const GZIP_CHUNK: usize = 64 << 10;
/// What a route reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyType {
    Json,
    /// `multipart/form-data`.
    Multipart,
}

impl BodyType {
    fn mime(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Multipart => "multipart/form-data",
        }
    }
}

/// How a body is read.
#[derive(Clone, Copy)]
pub(crate) struct BodyReader<'a> {
    pub(crate) body_type: BodyType,
    /// Most bytes, after decoding.
    pub(crate) limit: usize,
    /// Longest silence between two pieces.
    pub(crate) read_timeout: Duration,
    pub(crate) memory: &'a RequestMemory,
}

impl BodyReader<'_> {
    /// The whole body of a route, decoded. Its memory is reserved as it arrives, and held until
    /// the bytes are gone.
    ///
    /// # Errors
    /// `TooLarge`, `UnsupportedMediaType`; `Overload` when there is no memory for it; `Invalid`
    /// when the client stops sending, or sends no gzip where it says so.
    pub(crate) async fn read(self, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Error> {
        let declared = declared_length(headers);
        if declared.is_some_and(|length| length > self.limit as u64) {
            return Err(too_large(self.limit));
        }
        check_content_type(self.body_type, headers)?;
        let gzip = is_gzip(headers)?;
        // Who announces more than there is room for need not send it.
        if let Some(length) = declared.filter(|&length| length > SHORT_BODY) {
            self.memory.check_available(length as usize)?;
        }
        let mut buffer = BodyBuffer::new(self.memory, self.limit, declared.map(|length| length as usize));
        let began = Instant::now();
        while let Some(frame) = self.next_frame(&mut body, began, buffer.held.bytes().len()).await? {
            let frame = frame.map_err(|_| Error::invalid("The request body could not be read to its end"))?;
            if let Ok(data) = frame.into_data() {
                buffer.push(&data)?;
            }
        }
        if !gzip {
            return buffer.held.finish();
        }
        let (memory, limit) = (self.memory.clone(), self.limit);
        let expected = buffer.held.bytes().len().saturating_mul(GZIP_RATIO).min(MAX_INFLATED_ESTIMATE);
        offload(self.memory, expected, move || inflate(buffer.held.bytes(), BodyBuffer::new(&memory, limit, None)))
            .await
    }

    /// The next frame of a body of which `read` bytes have arrived since it `began`.
    async fn next_frame(
        &self,
        body: &mut Body,
        began: Instant,
        read: usize,
    ) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, Error> {
        let (deadline, waiting_since) = (began + self.read_timeout * WHOLE_BODY_TIMEOUT_FACTOR, Instant::now());
        loop {
            let wake_at = deadline.min(Instant::now() + self.read_timeout.min(SCARCE_READ_TIMEOUT));
            let frame = timeout_at(wake_at, body.frame()).await;
            let slow = read < began.elapsed().as_secs() as usize * SCARCE_MIN_BYTES_PER_SECOND;
            let must_hurry = read > 0 && began.elapsed() >= SCARCE_READ_TIMEOUT && self.memory.is_scarce();
            match frame {
                Ok(frame) if !(must_hurry && slow) => return Ok(frame),
                Err(_) if !must_hurry && waiting_since.elapsed() < self.read_timeout && Instant::now() < deadline => {}
                _ => return Err(Error::invalid("The request body did not arrive in time")),
            }
        }
    }
}

/// A body that is read: its bytes so far, and its bounds.
struct BodyBuffer {
    held: ReservedBuffer,
    /// Most bytes that may come.
    limit: usize,
    /// Bytes that will come, if that was announced.
    declared: Option<usize>,
}

impl BodyBuffer {
    fn new(memory: &RequestMemory, limit: usize, declared: Option<usize>) -> Self {
        Self { held: ReservedBuffer::new(memory), limit, declared }
    }

    /// # Errors
    /// `TooLarge` beyond the limit; as [`ReservedBuffer::push`].
    fn push(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.held.bytes().len() + data.len() > self.limit {
            return Err(too_large(self.limit));
        }
        self.held.push(data, self.declared.unwrap_or(self.limit))
    }
}

/// Understands a body: parses it, and lets `read` make something of the tree, which holds as much
/// memory as `size` says.
///
/// # Errors
/// `Invalid` for malformed JSON, and those of `read`; `TooLarge` or `Overload` when there is
/// no memory for it.
pub(crate) async fn parse_json<T: Send + 'static>(
    memory: &RequestMemory,
    bytes: Bytes,
    read: impl FnOnce(Value, &mut MemoryReservation) -> Result<T, Error> + Send + 'static,
    size: fn(&T) -> usize,
) -> Result<(T, MemoryReservation), Error> {
    let mut hold = memory.empty_reservation();
    offload(memory, bytes.len(), move || {
        let tree = wire::json::parse_with_budget(&bytes, &mut |more| hold.grow(more))?;
        // The tree has copies of all it needs.
        drop(bytes);
        let parsed = read(tree, &mut hold)?;
        hold.resize(size(&parsed))?;
        Ok((parsed, hold))
    })
    .await
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("Request body too large: the limit is {limit} bytes"))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A missing type is taken for JSON.
fn check_content_type(expected: BodyType, headers: &HeaderMap) -> Result<(), Error> {
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_none() && expected == BodyType::Json {
        return Ok(());
    }
    let kind = String::from_utf8_lossy(content_type.map_or(b"", HeaderValue::as_bytes));
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected.mime()) {
        return Ok(());
    }
    let kind: String = kind.chars().take(64).collect();
    let message = format!("Unsupported content type `{kind}`, expected {}", expected.mime());
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

fn inflate(bytes: &[u8], mut plain: BodyBuffer) -> Result<Bytes, Error> {
    let (mut gzip, mut step) = (MultiGzDecoder::new(bytes), vec![0; GZIP_CHUNK]);
    loop {
        match gzip.read(&mut step) {
            Ok(0) => return plain.held.finish(),
            Ok(read) => plain.push(&step[..read])?,
            Err(_) => return Err(Error::invalid("The request body is not valid gzip")),
        }
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

    async fn read_body(headers: &HeaderMap, body: impl Into<Body>) -> Result<Bytes, ErrorKind> {
        let (read_timeout, memory) = (Duration::from_millis(50), &RequestMemory::default());
        let reading = BodyReader { body_type: BodyType::Json, limit: 100, read_timeout, memory };
        reading.read(headers, body.into()).await.map_err(|error| error.kind)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn the_limit_holds_for_what_is_declared_sent_and_decoded() {
        let none = HeaderMap::new();
        assert_eq!(read_body(&none, vec![b'x'; 100]).await.unwrap().len(), 100);
        assert_eq!(read_body(&none, vec![b'x'; 101]).await, Err(ErrorKind::TooLarge));
        assert_eq!(read_body(&headers(header::CONTENT_LENGTH, "101"), "{}").await, Err(ErrorKind::TooLarge));
        let zipped = headers(header::CONTENT_ENCODING, "gzip");
        assert_eq!(read_body(&zipped, gzip(&[b'x'; 100])).await.unwrap().len(), 100);
        assert_eq!(read_body(&zipped, gzip(&[b'x'; 100_000])).await, Err(ErrorKind::TooLarge));
        assert_eq!(read_body(&zipped, "{}").await, Err(ErrorKind::InvalidRequest));
    }

    #[tokio::test]
    async fn only_json_in_known_encodings_is_read() {
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(read_body(&headers(header::CONTENT_TYPE, kind), "{}").await.is_ok());
        }
        for kind in ["text/plain", "application/jsonx", ""] {
            let refused = read_body(&headers(header::CONTENT_TYPE, kind), "{}").await;
            assert_eq!(refused, Err(ErrorKind::UnsupportedMediaType));
        }
        let refused = read_body(&headers(header::CONTENT_ENCODING, "br"), "{}").await;
        assert_eq!(refused, Err(ErrorKind::UnsupportedMediaType));
    }

    #[tokio::test]
    async fn a_body_that_only_trickles_is_given_up() {
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let began = tokio::time::Instant::now();
        assert_eq!(read_body(&HeaderMap::new(), Body::from_stream(drip)).await, Err(ErrorKind::InvalidRequest));
        assert!(began.elapsed() >= Duration::from_millis(500));
    }

    #[tokio::test]
    async fn a_body_that_stops_arriving_is_given_up() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(read_body(&HeaderMap::new(), Body::from_stream(never)).await, Err(ErrorKind::InvalidRequest));
    }
}
