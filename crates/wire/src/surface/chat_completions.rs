//! Chat completions, as DeepSeek and OpenAI define them: the default surface.

mod fields;
mod model_list;
mod request;
pub(crate) mod response;
mod stream;

pub use model_list::{ModelObject, model_list};
pub(crate) use request::common_fields;
pub use request::{ChatCompletionRequest, parse_request, request_from_json};
pub use response::Envelope;
pub use stream::ChatChunkRenderer;
