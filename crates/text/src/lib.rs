//! Conversion between messages and tokens: a tokenizer, the prompt formats of the DeepSeek V3
//! family, and parsers that turn generated tokens back into reasoning, content and tool calls.
//!
//! [`Encoding`] is the entry point: [`Encoding::render`] before the model runs,
//! [`Encoding::decoder`] while it runs.
#![forbid(unsafe_code)]

mod call_id;
mod call_parser;
mod control_tokens;
mod decoder;
mod deepseek_v3;
mod deepseek_v31;
mod deepseek_v32;
mod dsml;
mod encoding;
mod encoding_name;
mod error;
mod grammar;
mod marked_calls;
mod prompt_format;
mod prompt_limit;
mod prompt_writer;
mod python_json;
mod reasoning_trimmer;
mod registry;
mod schema;
mod stop_matcher;
mod system_prompt;
mod tokenizer;
mod turns;
mod utf8_decoder;

pub use decoder::{Decoder, parse_completion};
pub use encoding::{Encoding, Rendered};
pub use encoding_name::EncodingName;
pub use error::TextError;
pub use grammar::{CallStart, Grammar, GrammarStart, enforced_arguments, format_schema, strict_schema};
pub use prompt_format::ResponseStart;
pub use prompt_limit::{PromptLimit, RenderError};
pub use python_json::python_json;
pub use schema::{Parameter, Schema, SchemaError};
pub use tokenizer::Tokenizer;
