//! Answers of providers about tasks.

use bytes::{Bytes, BytesMut};
use chat::Error;
use futures_util::StreamExt;
use http::header::HeaderValue;
use serde_json::Value;
use wire::passthrough::response_validation::BodyFormat;
use wire::provider_limits::ProviderLimitExceeded;

use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::upstream::error::{check_content_type, transport_error, upstream_error};
use crate::upstream::http_client::Response;
use crate::upstream::remote_provider::Upstream;

/// Most bytes of an answer about a task.
const MAX_REPLY_BYTES: usize = 16 << 20;

/// An answer about a task, in the provider's own format.
#[derive(Debug)]
pub struct TaskReply {
    pub content_type: HeaderValue,
    pub bytes: Bytes,
}

/// Reads the whole of an answer, and parses it.
///
/// # Errors
/// `Upstream` or `Timeout` when the answer is broken off, too long, not JSON, or does not satisfy
/// `is_valid`.
pub(crate) async fn read_task_reply(
    memory: &RequestMemory,
    upstream: &Upstream,
    response: Response,
    is_valid: impl Fn(&Value) -> bool,
) -> Result<(TaskReply, Value), Error> {
    check_content_type(upstream.name(), BodyFormat::Json, &response)?;
    let mut bytes = BytesMut::new();
    let mut chunks = response.body;
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| transport_error(upstream.name(), &error))?);
        if bytes.len() > MAX_REPLY_BYTES {
            return Err(ProviderLimitExceeded::Bytes(MAX_REPLY_BYTES).to_error(upstream.name()));
        }
    }
    let bytes = bytes.freeze();
    let text = bytes.clone();
    // The parser limits the number of values, as it does for requests.
    let parse = move || Ok(wire::json::parse(&text).unwrap_or(Value::Null));
    let answer: Value = offload(memory, bytes.len(), parse).await?;
    if !answer.is_object() && !answer.is_array() || !is_valid(&answer) {
        return Err(upstream_error(upstream.name(), "sent an answer that is not about a task"));
    }
    Ok((TaskReply { content_type: HeaderValue::from_static("application/json"), bytes }, answer))
}
