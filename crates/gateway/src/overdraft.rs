//! How far a request may take a budget below nothing.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::limits::{Account, Estimate};
use crate::plausibility::MOST_COST;
use crate::purse::Need;
use crate::size::Size;
use crate::target::Target;
use crate::worst::Worst;

/// The tokens that an unbounded answer may have where nothing says how many its model gives.
const UNKNOWN_OUTPUT: u64 = 1 << 17;

/// The setting `[gateway] overdraft`. What has a price that is known beforehand is never paid by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overdraft {
    /// As long as something is left, a request may begin; what its tokens cost beyond that becomes debt.
    #[default]
    LastRequest,
    /// A request may begin if its worst case is at most what is left and so many nano-dollars.
    AtMost(i64),
}

impl FromStr for Overdraft {
    type Err = String;

    /// Reads `last-request`, or US dollars such as `0` or `0.5`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "last-request" {
            return Ok(Self::LastRequest);
        }
        let amount = store::money::parse(text).ok().filter(|amount| *amount <= MOST_COST);
        amount.map(Self::AtMost).ok_or_else(|| {
            format!("`overdraft` takes \"last-request\" or US dollars from 0 to 1000000, such as 0.5, not `{text:.64}`")
        })
    }
}

impl fmt::Display for Overdraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastRequest => f.write_str("last-request"),
            Self::AtMost(amount) => f.write_str(&store::money::format(*amount, 9)),
        }
    }
}

impl<'de> Deserialize<'de> for Overdraft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Setting {
            Whole(i64),
            Dollars(f64),
            Text(String),
        }
        let text = match Setting::deserialize(deserializer)? {
            Setting::Whole(dollars) => dollars.to_string(),
            // As it was written: the shortest text that means the same.
            Setting::Dollars(dollars) => dollars.to_string(),
            Setting::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl Overdraft {
    /// The money that a request needs to be admitted. `about` is its estimated cost.
    pub(crate) fn need(self, worst: Worst, about: i64, size: &Size, targets: &[Target]) -> Need {
        let fixed = worst.fixed.min(MOST_COST.into()) as i64;
        let bounded = |amount: i64| amount.min(MOST_COST);
        match self {
            Self::LastRequest => Need { amount: about.max(fixed), least: fixed.max(1), overdraft: 0 },
            // All of it is known beforehand.
            Self::AtMost(_) if !size.is_text() => {
                let amount = bounded(worst.with(0));
                Need { amount, least: amount, overdraft: 0 }
            }
            Self::AtMost(overdraft) => {
                let (most, least) = match size.is_unbounded() {
                    true => (size.usual.or_else(|| answer_limit(targets)).unwrap_or(UNKNOWN_OUTPUT), 1),
                    false => (size.allowed.unwrap_or(0), size.allowed.unwrap_or(0)),
                };
                let with = |tokens: u64| bounded(worst.with(tokens.saturating_mul(size.answers)));
                // Its fixed part is paid by what is left without the overdraft.
                let beforehand = if fixed > 0 { fixed.saturating_add(overdraft) } else { 0 };
                let least = with(least).max(beforehand);
                Need { amount: with(most).max(least), least, overdraft }
            }
        }
    }

    /// The bound of each answer that has none of its own: what `reserved` pays for. `None` where it pays for all that the
    /// models can give.
    pub(crate) fn cap(self, worst: Worst, reserved: i64, size: &Size, targets: &[Target]) -> Option<u64> {
        if self == Self::LastRequest || !size.is_unbounded() {
            return None;
        }
        let paid = worst.fits(reserved)? / size.answers.max(1);
        let limit = answer_limit(targets);
        if size.usual.is_none() && limit.is_some_and(|limit| paid >= limit) {
            return None;
        }
        // Providers refuse a bound that does not fit into the context beside the prompt.
        let contexts = targets.iter().filter_map(Target::context);
        let room = contexts.min().map_or(u64::MAX, |context| context.saturating_sub(size.prompt));
        let limit = size.usual.into_iter().chain(limit).min().unwrap_or(UNKNOWN_OUTPUT);
        Some(paid.min(limit).min(room).max(1))
    }

    /// The `max_tokens` with which a request would have been let in that asked for more; `None` where no answer would.
    pub(crate) fn fitting(self, worst: Worst, account: &Account, size: &Size) -> Option<u64> {
        if self == Self::LastRequest || size.is_unbounded() {
            return None;
        }
        let tokens = worst.fits(account.room()?)? / size.answers.max(1);
        (tokens > 0 && tokens < size.allowed?).then_some(tokens)
    }
}

/// The most tokens that any of these gives in one answer, where all of them say it.
fn answer_limit(targets: &[Target]) -> Option<u64> {
    targets.iter().map(Target::answer_limit).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The reservation of a request.
pub(crate) fn estimate(size: &Size, money: Need) -> Estimate {
    Estimate { tokens: size.paced(), money }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_a_word_or_dollars() {
        let read = |json: &str| serde_json::from_str::<Overdraft>(json).map_err(|error| error.to_string());
        assert_eq!(read("\"last-request\""), Ok(Overdraft::LastRequest));
        assert_eq!((read("0"), read("0.5")), (Ok(Overdraft::AtMost(0)), Ok(Overdraft::AtMost(500_000_000))));
        assert_eq!(
            (read("\"0.25\""), read("1000000")),
            (Ok(Overdraft::AtMost(250_000_000)), Ok(Overdraft::AtMost(MOST_COST)))
        );
        for bad in ["-1", "1000001", "1e300", "\"unlimited\"", "\"\"", "\"NaN\"", "-0.5"] {
            assert!(read(bad).unwrap_err().contains("last-request"), "{bad}");
        }
        assert_eq!(
            (Overdraft::LastRequest.to_string(), Overdraft::AtMost(1).to_string()),
            ("last-request".into(), "0.000000001".into())
        );
    }
}
