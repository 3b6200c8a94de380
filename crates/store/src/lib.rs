//! Persistent data in SQLite or PostgreSQL: users, projects, keys, usage records,
//! tasks and settings.
//! A file outside of the database (`store-id`) has its identity, so that a lost or restored
//! database is detected.
//!
//! The same SQL runs on both databases. Times are microseconds since 1970 (UTC), money is
//! integer nano-dollars.
#![forbid(unsafe_code)]

mod amounts;
mod clock;
mod connect;
mod database_state;
mod error;
mod error_class;
mod id_file;
mod identity;
mod insert_statements;
mod integrity;
mod keys;
pub mod money;
mod names;
mod open;
mod projects;
mod settings;
mod sqlite_file;
mod store;
mod tasks;
mod usage;
mod usage_record;
mod users;

pub use amounts::{MAX_COST, MAX_SPENT, MAX_TOKENS, SPENT_OVERFLOWED};
pub use clock::now_micros;
pub use error::StoreError;
pub use id_file::StoreIdentity;
pub use integrity::{IMPLAUSIBLE, IntegrityReport, Mismatch};
pub use keys::{Key, KeyOverview, Limits, NewKey};
pub use names::{NAME_RULE, is_model_id, is_name, is_printable};
pub use open::{OpenedStore, RestorePolicy, StoreOptions};
pub use projects::Project;
pub use settings::Setting;
pub use store::Store;
pub use tasks::{Task, TaskOwner};
pub use usage::{REFUNDED, SpendUpdate, SpendUpdates, UsageGroupBy, UsageTotal};
pub use usage_record::{TaskId, UsageRecord};
pub use users::{Role, User};
