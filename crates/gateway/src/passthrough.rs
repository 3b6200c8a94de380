//! Requests and responses that are forwarded as they are, because caller and provider
//! use the same API.

pub(crate) mod body_rewrite;
pub(crate) mod first_bytes;
pub(crate) mod request;
