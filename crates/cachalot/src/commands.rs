//! The subcommands, one file each.

pub mod bench;
pub mod chat;
pub mod completions;
pub mod inspect;
pub mod key;
pub mod man;
pub mod models;
pub mod pack;
pub mod price;
pub mod price_import;
pub mod project;
pub mod provider;
pub mod pull;
pub mod render;
pub mod score;
pub mod serve;
pub mod usage;
mod usage_check;
mod usage_rebuild;
pub mod user;
