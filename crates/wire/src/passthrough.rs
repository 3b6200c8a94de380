//! Bodies that are forwarded without conversion: the endpoints that allow it, the fields that are
//! read and changed, and the usage that the responses report.

pub mod body_editor;
mod endpoint;
pub(crate) mod json_elements;
pub mod json_fields;
mod json_scanner;
pub mod multipart_fields;
mod reasoning_name;
pub mod response_validation;
pub mod usage_scanner;

pub use endpoint::ApiEndpoint;
pub use reasoning_name::add_reasoning_content;
