//! The web console: its files, and how each of them is answered.
//!
//! The files below `assets/` are embedded in the program. A debug build reads them from disk at
//! every request, so that an edited file shows when the page is loaded again.
#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Files;

/// The headers of every answer below `/console`, errors included: names and values.
///
/// The policy lets a page load only what this server has, and refuses to make HTML from text.
pub const HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// The page that every address without a file shows; its script decides what stands on it.
const PAGE: &str = "index.html";

/// One file, as it is answered.
#[derive(Debug)]
pub struct Asset {
    pub content_type: &'static str,
    /// The value of `cache-control`.
    pub cache_control: &'static str,
    /// The SHA-256 of the bytes, 64 hex digits.
    pub sha256: String,
    pub bytes: Cow<'static, [u8]>,
    /// The same bytes, compressed; `None` if that saves nothing.
    pub gzip: Option<Vec<u8>>,
}

impl Asset {
    /// The strong `etag` of one representation, quotes included.
    pub fn etag(&self, gzip: bool) -> String {
        format!("\"{}{}\"", self.sha256, if gzip { "-gzip" } else { "" })
    }

    fn new(name: &str, file: EmbeddedFile) -> Self {
        let mut sha256 = String::with_capacity(64);
        for byte in file.metadata.sha256_hash() {
            write!(sha256, "{byte:02x}").expect("a string takes every text");
        }
        let cache_control = if has_hash(name, &sha256) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let gzip = compress(&file.data).filter(|compressed| compressed.len() < file.data.len());
        Self { content_type: content_type(name), cache_control, sha256, bytes: file.data, gzip }
    }
}

/// The file for a path below `/console/`, without that prefix: `keys` and the empty path are pages,
/// `app.js` is a file. `None` for a file that does not exist.
pub fn find(path: &str) -> Option<Arc<Asset>> {
    let is_page = !path.rsplit('/').next().unwrap_or_default().contains('.');
    let name = if is_page { PAGE } else { path };
    if cfg!(debug_assertions) {
        return Files::get(name).map(|file| Arc::new(Asset::new(name, file)));
    }
    static ASSETS: LazyLock<HashMap<String, Arc<Asset>>> = LazyLock::new(|| {
        let file = |name: Cow<'static, str>| Some((name.to_string(), Arc::new(Asset::new(&name, Files::get(&name)?))));
        Files::iter().filter_map(file).collect()
    });
    ASSETS.get(name).cloned()
}

/// The names of all files.
pub fn names() -> impl Iterator<Item = Cow<'static, str>> {
    Files::iter()
}

/// Whether a name holds the start of the hash of its contents: `preact.0a1b2c3d.js`.
fn has_hash(name: &str, sha256: &str) -> bool {
    name.split('.').any(|part| part.len() >= 8 && sha256.starts_with(part))
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "json" => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}
