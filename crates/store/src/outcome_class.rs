//! The classes of outcomes: what operators tell apart in sums and filters.

use std::sync::LazyLock;

/// The outcome of a record with implausible usage.
pub const IMPLAUSIBLE: &str = "implausible_usage";
/// The outcome of a record that refunds a failed task.
pub const REFUNDED: &str = "refunded";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutcomeClass {
    /// With an answer.
    Answered,
    /// The caller left.
    Cancelled,
    /// The provider refused the request.
    Invalid,
    /// No budget, no right, an unknown model, or too large.
    Refused,
    /// A limit of the key.
    RateLimited,
    /// Every other error.
    Failed,
    /// The refund of a failed task, which is not a request.
    Refunded,
}

impl OutcomeClass {
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Cancelled,
        Self::Invalid,
        Self::Refused,
        Self::RateLimited,
        Self::Failed,
        Self::Refunded,
    ];

    /// The classes that count as failures: the server or a provider is at fault.
    pub(crate) const FAILURES: [Self; 1] = [Self::Failed];

    /// The classes that count as refusals: the request or the limits of its key are the reason.
    pub(crate) const REFUSALS: [Self; 3] = [Self::Invalid, Self::Refused, Self::RateLimited];

    /// The class of the outcome of a record.
    pub fn of(outcome: &str) -> Self {
        Self::ALL.into_iter().find(|class| class.outcomes().contains(&outcome)).unwrap_or(Self::Failed)
    }

    /// The outcomes of the class. All others are of the class `Failed`.
    fn outcomes(self) -> &'static [&'static str] {
        match self {
            Self::Answered => &["stop", "length", "tool_calls", "content_filter", IMPLAUSIBLE],
            Self::Cancelled => &["cancelled"],
            Self::Invalid => &["invalid"],
            Self::Refused => &["insufficient_balance", "forbidden", "model_not_found", "too_large"],
            Self::RateLimited => &["rate_limited"],
            Self::Failed => &[],
            Self::Refunded => &[REFUNDED],
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Cancelled => "cancelled",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::RateLimited => "rate_limited",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

/// The SQL expression of the class of the column `outcome`.
pub(crate) fn class_sql() -> &'static str {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let cases = OutcomeClass::ALL.iter().filter(|class| !class.outcomes().is_empty());
        let cases: String = cases
            .map(|class| format!(" when outcome in ('{}') then '{}'", class.outcomes().join("', '"), class.as_str()))
            .collect();
        format!("case{cases} else '{}' end", OutcomeClass::Failed.as_str())
    });
    &SQL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_class_and_every_class_a_name() {
        assert_eq!(OutcomeClass::of("stop"), OutcomeClass::Answered);
        assert_eq!(OutcomeClass::of("timeout"), OutcomeClass::Failed);
        assert_eq!(OutcomeClass::of(REFUNDED), OutcomeClass::Refunded);
        for class in OutcomeClass::ALL {
            assert_eq!(OutcomeClass::parse(class.as_str()), Some(class));
            assert!(class.outcomes().iter().all(|outcome| OutcomeClass::of(outcome) == class));
        }
        assert_eq!(OutcomeClass::parse("stop"), None);
    }
}
