//! Requests about tasks and files, which are not for an answer of a model.

use bytes::Bytes;
use chat::Error;
use http::{HeaderMap, Method};

use super::Upstream;
use crate::upstream::http_client::Response;

/// The length from which a body has the time limit of a whole answer, because it takes long to be
/// sent.
const LARGE_BODY_BYTES: usize = 1 << 20;

impl Upstream {
    /// Sends a request. `path` is below the base URL, and may have a query. The returned
    /// response is a success.
    ///
    /// # Errors
    /// As [`Upstream::forward`].
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        extra_headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Error> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let is_large = body.len() > LARGE_BODY_BYTES;
        let timeouts = if is_large { self.answer_timeout(false) } else { self.response_timeout(false) };
        self.send(method, self.endpoint_uri(path, query)?, extra_headers, body, timeouts).await
    }
}
