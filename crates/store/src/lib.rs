//! Persistent data in SQLite or PostgreSQL: users, their passwords and sessions, projects, keys,
//! usage records, tasks, files and settings.
//! A file outside of the database (`store-id`) has its identity, so that a lost or restored
//! database is detected.
//!
//! The same SQL runs on both databases. Times are microseconds since 1970 (UTC), money is
//! integer nano-dollars.
#![forbid(unsafe_code)]

mod amounts;
mod attempts;
mod budget_check;
mod budget_spend;
mod budget_window;
mod budgets;
mod clock;
mod connect;
mod database_state;
mod error;
mod error_class;
mod files;
mod id_file;
mod identity;
mod insert_records;
mod insert_statements;
mod integrity;
mod keys;
mod members;
pub mod money;
mod names;
mod one_time_links;
mod open;
mod outcome_class;
mod passwords;
mod projects;
mod records;
mod sessions;
mod set_budgets;
mod settings;
mod sqlite_file;
mod store;
mod sum_table;
mod sums_check;
mod tasks;
mod time_buckets;
mod usage;
mod usage_filter;
mod usage_rebuild;
mod usage_record;
mod usage_source;
mod usage_sums;
mod users;
mod window_records;

pub use amounts::{MAX_COST, MAX_SPENT, MAX_TOKENS, SPENT_OVERFLOWED};
pub use budget_spend::BudgetSpend;
pub use budget_window::{BudgetPeriod, BudgetWindow, BudgetZone};
pub use budgets::{
    Budget, BudgetOwner, BudgetScope, BudgetState, BudgetTerms, MAX_BUDGETS, MAX_END_USER_BYTES, check_budgets,
    is_end_user,
};
pub use clock::{DAY_MICROS, HOUR_MICROS, now_micros};
pub use error::StoreError;
pub use files::{FilePage, StoredFile};
pub use id_file::StoreIdentity;
pub use insert_records::{SpendUpdate, SpendUpdates};
pub use integrity::{IntegrityReport, Mismatch};
pub use keys::{Key, KeyOverview, Limits, NewKey};
pub use names::{NAME_RULE, is_model_id, is_name, is_printable};
pub use one_time_links::{Invitation, LinkKind, NewUserRights, PASSWORD_LINK_MICROS};
pub use open::{OpenedStore, RestorePolicy, StoreOptions};
pub use outcome_class::{IMPLAUSIBLE, OutcomeClass, REFUNDED};
pub use projects::Project;
pub use records::{RecordCursor, RecordQuery};
pub use sessions::{NewSession, SESSION_IDLE_MICROS, SESSION_MAX_MICROS, Session};
pub use settings::Setting;
pub use store::Store;
pub use tasks::{Task, TaskOwner};
pub use time_buckets::TimeHistogram;
pub use usage::{SeriesPoint, SeriesQuery, SeriesStep, UsageGroupBy, UsageSeries, UsageTotal};
pub use usage_filter::{RecordOwner, UsageFilter};
pub use usage_record::{Attempt, TaskId, UsageRecord};
pub use usage_sums::{UsageSums, UsageTimes};
pub use users::{Role, User};
