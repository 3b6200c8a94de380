//! The handle of an open database.

use std::sync::Arc;

use sqlx::AnyPool;

use crate::id_file::IdFile;
use crate::insert_statements::InsertStatements;
use crate::usage_sums::SumStatements;

/// The tables, in one SQLite file or one PostgreSQL database. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: AnyPool,
    pub(crate) insert_statements: Arc<InsertStatements>,
    pub(crate) sum_statements: Arc<SumStatements>,
    pub(crate) is_postgres: bool,
    /// The identity of the database outside of it; `None` when it is not kept.
    pub(crate) id_file: Option<Arc<IdFile>>,
}
