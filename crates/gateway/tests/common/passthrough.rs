//! Requests that are passed through.

use chat::Error;
use futures_util::StreamExt;
use gateway::{BodyKind, Caller, Gateway, PassthroughRequest, RawRequest};
use testkit::fake_upstream::{BodyStep, FakeResponse};
use wire::passthrough::ApiEndpoint;

pub(crate) async fn pass_chat_completions(
    gateway: &Gateway,
    caller: &Caller,
    body: &str,
) -> Result<Option<(String, Option<Error>)>, Error> {
    pass_through(gateway, caller, ApiEndpoint::ChatCompletions, body).await
}

pub(crate) async fn pass_through(
    gateway: &Gateway,
    caller: &Caller,
    endpoint: ApiEndpoint,
    body: &str,
) -> Result<Option<(String, Option<Error>)>, Error> {
    let body = body.to_owned().into();
    let Some(request) = gateway.passthrough(caller, RawRequest::new(endpoint, &body)).await? else { return Ok(None) };
    read_response(request).await.map(Some)
}

/// The text of the response, and the error that ended it.
pub(crate) async fn read_response(request: PassthroughRequest) -> Result<(String, Option<Error>), Error> {
    let streams = request.body_kind() == BodyKind::Sse;
    let mut response = request.send().await?;
    if !streams {
        let (bytes, _) = response.into_whole();
        return Ok((String::from_utf8(bytes.to_vec()).unwrap(), None));
    }
    let (mut text, mut failure) = (Vec::new(), None);
    while let Some(item) = response.next().await {
        match item {
            Ok(bytes) => text.extend_from_slice(&bytes),
            Err(error) => failure = Some(error),
        }
    }
    Ok((String::from_utf8(text).unwrap(), failure))
}

/// The text of [`FakeResponse::chat_stream`], without the event that has the usage alone if
/// `hides_usage`.
pub(crate) fn sent_text(words: &[&str], prompt_tokens: u64, hides_usage: bool) -> String {
    let steps = FakeResponse::chat_stream(words, prompt_tokens).steps.into_iter();
    let events = steps
        .map(|step| if let BodyStep::Send(bytes) = step { String::from_utf8(bytes).unwrap() } else { String::new() });
    events.filter(|event| !hides_usage || !event.contains("\"choices\":[]")).collect()
}
