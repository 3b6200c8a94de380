//! Reads a request body within the limits on its size, its time and its memory.

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

/// The time limit for a whole body, as a multiple of the read timeout of one chunk.
const WHOLE_BODY_TIMEOUT_FACTOR: u32 = 10;
/// The read timeout of one chunk while memory is scarce. Like [`SCARCE_MIN_BYTES_PER_SECOND`], it
/// applies only to a body of which bytes have arrived, and not in its first 5 s.
const SCARCE_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The average rate below which a body is refused while memory is scarce.
const SCARCE_MIN_BYTES_PER_SECOND: usize = 16 << 10;
/// The `Content-Length` above which the memory for a body is checked before it arrives.
const SHORT_BODY: u64 = 64 << 10;
/// The estimate of inflated bytes for one byte of gzip. It decides only whether to inflate on a
/// blocking thread. Memory is reserved for the actual bytes.
const GZIP_RATIO: usize = 64;
/// The upper bound of that estimate.
const MAX_INFLATED_ESTIMATE: usize = 4 << 20;
/// The bytes that are inflated at a time.
const GZIP_CHUNK: usize = 64 << 10;
/// The content type of the bodies of a route.
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

/// Reads the body of one request.
#[derive(Clone, Copy)]
pub(crate) struct BodyReader<'a> {
    pub(crate) body_type: BodyType,
    /// The maximum number of bytes, as received and after decoding.
    pub(crate) limit: usize,
    /// The time limit for one chunk. The whole body may take 10 times as long.
    pub(crate) read_timeout: Duration,
    pub(crate) memory: &'a RequestMemory,
}

impl BodyReader<'_> {
    /// Returns the whole body, decoded. Memory is reserved as it arrives and held until the bytes
    /// are dropped.
    ///
    /// # Errors
    /// `TooLarge` above the limit or the caller's share of memory. `Overloaded` when memory is
    /// short. `UnsupportedMediaType` for another content type or encoding. `InvalidRequest` for a
    /// body that is late, breaks off, or is not the gzip that its headers announce.
    pub(crate) async fn read(self, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Error> {
        let declared = declared_length(headers);
        if declared.is_some_and(|length| length > self.limit as u64) {
            return Err(too_large(self.limit));
        }
        check_content_type(self.body_type, headers)?;
        let gzip = is_gzip(headers)?;
        // A body for which there is no memory is refused before it is read.
        if let Some(length) = declared.filter(|&length| length > SHORT_BODY) {
            self.memory.check_available(length as usize)?;
        }
        let mut buffer = BodyBuffer::new(self.memory, self.limit, declared.map(|length| length as usize));
        let started = Instant::now();
        while let Some(frame) = self.next_frame(&mut body, started, buffer.reserved.bytes().len()).await? {
            let frame = frame.map_err(|_| Error::invalid("The request body could not be read to its end"))?;
            if let Ok(data) = frame.into_data() {
                buffer.push(&data)?;
            }
        }
        if !gzip {
            return buffer.reserved.finish();
        }
        let (memory, limit) = (self.memory.clone(), self.limit);
        let expected = buffer.reserved.bytes().len().saturating_mul(GZIP_RATIO).min(MAX_INFLATED_ESTIMATE);
        offload(self.memory, expected, move || inflate(buffer.reserved.bytes(), BodyBuffer::new(&memory, limit, None)))
            .await
    }

    /// Returns the next frame of a body of which `read` bytes have arrived since `started`; `None`
    /// at its end.
    ///
    /// # Errors
    /// `InvalidRequest` for a body that is late. While memory is scarce, also for one that is slow.
    async fn next_frame(
        &self,
        body: &mut Body,
        started: Instant,
        read: usize,
    ) -> Result<Option<Result<Frame<Bytes>, axum::Error>>, Error> {
        let deadline = started + self.read_timeout * WHOLE_BODY_TIMEOUT_FACTOR;
        let waiting_since = Instant::now();
        loop {
            let wake_at = deadline.min(Instant::now() + self.read_timeout.min(SCARCE_READ_TIMEOUT));
            let frame = timeout_at(wake_at, body.frame()).await;
            let slow = read < started.elapsed().as_secs() as usize * SCARCE_MIN_BYTES_PER_SECOND;
            let must_hurry = read > 0 && started.elapsed() >= SCARCE_READ_TIMEOUT && self.memory.is_scarce();
            match frame {
                Ok(frame) if !(must_hurry && slow) => return Ok(frame),
                Err(_) if !must_hurry && waiting_since.elapsed() < self.read_timeout && Instant::now() < deadline => {}
                _ => return Err(Error::invalid("The request body did not arrive in time")),
            }
        }
    }
}

