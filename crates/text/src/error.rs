//! What can go wrong before the first chat: the tokenizer's file, and whether it fits the encoding.

/// A tokenizer that cannot be used, or an encoding nobody here knows.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("the file is not a tokenizer: {reason}\nhint: give the `tokenizer.json` that lies beside the weights")]
    NotATokenizer { reason: String },
    #[error("the tokenizer needs {what}, which is not supported\nhint: byte-level BPE tokenizers are")]
    Unsupported { what: String },
    #[error(
        "encoding `{encoding}` needs the token `{token}`, which the tokenizer lacks\nhint: leave --encoding out, or choose another one"
    )]
    MissingToken { encoding: &'static str, token: &'static str },
    #[error("unknown encoding `{name}`\nhint: one of v3, r1, v3.1, v3.2-exp, v3.2")]
    UnknownEncoding { name: String },
    #[error("the system gives no random numbers: {reason}")]
    Random { reason: String },
}
