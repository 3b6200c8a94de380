//! Chat completions, as DeepSeek and OpenAI define them: the default surface.

pub mod fields;
pub mod request;
pub(crate) mod response;
pub(crate) mod stream;

pub use response::Envelope;
pub use stream::ChatChunkRenderer;
