//! The program: configuration and wiring. Each subcommand is one file.
#![forbid(unsafe_code)]

pub mod bench;
pub mod books;
pub mod chat;
pub mod config;
mod embedded;
pub mod inspect;
pub mod key;
pub mod load;
pub mod memory;
pub mod project;
pub mod render;
pub mod score;
pub mod serve;
pub mod usage;
