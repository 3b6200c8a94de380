//! Between messages and tokens: a tokenizer, the prompt formats of the DeepSeek V3 family, and the way back from
//! generated tokens to reasoning, content and tool calls.
//!
//! [`Encoding`] is the front door: [`Encoding::render`] before the model runs, [`Encoding::decoder`] while it runs.
#![forbid(unsafe_code)]

mod call_id;
mod calls;
mod decoder;
mod deepseek_v3;
mod deepseek_v31;
mod deepseek_v32;
mod dsml;
mod encoding;
mod error;
mod grammar;
mod limit;
mod marked_calls;
mod pieces;
mod prompt;
mod python_json;
mod schema;
mod stop;
mod tokenizer;
mod turns;
mod utf8;

pub use decoder::Decoder;
pub use encoding::{Encoding, Rendered, parse};
pub use error::TextError;
pub use grammar::{Begins, Grammar, format_schema, strict_schema};
pub use limit::{PromptLimit, RenderError};
pub use prompt::{EncodingName, Start};
pub use python_json::python_json;
pub use schema::{Parameter, Schema, SchemaFault};
pub use tokenizer::Tokenizer;
