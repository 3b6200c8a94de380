//! The parts of a chat that a dialect has no place for, whatever else the chat says. Those that
//! only some requests leave out are noted where that is decided.

use chat::{Chat, ResponseFormat};

use crate::upstream::Dialect;
use crate::upstream::chat_part::ChatPart;
use crate::upstream::dropped_parts::DroppedParts;

/// Adds the names of these parts.
pub(super) fn add_unsupported(dialect: Dialect, chat: &Chat, dropped: &mut DroppedParts) {
    let has_format = |is_dropped: fn(&ResponseFormat) -> bool| is_dropped(&chat.response_format);
    let sampling = &chat.sampling;
    let engine_fields = [
        ("min_p", sampling.min_p.is_some()),
        ("repetition_penalty", sampling.repetition_penalty.is_some()),
        ("stop_token_ids", !chat.end_tokens.is_empty()),
    ];
    let params: &[(&'static str, bool)] = match dialect {
        Dialect::OpenAi => &[
            ("thinking", chat.thinking.is_some() && chat.reasoning_effort.is_none()),
            ("top_k", sampling.top_k.is_some()),
        ],
        Dialect::Responses => &[
            ("thinking", chat.thinking == Some(false) && chat.reasoning_effort.is_none()),
            ("frequency_penalty", sampling.frequency_penalty.is_some()),
            ("presence_penalty", sampling.presence_penalty.is_some()),
            ("seed", sampling.seed.is_some()),
            ("logit_bias", !sampling.logit_bias.is_empty()),
            ("stop", !chat.stop.is_empty()),
            ("top_k", sampling.top_k.is_some()),
        ],
        Dialect::Anthropic | Dialect::Bedrock => &[
            ("parallel_tool_calls", dialect == Dialect::Bedrock && chat.parallel_tool_calls == Some(false)),
            ("response_format", has_format(|format| matches!(format, ResponseFormat::Unknown(_)))),
            (
                "response_format",
                dialect == Dialect::Bedrock && has_format(|format| matches!(format, ResponseFormat::JsonSchema(_))),
            ),
            ("frequency_penalty", sampling.frequency_penalty.is_some()),
            ("presence_penalty", sampling.presence_penalty.is_some()),
            ("seed", sampling.seed.is_some()),
            ("logit_bias", !sampling.logit_bias.is_empty()),
            ("logprobs", chat.logprobs == Some(true)),
        ],
        Dialect::Gemini => &[
            ("logit_bias", !sampling.logit_bias.is_empty()),
            ("parallel_tool_calls", chat.parallel_tool_calls == Some(false)),
            ("response_format", has_format(|format| matches!(format, ResponseFormat::Unknown(_)))),
        ],
        Dialect::DeepSeek | Dialect::Midjourney | Dialect::Suno => &[],
    };
    let engine_fields = engine_fields.iter().filter(|_| dialect != Dialect::DeepSeek);
    for (name, is_set) in params.iter().chain(engine_fields) {
        dropped.add_if(*is_set, name);
    }
    ChatPart::all_of(chat).filter(|part| lacks(dialect, *part)).for_each(|part| dropped.add(part.name()));
    chat.uncarried.iter().for_each(|name| dropped.add(name));
}

/// Whether a request has no place for this part of a chat.
fn lacks(dialect: Dialect, part: ChatPart) -> bool {
    match part {
        ChatPart::CacheControl => !matches!(dialect, Dialect::Anthropic | Dialect::Bedrock),
        ChatPart::EndUser | ChatPart::StrictTool => matches!(dialect, Dialect::Gemini | Dialect::Bedrock),
        ChatPart::FileName => dialect == Dialect::Gemini,
        ChatPart::ImageOfAnswer => dialect != Dialect::Gemini,
        ChatPart::ImageDetail => !dialect.is_chat_completions() && dialect != Dialect::Responses,
        ChatPart::Name => !dialect.is_chat_completions(),
        ChatPart::Prefix => matches!(dialect, Dialect::OpenAi | Dialect::Responses),
        ChatPart::Reasoning => matches!(dialect, Dialect::OpenAi | Dialect::Gemini),
        ChatPart::RedactedReasoning => !matches!(dialect, Dialect::Anthropic | Dialect::Bedrock),
        ChatPart::Signature => dialect.is_chat_completions(),
        // A converted answer has one choice.
        ChatPart::SeveralChoices => true,
    }
}
