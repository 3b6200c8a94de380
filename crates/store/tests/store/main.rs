//! The store on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a server on which
//! databases may be created.
#![forbid(unsafe_code)]

mod amounts;
mod databases;
mod identity;
mod statements;
