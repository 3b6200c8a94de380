//! The encodings against what the releases' own tokenizers, templates and encoders produce, and
//! laws that hold for every answer. Data: `tests/golden/chat`, `reference`.

mod answers;
mod data;
mod prompts;
mod properties;
mod tokenizers;
