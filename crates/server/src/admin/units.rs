//! Money and times as the admin API writes them.

use chat::Error;
use serde::Deserialize;
use store::money;

use super::errors::invalid_field;

/// Converts microseconds since 1970 to seconds.
pub(super) fn unix_seconds(micros: i64) -> i64 {
    micros.div_euclid(1_000_000)
}

/// A time in microseconds since 1970 as RFC 3339 (UTC), to the second.
pub(super) fn format_time(micros: i64) -> String {
    let time = jiff::Timestamp::from_second(unix_seconds(micros));
    time.map_or_else(|_| unix_seconds(micros).to_string(), |time| time.to_string())
}

/// US dollars as exact text, from nano-dollars.
pub(super) fn format_dollars(nano: i64) -> String {
    money::format(nano, 9)
}

/// US dollars in a body, as text (exact) or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Dollars {
    Text(String),
    Number(serde_json::Number),
}

impl Dollars {
    /// The amount of the field `budget` in nano-dollars.
    ///
    /// # Errors
    /// `InvalidRequest` for text that is not an amount.
    pub(super) fn nano(&self) -> Result<i64, Error> {
        self.nano_of("budget")
    }

    /// The amount of a field in nano-dollars.
    ///
    /// # Errors
    /// `InvalidRequest` that names the field, for text that is not an amount.
    pub(super) fn nano_of(&self, field: &str) -> Result<i64, Error> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        money::parse(&text).map_err(|message| invalid_field(field, message))
    }
}
