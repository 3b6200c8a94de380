//! The store on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a server on which
//! databases may be created.
#![forbid(unsafe_code)]

mod amounts;
mod budget_check;
mod budgets;
mod databases;
mod files;
mod identity;
mod million_records;
mod sign_in;
mod statements;
mod usage_series;
mod usage_sums;
