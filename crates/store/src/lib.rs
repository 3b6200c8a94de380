//! What must survive: users, projects, keys, usage records, tasks and settings, in SQLite or PostgreSQL. SQL and nothing else.
//!
//! One SQL text serves both databases. Times are microseconds since 1970 (UTC), money is integer nano-dollars.
#![forbid(unsafe_code)]

mod jobs;
mod keys;
pub mod money;
mod projects;
mod settings;
mod store;
mod usage;
mod users;

pub use jobs::{Job, JobId};
pub use keys::{Account, Key, Limits, NewKey};
pub use projects::Project;
pub use settings::Setting;
pub use store::{Store, StoreError, now};
pub use usage::{Booked, By, REFUNDED, Record, Spent, Total};
pub use users::{Role, User};
