//! Bodies that are forwarded as they are: which endpoints take them, the fields that policy reads
//! and changes, and the usage that their responses report.

mod endpoint;
pub mod json_fields;
pub mod multipart_fields;
pub mod response_validation;
pub mod usage_scanner;

pub use endpoint::ApiEndpoint;
