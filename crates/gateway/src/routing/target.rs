//! A target: one provider of a model, its state, and its preference among the others.

use std::sync::Arc;
use std::time::Duration;

use chat::Provider;
use serde::{Deserialize, Serialize};
use wire::model_rules::RequestRules;
use wire::upstream::Dialect;

use crate::pricing::Price;
use crate::routing::active_requests::ActiveRequests;
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::random::random_unit;
use crate::upstream::remote_provider::Upstream;
use crate::upstream::reported_load::ReportedLoad;

/// One provider of a model.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) backend: Backend,
    /// The provider's name in records and prices.
    pub(crate) provider: Arc<str>,
    /// The provider's name for the model.
    pub(crate) upstream_model: Arc<str>,
    /// The rules for the model. The local engine takes everything.
    pub(crate) rules: Arc<RequestRules>,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) breaker: Arc<CircuitBreaker>,
    pub(crate) active: ActiveRequests,
    pub(crate) preference: RoutingPreference,
}

/// The engine of this process, or a remote provider.
#[derive(Clone)]
pub(crate) enum Backend {
    Local(Arc<dyn Provider>),
    Remote(Arc<Upstream>),
}

impl Backend {
    pub(crate) fn provider(&self) -> &dyn Provider {
        match self {
            Self::Local(provider) => provider.as_ref(),
            Self::Remote(upstream) => upstream.as_ref(),
        }
    }

    /// The dialect of a remote provider.
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Local(_) => None,
            Self::Remote(upstream) => Some(upstream.dialect()),
        }
    }
}

/// The rank of a provider: the least `priority` is tried first; among equals the choice is random,
/// in proportion to `weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingPreference {
    pub priority: i64,
    /// At least 1.
    pub weight: u32,
}

/// The order of providers of equal priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutingPolicy {
    /// Random, in proportion to the weights.
    #[default]
    Weight,
    /// The lowest recent time to first token. 5 % of the requests are ordered by weight, to refresh
    /// the estimates of the others.
    Latency,
    /// The lowest price; providers without a price come last.
    Price,
}

impl Default for RoutingPreference {
    fn default() -> Self {
        Self { priority: 0, weight: 1 }
    }
}

impl Target {
    /// The sort key: targets are tried in ascending order. Its last part is an exponentially
    /// distributed random number, of which each target has the least in proportion to its weight.
    pub(crate) fn sort_key(&self, has_prefix: bool, policy: RoutingPolicy) -> (bool, i64, bool, bool, f64, f64) {
        let cost = match policy {
            RoutingPolicy::Weight => 0.0,
            RoutingPolicy::Latency => self.breaker.average_latency_us() as f64,
            RoutingPolicy::Price => self.price.as_ref().map_or(f64::MAX, |price| {
                let [input, _, output, per_call, _] = price.dollars();
                // A typical request has three times as many prompt tokens as output tokens.
                (3.0 * input + output) / 4.0 + per_call * 1000.0
            }),
        };
        let has_queue = self.reported_load().is_some_and(|load| load.waiting > 0);
        (
            !self.breaker.try_acquire(),
            self.preference.priority,
            !has_prefix,
            has_queue,
            cost,
            self.weighted_key(random_unit()),
        )
    }

    /// The context length in tokens, if the price entry or the provider states it.
    pub(crate) fn context(&self) -> Option<u64> {
        let priced = self.price.as_ref().and_then(|price| price.context);
        priced.or_else(|| self.backend.provider().context_length())
    }

    /// Most tokens of an answer, if that is known.
    pub(crate) fn max_output_tokens(&self) -> Option<u64> {
        let priced = self.price.as_ref().and_then(|price| price.max_output);
        priced.into_iter().chain(self.context()).min()
    }

    /// The load that the provider's metrics report.
    fn reported_load(&self) -> Option<ReportedLoad> {
        match &self.backend {
            Backend::Local(_) => None,
            Backend::Remote(upstream) => upstream.reported_load(),
        }
    }

    /// The configured time limit for the first byte of an answer; zero for the local engine.
    pub(crate) fn first_byte_timeout(&self) -> Duration {
        match &self.backend {
            Backend::Local(_) => Duration::ZERO,
            Backend::Remote(upstream) => upstream.first_byte_timeout(),
        }
    }

    /// Requests that run or wait at the provider: those of this gateway, or those of all clients if
    /// the provider reports more.
    pub(crate) fn outstanding_requests(&self) -> i64 {
        let reported =
            self.reported_load().map_or(0, |ReportedLoad { running, waiting }| i64::from(running) + i64::from(waiting));
        self.active.count().max(reported)
    }

    pub(crate) fn status(&self) -> TargetStatus {
        TargetStatus {
            provider: self.provider.clone(),
            upstream_model: self.upstream_model.clone(),
            price: self.price.as_ref().map(|price| price.name.clone()),
            preference: self.preference,
            healthy: self.breaker.is_closed(),
            retry_at: self.breaker.retry_at(),
            last_failure: self.breaker.last_failure(),
            active_requests: self.active.count(),
            reported_load: self.reported_load(),
        }
    }

    /// Maps a uniform random number to an exponential one whose rate is the weight.
    pub(crate) fn weighted_key(&self, uniform: f64) -> f64 {
        -uniform.ln() / f64::from(self.preference.weight.max(1))
    }
}

/// The state of one provider of a model.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    pub provider: Arc<str>,
    /// The provider's name for the model.
    pub upstream_model: Arc<str>,
    /// The name of the applied price, if there is one.
    pub price: Option<Arc<str>>,
    pub preference: RoutingPreference,
    /// Whether it has not failed since its last success.
    pub healthy: bool,
    /// The time until which it is avoided, in microseconds since 1970; `None` when it may be tried.
    pub retry_at: Option<i64>,
    /// The reason of the last failure, without secrets; `None` before the first failure.
    pub last_failure: Option<String>,
    /// Requests of this gateway that it is answering.
    pub active_requests: i64,
    /// Requests of all clients, by its own metrics.
    pub reported_load: Option<ReportedLoad>,
}