/// The bytes of a body so far, and their limits.
struct BodyBuffer {
    reserved: ReservedBuffer,
    /// The maximum number of bytes.
    limit: usize,
    /// The length that the headers announce. No more memory than that is reserved in advance.
    declared: Option<usize>,
}

impl BodyBuffer {
    fn new(memory: &RequestMemory, limit: usize, declared: Option<usize>) -> Self {
        Self { reserved: ReservedBuffer::new(memory), limit, declared }
    }

    /// Appends `data`.
    ///
    /// # Errors
    /// `TooLarge` above the limit; those of [`ReservedBuffer::push`].
    fn push(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.reserved.bytes().len() + data.len() > self.limit {
            return Err(too_large(self.limit));
        }
        self.reserved.push(data, self.declared.unwrap_or(self.limit))
    }
}

/// Parses a JSON body and converts the tree with `read`. Returns the result with a reservation of
/// `size(&result)` bytes. A large body is parsed on a blocking thread.
///
/// # Errors
/// `InvalidRequest` for malformed JSON; those of `read`; `TooLarge` or `Overloaded` when there is
/// no memory for the tree or the result.
pub(crate) async fn parse_json<T: Send + 'static>(
    memory: &RequestMemory,
    bytes: Bytes,
    read: impl FnOnce(Value, &mut MemoryReservation) -> Result<T, Error> + Send + 'static,
    size: fn(&T) -> usize,
) -> Result<(T, MemoryReservation), Error> {
    let mut reservation = memory.empty_reservation();
    offload(memory, bytes.len(), move || {
        let tree = wire::json::parse_with_budget(&bytes, &mut |more| reservation.grow(more))?;
        // The tree has copies of all it needs.
        drop(bytes);
        let parsed = read(tree, &mut reservation)?;
        reservation.resize(size(&parsed))?;
        Ok((parsed, reservation))
    })
    .await
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("Request body too large: the limit is {limit} bytes"))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Checks the content type. A missing one counts as JSON.
///
/// # Errors
/// `UnsupportedMediaType` for any other.
fn check_content_type(expected: BodyType, headers: &HeaderMap) -> Result<(), Error> {
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_none() && expected == BodyType::Json {
        return Ok(());
    }
    let received = String::from_utf8_lossy(content_type.map_or(b"", HeaderValue::as_bytes));
    if received.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(expected.mime()) {
        return Ok(());
    }
    let received: String = received.chars().take(64).collect();
    let message = format!("Unsupported content type `{received}`, expected {}", expected.mime());
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
    let mut gzip = MultiGzDecoder::new(bytes);
    let mut chunk = vec![0; GZIP_CHUNK];
    loop {
        match gzip.read(&mut chunk) {
            Ok(0) => return plain.reserved.finish(),
            Ok(read) => plain.push(&chunk[..read])?,
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
        let read_timeout = Duration::from_millis(50);
        let memory = &RequestMemory::default();
        let reader = BodyReader { body_type: BodyType::Json, limit: 100, read_timeout, memory };
        reader.read(headers, body.into()).await.map_err(|error| error.kind)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn the_limit_applies_to_declared_sent_and_decoded_bytes() {
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
    async fn a_body_that_only_trickles_in_is_refused() {
        let drip = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        let started = tokio::time::Instant::now();
        assert_eq!(read_body(&HeaderMap::new(), Body::from_stream(drip)).await, Err(ErrorKind::InvalidRequest));
        assert!(started.elapsed() >= Duration::from_millis(500));
    }

    #[tokio::test]
    async fn a_body_that_stops_arriving_is_refused() {
        let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        assert_eq!(read_body(&HeaderMap::new(), Body::from_stream(never)).await, Err(ErrorKind::InvalidRequest));
    }
}
