//! Fields that neither OpenAI's nor DeepSeek's API has, and that the clients of other engines send:
//! those of vLLM, SGLang, llama.cpp and OpenRouter, and `top_k` of Anthropic's and Gemini's APIs.

use crate::ResponseFormat;

/// The values of such fields. A provider that knows only its own API ignores them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineFields {
    /// `thinking` or `enable_thinking` of `chat_template_kwargs`, or `enable_thinking`.
    pub thinking: Option<bool>,
    /// The effort of OpenRouter's `reasoning`.
    pub reasoning_effort: Option<String>,
    /// `guided_json`, or `structured_outputs`.
    pub response_format: Option<ResponseFormat>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub repetition_penalty: Option<f64>,
    /// `stop_token_ids`
    pub end_tokens: Vec<u32>,
    /// `parse_special`, or `add_special_tokens: false`: a raw completion's text has control tokens.
    pub parse_special: bool,
    /// The names of the fields above that the request has.
    pub names: Vec<&'static str>,
    /// The names of fields that would change the answer and cannot be honoured.
    pub ignored: Vec<&'static str>,
}
