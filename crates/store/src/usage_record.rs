//! The usage record of one request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::amounts::{MAX_COST, MAX_TOKENS};
use crate::{OutcomeClass, StoreError};

/// The usage and the cost of one request. Lines of the journal have the same keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// A UUID v7. A record with an id that the store has is ignored.
    pub id: String,
    /// The time of the request, in microseconds since 1970.
    pub at: i64,
    /// `None` for keys of the configuration, and on a server without keys.
    pub key_id: Option<Arc<str>>,
    pub key_name: Arc<str>,
    pub project_id: Option<Arc<str>>,
    /// The model id, as the list of models spells it.
    pub model: Arc<str>,
    /// The provider that answered.
    pub upstream: Arc<str>,
    pub prompt_tokens: i64,
    /// A part of `prompt_tokens`.
    pub cached_tokens: i64,
    /// A part of `prompt_tokens`.
    pub cache_write_tokens: i64,
    /// A part of `cache_write_tokens`: what the cache keeps for an hour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_1h_tokens: i64,
    pub completion_tokens: i64,
    /// A part of `completion_tokens`.
    pub reasoning_tokens: i64,
    /// Counts that few requests have, by name, such as `audio_prompt_tokens` and `searches`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_counts: BTreeMap<Cow<'static, str>, i64>,
    /// The service tier that answered; `None` for the standard one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<Cow<'static, str>>,
    /// The provider did not report plausible usage, so the counts are estimates.
    pub estimated: bool,
    /// Nano-dollars.
    pub cost: i64,
    /// The name of the price that was applied; empty without a price.
    pub price: Arc<str>,
    /// Microseconds from the request to its first token.
    pub first_token_us: Option<i64>,
    /// Microseconds from the request to its end.
    pub total_us: i64,
    /// A finish reason, or how else the request ended.
    pub outcome: Cow<'static, str>,
    /// The id that the caller got, if it is not the id of this record: the caller chose it, or its
    /// request has several records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Arc<str>>,
    /// The refused requests beside this one that the record stands for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub further_requests: i64,
    /// The end user whom the request is for, if the key has budgets of end users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_user: Option<Arc<str>>,
    /// The requests to providers, if one of them failed: without failures there was one, whose
    /// times are those of this record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// The task that the request submitted. The store keeps it in the table of tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<TaskId>,
    /// The provider's id of that task; the same id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_job: Option<String>,
}

/// One request to a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub provider: Arc<str>,
    /// The provider's name for the model; empty where it is not known.
    pub model: Arc<str>,
    /// Microseconds since 1970.
    pub started_at: i64,
    pub first_byte_at: Option<i64>,
    /// `None`: the caller left before.
    pub ended_at: Option<i64>,
    /// 200 for an answer, else the status that callers get for the failure; `None` without one.
    pub status: Option<u16>,
    /// The reason of a failure, at most [`Attempt::MAX_FAULT_CHARS`], without secrets.
    pub fault: Option<String>,
}

impl Attempt {
    pub const MAX_FAULT_CHARS: usize = 200;
}

/// The id of a task that callers use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// `midjourney`, `suno`, `video` or `batch`.
    pub kind: String,
    pub id: String,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl UsageRecord {
    /// The number of requests that the record stands for. A refund is not a request.
    pub fn requests(&self) -> i64 {
        match OutcomeClass::of(&self.outcome) {
            OutcomeClass::Refunded => 0,
            _ => self.further_requests.saturating_add(1),
        }
    }

    /// The name and the value of the first count or amount that is out of range.
    pub(crate) fn out_of_range(&self) -> Option<(&'static str, i64)> {
        let tokens = [
            ("prompt_tokens", self.prompt_tokens),
            ("cached_tokens", self.cached_tokens),
            ("cache_write_tokens", self.cache_write_tokens),
            ("cache_write_1h_tokens", self.cache_write_1h_tokens),
            ("completion_tokens", self.completion_tokens),
            ("reasoning_tokens", self.reasoning_tokens),
            ("further_requests", self.further_requests),
        ];
        let extra = self.extra_counts.values().map(|count| ("extra_counts", *count));
        let bad_count = tokens.into_iter().chain(extra).find(|(_, tokens)| !(0..=MAX_TOKENS).contains(tokens));
        bad_count.or((!(-MAX_COST..=MAX_COST).contains(&self.cost)).then_some(("cost", self.cost)))
    }

    /// Checks that all counts and amounts are within their ranges.
    ///
    /// # Errors
    /// `Refused`.
    pub(crate) fn check_ranges(&self) -> Result<(), StoreError> {
        match self.out_of_range() {
            None => Ok(()),
            Some((column, value)) => {
                Err(StoreError::Refused(format!("the record `{}` has a `{column}` of {value}", self.id)))
            }
        }
    }
}
