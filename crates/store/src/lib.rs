//! What must survive: projects, keys and usage records, in SQLite or PostgreSQL. SQL and nothing else.
//!
//! One SQL text serves both databases. Times are microseconds since 1970 (UTC), money is integer nano-dollars.
#![forbid(unsafe_code)]

mod jobs;
mod keys;
pub mod money;
mod projects;
mod store;
mod usage;

pub use jobs::{Job, JobId};
pub use keys::{Key, Limits, NewKey};
pub use projects::Project;
pub use store::{Store, StoreError, now};
pub use usage::{Booked, By, REFUNDED, Record, Spent, Total};
