//! [`FakeHub`]: a hub with one model on a loopback port, and the store of its large files on
//! another one, with faults that a test turns on.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::fake_upstream::ReceivedRequest;

/// The commit of the branch `main`.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// A secret in the links to the store, as a signature is.
pub const LINK_SECRET: &str = "signature-of-a-link";

const CHUNK: usize = 16 << 10;

/// A file of the model. Bytes beyond `bytes` up to `size` are zero.
#[derive(Clone, Debug)]
pub struct HubFile {
    pub path: String,
    pub bytes: Vec<u8>,
    pub size: u64,
    /// Whether the file is in the store for large files.
    pub large: bool,
    checksum: String,
}

impl HubFile {
    /// A file in git.
    pub fn small(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::new(path, bytes.len() as u64, bytes, false)
    }

    /// A file in the store for large files.
    pub fn large(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::new(path, bytes.len() as u64, bytes, true)
    }

    /// A large file of `size` bytes, of which only the first ones are not zero. Its checksum is
    /// made up.
    pub fn sparse(path: &str, start: impl Into<Vec<u8>>, size: u64) -> Self {
        Self::new(path, size, start.into(), true)
    }

    fn new(path: &str, size: u64, bytes: Vec<u8>, large: bool) -> Self {
        let checksum = if large {
            let made_up = if size > bytes.len() as u64 { path.as_bytes() } else { b"" };
            hex(&Sha256::new().chain_update(&bytes).chain_update(made_up).finalize())
        } else {
            hex(&Sha1::new().chain_update(format!("blob {size}\0")).chain_update(&bytes).finalize())
        };
        Self { path: path.into(), bytes, size, large, checksum }
    }

    /// The checksum as the hub names it: the SHA-256 of a large file, else git's of a blob.
    pub fn checksum(&self) -> String {
        self.checksum.clone()
    }

