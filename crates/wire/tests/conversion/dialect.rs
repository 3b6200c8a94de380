//! The dialects of providers that chat, in the order of the columns.

use wire::upstream::Dialect;

/// Every dialect that chats.
pub(crate) const DIALECTS: [Dialect; 6] =
    [Dialect::DeepSeek, Dialect::OpenAi, Dialect::Responses, Dialect::Anthropic, Dialect::Gemini, Dialect::Bedrock];

/// The heading of a dialect's column.
pub(crate) fn title(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::DeepSeek => "`deepseek`",
        Dialect::OpenAi => "`openai`",
        Dialect::Responses => "`responses`",
        Dialect::Anthropic => "`anthropic`",
        Dialect::Gemini => "`gemini`",
        Dialect::Bedrock => "`bedrock`",
        Dialect::Midjourney | Dialect::Suno => unreachable!("this dialect does not chat"),
    }
}

/// A model of a provider of the dialect. On Bedrock, only Claude's take parameters for thinking.
pub(crate) fn model(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Bedrock { "anthropic.claude" } else { "m" }
}
