//! Errors of loading a tokenizer and choosing an encoding.

/// An unusable tokenizer, or an unknown encoding.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("the file is not a tokenizer: {reason}\nhint: pass the `tokenizer.json` beside the weights")]
    NotATokenizer { reason: String },
    #[error("the tokenizer needs {what}, which is not supported\nhint: byte-level BPE tokenizers are supported")]
    Unsupported { what: String },
    #[error(
        "encoding `{encoding}` needs the token `{token}`, which the tokenizer lacks\nhint: leave --encoding out, or choose another one"
    )]
    MissingToken { encoding: &'static str, token: &'static str },
    #[error(
        "`eos_token_id` names the token {token}, and the tokenizer has {ids} ids\nhint: take `generation_config.json` and `tokenizer.json` from the same release"
    )]
    UnknownEndToken { token: u32, ids: usize },
    #[error("unknown encoding `{name}`\nhint: one of v3, r1, v3.1, v3.2-exp, v3.2")]
    UnknownEncoding { name: String },
    #[error("cannot read the system's random number generator: {reason}")]
    Random { reason: String },
}