    /// The bytes `from..to`.
    fn slice(&self, from: u64, to: u64) -> Vec<u8> {
        let stored = |at: u64| usize::try_from(at).map_or(self.bytes.len(), |at| at.min(self.bytes.len()));
        let mut slice = self.bytes[stored(from)..stored(to)].to_vec();
        slice.resize((to - from) as usize, 0);
        slice
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The faults that are on. All are off at first.
#[derive(Clone, Debug, Default)]
pub struct HubFaults {
    /// The token that the hub requires.
    pub token: Option<String>,
    /// The account of the token has not accepted the conditions.
    pub gated: bool,
    /// The next requests for files that are refused with 429, and their `Retry-After`.
    pub rate_limits: u32,
    pub retry_after: u64,
    /// The next requests for files that are refused with 503.
    pub unavailable: u32,
    /// The next answers with bytes of a file break, each after a number of bytes. A shorter answer
    /// is left whole.
    pub cuts: VecDeque<u64>,
    /// The next answers with bytes of a file whose last byte is wrong.
    pub damaged: u32,
    /// Every request for a part of a file is answered with the whole file.
    pub ignores_ranges: bool,
    /// The number of bytes that answers send behind the end of the file.
    pub surplus: u64,
    /// The rate of the store, in bytes per second.
    pub rate: Option<u64>,
    /// The place that requests for files are redirected to, instead of the store.
    pub redirect: Option<String>,
}

struct Model {
    id: String,
    files: Vec<HubFile>,
    tags: Vec<String>,
    faults: Mutex<HubFaults>,
    hub_requests: Mutex<Vec<ReceivedRequest>>,
    store_requests: Mutex<Vec<ReceivedRequest>>,
    store: SocketAddr,
}

/// A fake hub. Dropping it closes its ports.
pub struct FakeHub {
    pub address: SocketAddr,
    model: Arc<Model>,
    serving: [JoinHandle<()>; 2],
}

impl FakeHub {
    /// Starts a hub with the model `id` (`ORG/NAME`).
    pub async fn start(id: &str, files: Vec<HubFile>) -> Self {
        Self::start_with_tags(id, files, &[]).await
    }

    /// Starts a hub with the model `id`, which has tags.
    pub async fn start_with_tags(id: &str, files: Vec<HubFile>, tags: &[&str]) -> Self {
        let bind = || async { TcpListener::bind("127.0.0.1:0").await.expect("a free port") };
        let (hub, store) = (bind().await, bind().await);
        let address = |listener: &TcpListener| listener.local_addr().expect("the listener is bound");
        let model = Arc::new(Model {
            id: id.into(),
            files,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            faults: Mutex::default(),
            hub_requests: Mutex::default(),
            store_requests: Mutex::default(),
            store: address(&store),
        });
        let address = address(&hub);
        let of_hub = Router::new().fallback(answer_of_hub).with_state(model.clone());
        let of_store = Router::new().fallback(answer_of_store).with_state(model.clone());
        let serve = |listener, router| {
            tokio::spawn(async move { axum::serve(listener, router).await.expect("a loopback server runs") })
        };
        Self { address, model, serving: [serve(hub, of_hub), serve(store, of_store)] }
    }

    /// The value for `HF_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Turns faults on and off.
    pub fn set_faults(&self, change: impl FnOnce(&mut HubFaults)) {
        change(&mut self.model.faults.lock());
    }

    /// The files of the model.
    pub fn files(&self) -> &[HubFile] {
        &self.model.files
    }

    /// The requests to the hub so far.
    pub fn hub_requests(&self) -> Vec<ReceivedRequest> {
        self.model.hub_requests.lock().clone()
    }

    /// The requests to the store for large files so far.
    pub fn store_requests(&self) -> Vec<ReceivedRequest> {
        self.model.store_requests.lock().clone()
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

fn received(request: &Request) -> ReceivedRequest {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    ReceivedRequest {
        method: request.method().to_string(),
        // Through a proxy, the request line has the whole address.
        path: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: Vec::new(),
    }
}

async fn answer_of_hub(State(model): State<Arc<Model>>, request: Request) -> Result<Response, Infallible> {
    let asked = received(&request);
    model.hub_requests.lock().push(asked.clone());
    Ok(model.answer(&asked, request.headers()).unwrap_or_else(|refusal| *refusal))
}

async fn answer_of_store(State(model): State<Arc<Model>>, request: Request) -> Result<Response, Infallible> {
    model.store_requests.lock().push(received(&request));
    let checksum = request.uri().path().trim_start_matches('/');
    Ok(match model.files.iter().find(|file| file.large && file.checksum == checksum) {
        Some(file) if request.uri().query() == Some(LINK_SECRET) => model.bytes_of(file, request.headers()),
        _ => *refusal(403, "", "the link is not valid"),
    })
}

fn refusal(status: u16, code: &str, message: &str) -> Box<Response> {
    let response = Response::builder().status(status).header("x-error-code", code).header("x-error-message", message);
    Box::new(response.body(Body::from("<html>not JSON</html>")).expect("a valid response"))
}

impl Model {
    fn answer(&self, asked: &ReceivedRequest, headers: &HeaderMap) -> Result<Response, Box<Response>> {
        let path = asked.path.split('?').next().unwrap_or_default();
        self.check_token(asked)?;
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let (id, revision) = rest.split_once("/revision/").unwrap_or((rest, ""));
            self.check_model(id)?;
            if ![COMMIT, "main"].contains(&revision) {
                return Err(refusal(404, "RevisionNotFound", "Invalid rev id"));
            }
            let listing = self.listing().to_string();
            return Ok(Response::new(Body::from(listing)));
        }
        let (id, rest) = path[1..].split_once("/resolve/").unwrap_or_default();
        self.check_model(id)?;
        let file = rest.split_once('/').and_then(|(_, path)| self.files.iter().find(|file| file.path == path));
        let file = file.ok_or_else(|| refusal(404, "EntryNotFound", "Entry not found"))?;
        self.check_rate()?;
        if !file.large {
            return Ok(self.bytes_of(file, headers));
        }
        let store = format!("http://{}/{}?{LINK_SECRET}", self.store, file.checksum());
        let place = self.faults.lock().redirect.clone().unwrap_or(store);
        let moved = Response::builder().status(302).header("location", place);
        Ok(moved.body(Body::empty()).expect("a valid response"))
    }

    fn check_token(&self, asked: &ReceivedRequest) -> Result<(), Box<Response>> {
        let faults = self.faults.lock();
        let is_known = faults
            .token
            .as_ref()
            .is_none_or(|token| asked.header("authorization").is_some_and(|value| value == format!("Bearer {token}")));
        match (is_known, faults.gated) {
            (true, false) => Ok(()),
            (true, true) => Err(refusal(403, "GatedRepo", "Access to this model is restricted")),
            (false, true) => Err(refusal(401, "GatedRepo", "Access to this model is restricted")),
            (false, false) => Err(refusal(401, "", "Invalid username or password.")),
        }
    }

    fn check_model(&self, id: &str) -> Result<(), Box<Response>> {
        if id == self.id { Ok(()) } else { Err(refusal(404, "RepoNotFound", "Repository not found")) }
    }

    fn check_rate(&self) -> Result<(), Box<Response>> {
        let mut faults = self.faults.lock();
        if faults.rate_limits > 0 {
            faults.rate_limits -= 1;
            let mut refused = refusal(429, "", "slow down");
            refused.headers_mut().insert("retry-after", faults.retry_after.into());
            return Err(refused);
        }
        if faults.unavailable > 0 {
            faults.unavailable -= 1;
            return Err(refusal(503, "", "busy"));
        }
        Ok(())
    }

    /// The answer of the API about the model.
    fn listing(&self) -> Value {
        let sibling = |file: &HubFile| {
            let mut sibling = json!({"rfilename": file.path, "size": file.size, "blobId": "00".repeat(20)});
            if file.large {
                sibling["lfs"] = json!({"sha256": file.checksum(), "size": file.size, "pointerSize": 135});
            } else {
                sibling["blobId"] = file.checksum().into();
            }
            sibling
        };
        let siblings: Vec<Value> = self.files.iter().map(sibling).collect();
        json!({"id": self.id, "sha": COMMIT, "gated": false, "tags": self.tags, "siblings": siblings})
    }

    /// The answer with a file, or with the part of it that the header `Range` names.
    fn bytes_of(&self, file: &HubFile, headers: &HeaderMap) -> Response {
        let mut faults = self.faults.lock();
        let range = headers.get("range").and_then(|value| value.to_str().ok()).filter(|_| !faults.ignores_ranges);
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let first = range.map_or(0, |(first, _)| first.parse().expect("a number"));
        let last =
            range.and_then(|(_, last)| last.parse::<u64>().ok()).map_or(file.size, |last| file.size.min(last + 1));
        let mut response = Response::builder().header("accept-ranges", "bytes");
        if range.is_some() {
            if first >= file.size {
                return *refusal(416, "", "out of range");
            }
            let described = format!("bytes {first}-{}/{}", last - 1, file.size);
            response = response.status(206).header("content-range", described);
        }
        let end = last + faults.surplus;
        let cut = faults.cuts.pop_front_if(|bytes| first + *bytes < end);
        let damaged = faults.damaged > 0;
        faults.damaged = faults.damaged.saturating_sub(1);
        let pause = faults.rate.map(|rate| Duration::from_secs_f64(CHUNK as f64 / rate as f64));
        response = response.header("content-length", end - first);
        let stop = cut.map_or(end, |bytes| end.min(first + bytes));
        let file = file.clone();
        let body = stream::unfold(first, move |from| {
            let file = file.clone();
            async move {
                if from >= stop {
                    let broken = std::io::Error::other("broken on purpose");
                    return (stop < end && from == stop).then_some((Err(broken), end));
                }
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                let to = stop.min(from + CHUNK as u64);
                let mut bytes = file.slice(from, to);
                if damaged && to == end {
                    *bytes.last_mut().expect("a chunk is not empty") ^= 1;
                }
                Some((Ok(bytes), to))
            }
        });
        response.body(Body::from_stream(body)).expect("headers that can be sent")
    }
}
