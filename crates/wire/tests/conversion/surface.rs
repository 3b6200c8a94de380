//! The APIs of callers: how each reads a request and writes an answer.

use std::sync::Arc;

use chat::{Chat, Error, Reply};
use serde_json::Value;
use wire::surface::chat_completions::{ChatChunkRenderer, Envelope};
use wire::surface::gemini::{GenerateContentRenderer, StreamFormat};
use wire::surface::responses::ResponseRenderer;
use wire::surface::{Renderer, anthropic, chat_completions, gemini, responses};

use crate::{Noun, nouns};

/// An API of callers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    ChatCompletions,
    Responses,
    Messages,
    GenerateContent,
}

pub(crate) const SURFACES: [Surface; 4] =
    [Surface::ChatCompletions, Surface::Responses, Surface::Messages, Surface::GenerateContent];

impl Surface {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "Chat Completions",
            Self::Responses => "Responses",
            Self::Messages => "Anthropic Messages",
            Self::GenerateContent => "Gemini",
        }
    }

    pub(crate) fn nouns(self) -> Vec<Noun> {
        match self {
            Self::ChatCompletions => nouns::of_chat_completions(),
            Self::Responses => nouns::of_responses(),
            Self::Messages => nouns::of_messages(),
            Self::GenerateContent => nouns::of_generate_content(),
        }
    }

    /// The chats of a request, one for each choice that is asked for by itself, as the gateway
    /// hands them to a remote provider.
    pub(crate) fn chats(self, body: &Value) -> Result<Vec<Chat>, Error> {
        let mut body = body.clone();
        if self != Self::GenerateContent {
            body["model"] = "m".into();
        }
        if self == Self::Messages && body.get("max_tokens").is_none() {
            body["max_tokens"] = 8000.into();
        }
        let mut chats = match self {
            Self::ChatCompletions => chat_completions::request_from_json(body)?.into_chats(),
            Self::Responses => vec![responses::request_from_json(body)?.chat],
            Self::Messages => vec![anthropic::request_from_json(body, false)?.chat],
            Self::GenerateContent => vec![gemini::request_from_json(body, "m")?.chat],
        };
        chats.iter_mut().for_each(Chat::adopt_engine_fields);
        Ok(chats)
    }

    /// The body of an answer.
    pub(crate) fn answer(self, reply: &Reply) -> Value {
        serde_json::from_str(&self.renderer().body(std::slice::from_ref(reply)).unwrap()).unwrap()
    }

    /// The renderer of an answer.
    pub(crate) fn renderer(self) -> Box<dyn Renderer> {
        let (id, model) = ("0123456789abcdef0123456789abcdef".to_owned(), "m".to_owned());
        let signer: wire::surface::Signer = Arc::new(|_| "signature of this server".into());
        let envelope = |id, model| Envelope {
            id,
            created: 0,
            model,
            system_fingerprint: "fp".into(),
            thinking: true,
            logprobs: true,
        };
        match self {
            Self::ChatCompletions => Box::new(ChatChunkRenderer::new(envelope(id, model), true)),
            Self::Responses => {
                let body =
                    serde_json::json!({"model": "m", "input": "hi", "include": ["message.output_text.logprobs"]});
                let echo = responses::request_from_json(body).unwrap().echo;
                Box::new(ResponseRenderer::new(envelope(id, model), echo, || 0))
            }
            Self::Messages => Box::new(anthropic::MessageRenderer::new(id, model, vec!["END".into()], signer)),
            Self::GenerateContent => Box::new(GenerateContentRenderer::new(id, model, true, StreamFormat::Sse, signer)),
        }
    }
}
