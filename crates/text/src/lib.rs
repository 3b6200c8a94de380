//! Between messages and tokens: a tokenizer, the prompt formats of the DeepSeek V3 family, and the
//! way back from generated tokens to reasoning, content and tool calls.
//!
//! [`Encoding`] is the front door: [`Encoding::render`] before the model runs,
//! [`Encoding::decoder`] while it runs.
#![forbid(unsafe_code)]

mod call_id;
mod call_parser;
mod decoder;
mod deepseek_v3;
mod deepseek_v31;
mod deepseek_v32;
mod dsml;
mod encoding;
mod error;
mod grammar;
mod marked_calls;
mod prompt_format;
mod prompt_limit;
mod prompt_writer;
mod python_json;
mod schema;
mod stop_matcher;
mod tokenizer;
mod turns;
mod utf8_decoder;

pub use decoder::Decoder;
pub use encoding::{Encoding, Rendered, parse_completion};
pub use error::TextError;
pub use grammar::{Grammar, GrammarStart, format_schema, strict_schema};
pub use prompt_format::{EncodingName, ResponseStart};
pub use prompt_limit::{PromptLimit, RenderError};
pub use python_json::python_json;
pub use schema::{Parameter, Schema, SchemaError};
pub use tokenizer::Tokenizer;
