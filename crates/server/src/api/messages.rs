//! `POST /v1/messages`, `POST /anthropic/v1/messages` and their token counts: Anthropic's surface.

use std::sync::Arc;

use ::chat::{Chat, Error, MemoryGuard};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway::{Caller, RawRequest};
use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use wire::passthrough::ApiEndpoint;
use wire::surface::anthropic::{self, MessageRenderer, Signer};

use crate::api::{Taken, take};
use crate::exchange::json;
use crate::line::Line;
use crate::relay::Tongue;
use crate::server::App;
use crate::{body, relay, reply};

/// What every model id means that nobody knows: programs written for Anthropic's service name Anthropic's models.
const FALLBACK: &str = "deepseek-chat";

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Response {
    answer(&app, &line, request).await.unwrap_or_else(|error| refusal(&error, &line))
}

pub(crate) async fn count(State(app): State<Arc<App>>, Extension(line): Extension<Line>, request: Request) -> Response {
    match counted(&app, &line, request).await {
        Ok(tokens) => json(anthropic::token_count_body(tokens)),
        Err(error) => refusal(&error, &line),
    }
}

/// A refusal in Anthropic's shape.
pub(crate) fn refusal(error: &Error, line: &Line) -> Response {
    let (status, body) = anthropic::error_response(error, line.id());
    reply::refuse(error, status, body)
}

async fn answer(app: &App, line: &Line, request: Request) -> Result<Response, Error> {
    let Taken { caller, parts, bytes } = take(app, line, request).await?;
    let headers = meant_for_the_provider(&parts.headers);
    if let Some(relay) = app
        .gateway
        .passthrough(&caller, RawRequest { headers, ..RawRequest::new(ApiEndpoint::Messages, &bytes) })
        .await?
    {
        drop(bytes);
        return relay::send(app, relay, Tongue::Anthropic, line.clone()).await;
    }
    let Read { chat, model, stream, places } = read(app, &caller, bytes, false).await?;
    let stops = chat.stop.clone();
    let answer = app.gateway.answer(&caller, chat).await;
    let mut answer = answer.map_err(|error| places.rewrite_error(error))?;
    line.model(answer.model());
    let notes = std::mem::take(&mut answer.notes);
    let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    let render = Box::new(MessageRenderer::new(id, model, stops, signer(app.secret)));
    let mut response = reply::send(app, vec![answer], render, stream, line.clone()).await?;
    reply::note(&mut response, &notes);
    Ok(response)
}

async fn counted(app: &App, line: &Line, request: Request) -> Result<u64, Error> {
    let Taken { caller, bytes, .. } = take(app, line, request).await?;
    let Read { chat, places, .. } = read(app, &caller, bytes, true).await?;
    let counted = app.gateway.count_tokens(&caller, chat).await;
    counted.map_err(|error| places.rewrite_error(error))
}

/// Which version and which tests of the API the caller speaks.
fn meant_for_the_provider(headers: &HeaderMap) -> HeaderMap {
    let known = |name: &&str| headers.contains_key(*name);
    let pairs = ["anthropic-version", "anthropic-beta"].into_iter().filter(known);
    pairs.map(|name| (HeaderName::from_static(name), headers[name].clone())).collect()
}

struct Read {
    chat: Chat,
    /// As the caller wrote it.
    model: String,
    stream: bool,
    places: anthropic::MessageIndexMap,
}

async fn read(app: &App, caller: &Caller, bytes: Bytes, counts: bool) -> Result<Read, Error> {
    let read = move |tree, _: &mut _| anthropic::request_from_json(tree, counts);
    let (request, hold) = body::understood(&caller.memory, bytes, read, |request| request.chat.memory_bytes()).await?;
    let anthropic::MessagesRequest { mut chat, stream, message_indices: places } = request;
    chat.memory_guard = MemoryGuard::new(hold);
    let model = chat.model.clone();
    if !app.gateway.has_model(&chat.model) {
        chat.model = FALLBACK.into();
    }
    Ok(Read { chat, model, stream, places })
}

/// Signs thinking with the secret of this process. Nobody checks it: clients only need that there is one.
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
    fn the_code_is_that_of_the_standard() {
        // RFC 4231, test case 1, whose key of 20 bytes is padded with zeros.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let code: String = hmac(&key, b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(code, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
}
