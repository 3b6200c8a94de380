//! The parts of a chat that not every dialect has a place for.

use chat::{Chat, Input, Message, Part, Role, SignedReasoning};

use crate::upstream::attachment::attachments;

/// The name of an image, file or sound in a system message, which only chat completions take.
pub(super) const ATTACHMENT_OF_SYSTEM: &str = "attachments of system messages";

/// The name of signatures that the provider cannot verify.
pub(super) const SIGNATURES: &str = "signatures of reasoning";

/// A part of a chat, by what a provider would have to support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChatPart {
    CacheControl,
    /// The end user of the caller.
    EndUser,
    FileName,
    /// The resolution at which an image is read.
    ImageDetail,
    /// An image of an earlier answer.
    ImageOfAnswer,
    /// The name of a message's author.
    Name,
    /// The last message is the beginning of the answer.
    Prefix,
    /// The reasoning of earlier answers.
    Reasoning,
    /// Reasoning that only its provider can read.
    RedactedReasoning,
    SeveralChoices,
    /// The signatures of reasoning that the client returns.
    Signature,
    StrictTool,
}

impl ChatPart {
    /// The name of the field in chat completions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CacheControl => "cache_control",
            Self::EndUser => "user",
            Self::FileName => "filename",
            Self::ImageDetail => "detail",
            Self::ImageOfAnswer => "images of earlier answers",
            Self::Name => "name",
            Self::Prefix => "prefix",
            Self::Reasoning => "reasoning_content",
            Self::RedactedReasoning => "redacted_thinking",
            Self::SeveralChoices => "n",
            Self::Signature => SIGNATURES,
            Self::StrictTool => "strict",
        }
    }

    /// The parts that `chat` has.
    pub(super) fn all_of(chat: &Chat) -> impl Iterator<Item = Self> {
        let messages = match &chat.input {
            Input::Messages(messages) => messages.as_slice(),
            Input::Text { .. } | Input::Tokens(_) => &[],
        };
        let any = |test: fn(&Message) -> bool| messages.iter().any(test);
        let has_mark = chat.cache_control.is_some()
            || chat.tools_cache_control.is_some()
            || any(|message| message.cache_control.is_some());
        let parts = [
            (Self::CacheControl, has_mark),
            (Self::EndUser, chat.user.is_some() || chat.user_id.is_some()),
            (Self::FileName, any(|message| has_field(message, "file", "filename"))),
            (Self::ImageDetail, any(|message| has_field(message, "image_url", "detail"))),
            (
                Self::ImageOfAnswer,
                any(|message| message.content.iter().flatten().any(|part| is_image_of_answer(message, part))),
            ),
            (Self::Name, any(|message| message.role != Role::Tool && message.name.is_some())),
            (Self::Prefix, any(|message| message.prefix)),
            (Self::Reasoning, any(has_reasoning)),
            (Self::SeveralChoices, chat.n.is_some_and(|n| n > 1)),
            (Self::RedactedReasoning, any(|message| message.signatures.iter().any(SignedReasoning::is_redacted))),
            (Self::Signature, any(|message| message.signatures.iter().any(|signed| !signed.is_redacted()))),
            (Self::StrictTool, chat.tools.iter().any(|tool| tool.strict)),
        ];
        parts.into_iter().filter(|(_, is_present)| *is_present).map(|(part, _)| part)
    }
}

/// Whether a part of this kind has this field.
fn has_field(message: &Message, kind: &str, field: &str) -> bool {
    message.content.iter().flatten().any(|part| match part {
        Part::Other { kind: of, value } => of == kind && value[kind].get(field).is_some_and(|value| !value.is_null()),
        Part::Text(_) => false,
    })
}

/// Whether a part of a message is an image that the model has made.
pub(super) fn is_image_of_answer(message: &Message, part: &Part) -> bool {
    message.role == Role::Assistant && matches!(part, Part::Other { kind, .. } if kind == "image_url")
}

/// Whether a message has more than text.
pub(super) fn has_attachment(message: &Message) -> bool {
    attachments(message.content.as_deref().unwrap_or_default()).next().is_some()
}

fn has_reasoning(message: &Message) -> bool {
    message.reasoning.as_deref().is_some_and(|reasoning| !reasoning.is_empty())
}
