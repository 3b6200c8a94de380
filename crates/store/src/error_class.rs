//! The classes of database errors: refusals of the input, and failures of a database that is
//! unavailable.

use crate::StoreError;

impl StoreError {
    /// Whether the database works and refuses the input. Other errors may go away: the database is
    /// unreachable, locked, full or read-only.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Conflict(_) | Self::NotFound(_) | Self::LinkNotValid => true,
            Self::Database(sqlx::Error::Database(error)) => !error.code().is_some_and(|code| is_unavailable(&code)),
            Self::Database(error) => matches!(
                error,
                sqlx::Error::Encode(_)
                    | sqlx::Error::Decode(_)
                    | sqlx::Error::ColumnDecode { .. }
                    | sqlx::Error::InvalidArgument(_)
                    | sqlx::Error::AnyDriverError(_)
            ),
            _ => false,
        }
    }
}

/// Whether an error code is of a database that cannot be used right now.
fn is_unavailable(code: &str) -> bool {
    // PostgreSQL's codes have five characters, the first two of which are the class.
    if code.len() == 5 {
        let classes = ["08", "25", "28", "3D", "40", "53", "55", "57", "58", "F0", "XX"];
        return classes.iter().any(|class| code.starts_with(class));
    }
    // SQLite's primary codes: PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CORRUPT, FULL,
    // CANTOPEN, PROTOCOL, AUTH, NOTADB.
    let primary = code.parse::<u32>().map_or(0, |code| code & 0xff);
    [3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 23, 26].contains(&primary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_a_database_that_is_away_are_not_refusals() {
        // BUSY, BUSY_SNAPSHOT, FULL, IOERR_WRITE; connection failure, shutdown,
        // deadlock, disk full.
        for away in ["5", "517", "13", "778", "08006", "57P01", "40P01", "53100", "25006"] {
            assert!(is_unavailable(away), "{away}");
        }
        // ERROR, CONSTRAINT_TRIGGER, MISMATCH; out of range, bad text, a trigger's exception.
        for refusal in ["1", "1811", "20", "22003", "22021", "23505", "P0001"] {
            assert!(!is_unavailable(refusal), "{refusal}");
        }
        for away in [sqlx::Error::PoolTimedOut, sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())] {
            assert!(!StoreError::from(away).is_refusal());
        }
        assert!(StoreError::Refused(String::new()).is_refusal());
    }
}
