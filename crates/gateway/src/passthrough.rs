//! Passthrough: bodies are forwarded as they are when caller and provider use the same API.

pub(crate) mod body_rewrite;
pub(crate) mod first_bytes;
pub(crate) mod request;
pub(crate) mod request_fields;
pub(crate) mod response;
pub(crate) mod scanned_body;
