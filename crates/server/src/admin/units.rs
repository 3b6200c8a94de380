//! Money and times as the admin API writes them.

use chat::Error;
use serde::Deserialize;
use store::money;

/// Converts microseconds since 1970 to seconds.
pub(super) fn unix_seconds(micros: i64) -> i64 {
    micros.div_euclid(1_000_000)
}

/// US dollars as exact text, from nano-dollars.
pub(super) fn format_dollars(nano: i64) -> String {
    money::format(nano, 9)
}

/// US dollars in a request, as text (exact) or as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Dollars {
    Text(String),
    Number(serde_json::Number),
}

impl Dollars {
    /// The amount in nano-dollars.
    ///
    /// # Errors
    /// `InvalidRequest` for text that is not an amount.
    pub(super) fn nano(&self) -> Result<i64, Error> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        };
        money::parse(&text).map_err(Error::invalid)
    }
}
