//! Models of a Hugging Face compatible hub: their names, their files over HTTP, and the cache on
//! disk that other tools share. Knows nothing of what is inside the files.
//!
//! Nothing that the hub sends is believed: names of files stay below the cache, and a file appears
//! in the cache under its final name only after its checksum was right.
//!
//! Sources: <https://huggingface.co/docs/hub/api> and
//! <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>
#![forbid(unsafe_code)]

mod cache;
mod cached_model;
mod checksum;
mod client;
mod download;
mod download_event;
mod error;
mod glob;
mod model_id;
mod partial_blob;
mod plan;
mod repository;
mod retry;
mod selection;
mod settings;
mod token;
mod transfer;

pub use cache::HubCache;
pub use cached_model::{CachedModel, CachedRevision};
pub use checksum::Checksum;
pub use client::HubClient;
pub use download::{DownloadOptions, download};
pub use download_event::{DownloadEvent, Report};
pub use error::Error;
pub use glob::Glob;
pub use model_id::{DEFAULT_REVISION, ModelId, ModelRef};
pub use plan::{DownloadPlan, PlannedBlob};
pub use repository::{RepoFile, Repository};
pub use retry::RetryPolicy;
pub use selection::{Selection, select};
pub use settings::HubSettings;
pub use token::Token;
