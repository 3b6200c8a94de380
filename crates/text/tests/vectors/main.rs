//! Compares the encodings with the tokenizers, templates and encoders of the releases, and tests
//! properties of all answers. Data: `tests/golden/chat`, `reference`.

mod answers;
mod data;
mod prompts;
mod properties;
mod tokenizers;
