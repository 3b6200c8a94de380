//! Who answers a chat, may the caller ask, and what did it cost. No HTTP of its own, no tensors.
//!
//! [`Gateway::answer`] is the whole path of a request, read downwards.
#![forbid(unsafe_code)]

mod gateway;
mod meter;
mod route;

pub use gateway::{Caller, Gateway};
pub use meter::{Metered, describe_metrics};
pub use route::{AliasError, Listed, Routes, thinks};
