//! Chat completions, as DeepSeek and OpenAI define them: the default surface.

mod annotations;
mod engine_fields;
mod fields;
mod media;
mod model_list;
mod reasoning;
mod request;
pub(crate) mod response;
mod stream;

pub(crate) use fields::parse_sampling;
pub use model_list::{ModelObject, model_list};
pub(crate) use reasoning::parse_reasoning_effort;
pub(crate) use request::common_fields;
pub use request::{ChatCompletionRequest, parse_request, request_from_json};
pub use response::Envelope;
pub(crate) use response::render_logprobs;
pub use stream::ChatChunkRenderer;
