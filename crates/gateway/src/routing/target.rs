//! One provider of a model: where it is, how it stands, and its rank among the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat::Provider;
use serde::Deserialize;

use crate::pricing::Price;
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::prefix_affinity::{self, ActiveRequests};
use crate::upstream::remote_provider::Upstream;
use crate::upstream::reported_load::ReportedLoad;

/// One provider of a model.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) backend: Backend,
    /// What records and prices call the provider.
    pub(crate) provider: Arc<str>,
    /// What the provider calls the model.
    pub(crate) upstream_model: Arc<str>,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) breaker: Arc<CircuitBreaker>,
    pub(crate) active: ActiveRequests,
    pub(crate) preference: RoutingPreference,
}

/// Here or elsewhere.
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
}

/// Which provider is asked first: the least `priority`; among equals by chance, in
/// proportion to `weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutingPreference {
    pub priority: i64,
    /// At least 1.
    pub weight: u32,
}

/// Which of the providers of equal priority is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutingPolicy {
    /// Each in proportion to its weight.
    #[default]
    Weight,
    /// The one whose first words have come soonest lately; one request in twenty asks another, to
    /// know how that has become.
    Latency,
    /// The cheapest; those without a price last.
    Price,
}

impl Default for RoutingPreference {
    fn default() -> Self {
        Self { priority: 0, weight: 1 }
    }
}

impl Target {
    /// Targets are tried in the order of their keys. The last part draws lots: of exponential
    /// variables, the least is each in proportion to its rate.
    pub(crate) fn sort_key(&self, has_prefix: bool, policy: RoutingPolicy) -> (bool, i64, bool, bool, f64, f64) {
        let cost = match policy {
            RoutingPolicy::Weight => 0.0,
            RoutingPolicy::Latency => self.breaker.average_latency_us() as f64,
            RoutingPolicy::Price => self.price.as_ref().map_or(f64::MAX, |price| {
                let [input, _, output, per_call, _] = price.dollars();
                // As of a request with three times as much to read as to write.
                (3.0 * input + output) / 4.0 + per_call * 1000.0
            }),
        };
        let has_queue = self.reported_load().is_some_and(|occupancy| occupancy.waiting > 0);
        (
            !self.breaker.try_acquire(),
            self.preference.priority,
            !has_prefix,
            has_queue,
            cost,
            self.weighted_key(random_unit()),
        )
    }

    /// The tokens of the model's context, where its price row or its provider says so.
    pub(crate) fn context(&self) -> Option<u64> {
        let row = self.price.as_ref().and_then(|price| price.context);
        row.or_else(|| self.backend.provider().context_length())
    }

    /// Most tokens of an answer, where that is known.
    pub(crate) fn max_output_tokens(&self) -> Option<u64> {
        let row = self.price.as_ref().and_then(|price| price.max_output);
        row.into_iter().chain(self.context()).min()
    }

    /// How busy it says that it is.
    fn reported_load(&self) -> Option<ReportedLoad> {
        match &self.backend {
            Backend::Local(_) => None,
            Backend::Remote(upstream) => upstream.reported_load(),
        }
    }

    /// How long the operator lets it take to begin an answer.
    pub(crate) fn first_byte_timeout(&self) -> Duration {
        match &self.backend {
            Backend::Local(_) => Duration::ZERO,
            Backend::Remote(upstream) => upstream.first_byte_timeout(),
        }
    }

    /// Requests that it is answering or has in its queue: those from here, or everybody's
    /// where it says so.
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
            active_requests: self.active.count(),
            reported_load: self.reported_load(),
        }
    }

    pub(crate) fn weighted_key(&self, uniform: f64) -> f64 {
        -uniform.ln() / f64::from(self.preference.weight.max(1))
    }
}

/// Above 0 and at most 1 (SplitMix64 of a counter: no request needs better luck).
pub(crate) fn random_unit() -> f64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut z = COUNTER.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    prefix_affinity::to_unit_interval(z)
}

/// How one provider of a model stands.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    pub provider: Arc<str>,
    /// What the provider calls the model.
    pub upstream_model: Arc<str>,
    /// The price that is applied; `None` where there is none.
    pub price: Option<Arc<str>>,
    pub preference: RoutingPreference,
    /// It has not failed since it last answered.
    pub healthy: bool,
    /// Requests from here that it is answering.
    pub active_requests: i64,
    /// Everybody's, by its own metrics.
    pub reported_load: Option<ReportedLoad>,
}
