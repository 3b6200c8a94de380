//! `POST /v1/messages`, `POST /anthropic/v1/messages` and their token counts: Anthropic's API.

use std::sync::Arc;

use ::chat::{Chat, Error, MemoryGuard};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway::{Caller, PromptTokens, RawRequest};
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use wire::passthrough::ApiEndpoint;
use wire::surface::Signer;
use wire::surface::anthropic::{self, MessageRenderer};

use crate::api::authed_request::{AuthedRequest, read_request};
use crate::app::AppState;
use crate::body;
use crate::error_response::error_response_with_body;
use crate::passthrough::{self, Surface};
use crate::request_log::RequestLog;
use crate::respond;

/// The model for unknown model ids: programs written for Anthropic's service send
/// Anthropic's model ids.
const FALLBACK_MODEL: &str = "deepseek-chat";

pub(crate) async fn create(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    answer(&app, &log, request).await.unwrap_or_else(|error| error_response(&error, &log))
}

pub(crate) async fn count_tokens(
    State(app): State<Arc<AppState>>,
    Extension(log): Extension<RequestLog>,
    request: Request,
) -> Response {
    match answer_count(&app, &log, request).await {
        Ok(count) => respond::token_count_response(count, anthropic::token_count_body),
        Err(error) => error_response(&error, &log),
    }
}

/// An error in Anthropic's format.
pub(crate) fn error_response(error: &Error, log: &RequestLog) -> Response {
    let (status, body) = anthropic::error_response(error, log.id());
    error_response_with_body(error, status, body)
}

async fn answer(app: &AppState, log: &RequestLog, request: Request) -> Result<Response, Error> {
    let AuthedRequest { caller, parts, bytes } = read_request(app, log, request).await?;
    let headers = forwarded_headers(&parts.headers);
    if let Some(passthrough) = app
        .gateway
        .passthrough(&caller, RawRequest { headers, ..RawRequest::new(ApiEndpoint::Messages, &bytes) })
        .await?
    {
        drop(bytes);
        return passthrough::send(app, passthrough, Surface::Anthropic, log.clone()).await;
    }
    let ParsedRequest { chat, model, stream, message_indices } = parse_request(app, &caller, bytes, false).await?;
    let stops = chat.stop.clone();
    let answer = app.gateway.answer(&caller, chat).await;
    let answer = answer.map_err(|error| message_indices.rewrite_error(error))?;
    let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    let renderer = Box::new(MessageRenderer::new(id, model, stops, signer(app.signing_key)));
    respond::send(app, vec![answer], renderer, stream, log.clone()).await
}

async fn answer_count(app: &AppState, log: &RequestLog, request: Request) -> Result<PromptTokens, Error> {
    let AuthedRequest { caller, bytes, .. } = read_request(app, log, request).await?;
    let ParsedRequest { chat, message_indices, .. } = parse_request(app, &caller, bytes, true).await?;
    let count = app.gateway.count_tokens(&caller, chat).await;
    count.map_err(|error| message_indices.rewrite_error(error))
}

/// The headers with the version and the beta features of the API, which are forwarded to providers.
fn forwarded_headers(headers: &HeaderMap) -> HeaderMap {
    let is_present = |name: &&str| headers.contains_key(*name);
    let names = ["anthropic-version", "anthropic-beta"].into_iter().filter(is_present);
    names.map(|name| (HeaderName::from_static(name), headers[name].clone())).collect()
}

/// A request in the internal form.
struct ParsedRequest {
    chat: Chat,
    /// The model id as the caller wrote it.
    model: String,
    stream: bool,
    /// Positions of the caller's messages, for error texts.
    message_indices: anthropic::MessageIndexMap,
}

async fn parse_request(
    app: &AppState,
    caller: &Caller,
    bytes: Bytes,
    count_only: bool,
) -> Result<ParsedRequest, Error> {
    let read = move |tree, _: &mut _| anthropic::request_from_json(tree, count_only);
    let (request, reservation) =
        body::parse_json(&caller.memory, bytes, read, |request| request.chat.memory_bytes()).await?;
    let anthropic::MessagesRequest { mut chat, stream, message_indices } = request;
    (chat.takes_whole, chat.memory_guard) = (!stream, MemoryGuard::new(reservation));
    let model = chat.model.clone();
    if !app.gateway.has_model(&chat.model) {
        chat.model = FALLBACK_MODEL.into();
    }
    Ok(ParsedRequest { chat, model, stream, message_indices })
}

/// Signs thinking blocks with the secret of this process. The signature is never verified: clients
/// only require that it is present.
pub(crate) fn signer(secret: [u8; 32]) -> Signer {
    Arc::new(move |text| {
        let mac = hmac(&secret, text.as_bytes());
        URL_SAFE_NO_PAD.encode([b"v1", &mac[..16]].concat())
    })
}

/// HMAC-SHA256 (RFC 2104) of a key shorter than a block.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_matches_the_test_vector_of_rfc_4231() {
        // RFC 4231, test case 1, whose key of 20 bytes is padded with zeros.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let code: String = hmac(&key, b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(code, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
}
