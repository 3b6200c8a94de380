//! The prompt formats: what one can do, and which exist.

use std::fmt;
use std::str::FromStr;

use chat::{Chat, Error, Message, Role, Tool};

use crate::call_parser::CallParser;
use crate::deepseek_v3::DeepSeekV3;
use crate::deepseek_v31::DeepSeekV31;
use crate::deepseek_v32::DeepSeekV32;
use crate::grammar::{CallRules, ToolSignature};
use crate::prompt_writer::PromptWriter;
use crate::{TextError, Tokenizer};

pub(crate) const BOS: &str = "<｜begin▁of▁sentence｜>";
pub(crate) const EOS: &str = "<｜end▁of▁sentence｜>";
pub(crate) const USER: &str = "<｜User｜>";
pub(crate) const ASSISTANT: &str = "<｜Assistant｜>";
pub(crate) const THINK: &str = "<think>";
pub(crate) const END_THINK: &str = "</think>";
pub(crate) const DSML: &str = "｜DSML｜";
pub(crate) const SEARCH_BEGIN: &str = "<｜search▁begin｜>";
pub(crate) const FIM_BEGIN: &str = "<｜fim▁begin｜>";
pub(crate) const FIM_HOLE: &str = "<｜fim▁hole｜>";
pub(crate) const FIM_END: &str = "<｜fim▁end｜>";
pub(crate) const CALLS_BEGIN: &str = "<｜tool▁calls▁begin｜>";
pub(crate) const CALLS_END: &str = "<｜tool▁calls▁end｜>";
pub(crate) const CALL_BEGIN: &str = "<｜tool▁call▁begin｜>";
pub(crate) const CALL_END: &str = "<｜tool▁call▁end｜>";
pub(crate) const SEP: &str = "<｜tool▁sep｜>";
pub(crate) const OUTPUTS_BEGIN: &str = "<｜tool▁outputs▁begin｜>";
pub(crate) const OUTPUTS_END: &str = "<｜tool▁outputs▁end｜>";
pub(crate) const OUTPUT_BEGIN: &str = "<｜tool▁output▁begin｜>";
pub(crate) const OUTPUT_END: &str = "<｜tool▁output▁end｜>";

/// The state a prompt leaves: what the first generated token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseStart {
    Reasoning,
    Content,
}

/// The encodings of the family, each named after the first release that used it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodingName {
    /// V3, V3-0324: no thinking.
    V3,
    /// R1, R1-0528: always thinking.
    R1,
    /// V3.1, V3.1-Terminus.
    V31,
    V32Exp,
    /// V3.2, with tool calls in DSML.
    V32,
}

impl EncodingName {
    const ALL: [Self; 5] = [Self::V3, Self::R1, Self::V31, Self::V32Exp, Self::V32];

    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::R1 => "r1",
            Self::V31 => "v3.1",
            Self::V32Exp => "v3.2-exp",
            Self::V32 => "v3.2",
        }
    }
}

impl fmt::Display for EncodingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EncodingName {
    type Err = TextError;

    fn from_str(name: &str) -> Result<Self, TextError> {
        let found = Self::ALL.into_iter().find(|known| known.as_str() == name);
        found.ok_or_else(|| TextError::UnknownEncoding { name: name.into() })
    }
}

/// A prompt format. What it writes begins after the begin-of-sentence token.
pub(crate) trait PromptFormat: Send + Sync {
    /// Writes the conversation. `generate` asks for the opening of the answer, where the format
    /// has one of its own.
    ///
    /// Returns the state the prompt leaves; `None` when it leaves nothing to generate.
    ///
    /// # Errors
    /// `Invalid` when the format cannot express the conversation.
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        generate: bool,
        to: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error>;

    /// Reads the calls out of an answer.
    fn call_parser(&self, tokenizer: &Tokenizer, tools: &[Tool]) -> Box<dyn CallParser>;

    /// The control tokens the format is made of, besides those of every format.
    fn required_tokens(&self) -> &'static [&'static str];

    /// The markers that only calls are made of.
    fn call_tokens(&self) -> &'static [&'static str];

    /// Calls of these tools as a grammar; more than one call a block if `many`.
    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], allow_parallel: bool) -> CallRules;
}

/// The format of an encoding.
pub(crate) fn prompt_format(name: EncodingName) -> Box<dyn PromptFormat> {
    match name {
        EncodingName::V3 => Box::new(DeepSeekV3 { r1: false }),
        EncodingName::R1 => Box::new(DeepSeekV3 { r1: true }),
        EncodingName::V31 => Box::new(DeepSeekV31 { is_v32_exp: false }),
        EncodingName::V32Exp => Box::new(DeepSeekV31 { is_v32_exp: true }),
        EncodingName::V32 => Box::new(DeepSeekV32),
    }
}

/// System messages are set apart by the formats that move them to the front.
pub(crate) fn is_system(message: &Message) -> bool {
    matches!(message.role, Role::System | Role::Developer)
}
