//! The interface of a prompt format. `registry.rs` lists its implementations.

use chat::{Chat, Error, Message, Role, Tool};

use crate::call_parser::CallParser;
use crate::grammar::{CallRules, ToolSignature};
use crate::prompt_writer::PromptWriter;
use crate::tokenizer::Tokenizer;

/// The part of the answer that the first generated token belongs to, as the prompt leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStart {
    Reasoning,
    Content,
}

/// A prompt format. Its text begins after the begin-of-sentence token.
pub(crate) trait PromptFormat: Send + Sync {
    /// Writes the conversation. With `generate` it also writes the opening of the answer, if the
    /// format has a separate one.
    ///
    /// Returns the start of the response; `None` when nothing is left to generate.
    ///
    /// # Errors
    /// `InvalidRequest` when the format cannot express the conversation.
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        prompt: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error>;

    /// Creates a parser of the tool calls in an answer.
    fn call_parser(&self, tokenizer: &Tokenizer, tools: &[Tool]) -> Box<dyn CallParser>;

    /// The control tokens that the format needs besides those that every format needs.
    fn required_tokens(&self) -> &'static [&'static str];

    /// The control tokens that occur only in tool calls. The first one begins a block of calls.
    fn call_tokens(&self) -> &'static [&'static str];

    /// The grammar rules of calls of `tools`; with `allow_parallel` a block may have several calls.
    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], allow_parallel: bool) -> CallRules;
}

/// Whether `message` is a system message, which some formats move to the front.
pub(crate) fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}
