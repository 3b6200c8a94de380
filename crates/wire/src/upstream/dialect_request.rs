//! Requests for chats in the dialect of a provider.

use chat::{Chat, Error};

use crate::upstream::dialect::Dialect;
use crate::upstream::dropped_parts::DroppedParts;
use crate::upstream::signatures::SignatureStore;
use crate::upstream::unsupported::add_unsupported;
use crate::upstream::{anthropic, bedrock, gemini, openai, responses};

/// A request for a chat in a dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectRequest {
    pub body: String,
    /// The names of the parts of the chat that the body does not have, in the order of the
    /// alphabet.
    pub dropped: Vec<&'static str>,
}

impl Dialect {
    /// The body of a request for `chat` to the provider's `model`, with usage, and streamed if the
    /// chat wants that; with the parts of the chat that it leaves out. `signatures` contains the
    /// signatures that the provider returned earlier.
    ///
    /// # Errors
    /// `InvalidRequest` for a chat that this dialect cannot express.
    pub fn write_request(
        self,
        chat: &Chat,
        model: &str,
        signatures: &dyn SignatureStore,
    ) -> Result<DialectRequest, Error> {
        let mut dropped = DroppedParts::default();
        add_unsupported(self, chat, &mut dropped);
        let body = match self {
            Self::OpenAi | Self::DeepSeek => openai::request_body(chat, model, self == Self::DeepSeek, &mut dropped),
            Self::Responses => responses::request_body(chat, model, signatures, &mut dropped),
            Self::Anthropic => anthropic::request_body(chat, model, signatures, &mut dropped),
            Self::Gemini => gemini::request_body(chat, signatures, &mut dropped),
            Self::Bedrock => bedrock::request_body(chat, model, signatures, &mut dropped),
            Self::Midjourney | Self::Suno => Err(Error::invalid(format!("Model '{model:.64}' does not chat"))),
        }?;
        Ok(DialectRequest { body, dropped: dropped.into_names() })
    }
}
