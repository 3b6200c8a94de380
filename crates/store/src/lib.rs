//! What must survive: users, projects, keys, usage records, tasks and settings, in SQLite or PostgreSQL. SQL,
//! and a note outside of the database (`store-id`) by which a lost or restored one is noticed.
//!
//! One SQL text serves both databases. Times are microseconds since 1970 (UTC), money is integer nano-dollars.
#![forbid(unsafe_code)]

mod amounts;
mod error;
mod id_file;
mod identity;
mod integrity;
mod jobs;
mod keys;
pub mod money;
mod open;
mod projects;
mod refusal;
mod settings;
mod sqlite;
mod store;
mod usage;
mod users;

/// A name that logs and lists can show: 1 to 64 characters, none of which controls a terminal.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

pub use amounts::{MOST_COST, MOST_SPENT, MOST_TOKENS};
pub use error::StoreError;
pub use identity::Identity;
pub use integrity::{Difference, IMPLAUSIBLE, Integrity};
pub use jobs::{Job, JobId, Owner};
pub use keys::{Account, Key, Limits, NewKey};
pub use open::{Opened, Opening, Restored};
pub use projects::Project;
pub use settings::Setting;
pub use store::{Store, now};
pub use usage::{Booked, By, REFUNDED, Record, Spent, Total};
pub use users::{Role, User};
