//! One provider of a model: where it is, how it stands, and its rank among the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chat::Provider;
use serde::Deserialize;

use crate::affinity::{self, Load};
use crate::health::Health;
use crate::occupancy::Occupancy;
use crate::price::Price;
use crate::upstream::Upstream;

/// One provider of a model.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// What records and prices call the provider.
    pub(crate) upstream: Arc<str>,
    /// What the provider calls the model.
    pub(crate) model: Arc<str>,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) health: Arc<Health>,
    pub(crate) load: Load,
    pub(crate) rank: Rank,
}

/// Here or elsewhere.
#[derive(Clone)]
pub(crate) enum Place {
    Local(Arc<dyn Provider>),
    Remote(Arc<Upstream>),
}

impl Place {
    pub(crate) fn provider(&self) -> &dyn Provider {
        match self {
            Self::Local(provider) => provider.as_ref(),
            Self::Remote(upstream) => upstream.as_ref(),
        }
    }
}

/// Which provider is asked first: the least `priority`; among equals by chance, in proportion to `weight`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    pub priority: i64,
    /// At least 1.
    pub weight: u32,
}

/// Which of the providers of equal priority is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Each in proportion to its weight.
    #[default]
    Weight,
    /// The one whose first words have come soonest lately; one request in twenty asks another, to know how that has become.
    Latency,
    /// The cheapest; those without a price last.
    Price,
}

impl Default for Rank {
    fn default() -> Self {
        Self { priority: 0, weight: 1 }
    }
}

impl Target {
    /// Targets are tried in the order of their keys. The last part draws lots: of exponential variables, the least is each
    /// in proportion to its rate.
    pub(crate) fn key(&self, knows: bool, policy: Policy) -> (bool, i64, bool, bool, f64, f64) {
        let merit = match policy {
            Policy::Weight => 0.0,
            Policy::Latency => self.health.latency() as f64,
            Policy::Price => self.price.as_ref().map_or(f64::MAX, |price| {
                let [input, _, output, per_call, _] = price.dollars();
                // As of a request with three times as much to read as to write.
                (3.0 * input + output) / 4.0 + per_call * 1000.0
            }),
        };
        let waits = self.occupancy().is_some_and(|occupancy| occupancy.waiting > 0);
        (!self.health.usable(), self.rank.priority, !knows, waits, merit, self.lot(chance()))
    }

    /// The tokens of the model's context, where its price row or its provider says so.
    pub(crate) fn context(&self) -> Option<u64> {
        let row = self.price.as_ref().and_then(|price| price.context);
        row.or_else(|| self.place.provider().context_length())
    }

    /// Most tokens of an answer, where that is known.
    pub(crate) fn answer_limit(&self) -> Option<u64> {
        let row = self.price.as_ref().and_then(|price| price.max_output);
        row.into_iter().chain(self.context()).min()
    }

    /// How busy it says that it is.
    fn occupancy(&self) -> Option<Occupancy> {
        match &self.place {
            Place::Local(_) => None,
            Place::Remote(upstream) => upstream.occupancy(),
        }
    }

    /// How long the operator lets it take to begin an answer.
    pub(crate) fn begin_time(&self) -> Duration {
        match &self.place {
            Place::Local(_) => Duration::ZERO,
            Place::Remote(upstream) => upstream.begin_time(),
        }
    }

    /// Requests that it is answering or has in its queue: those from here, or everybody's where it says so.
    pub(crate) fn busy(&self) -> i64 {
        let said = self.occupancy().map_or(0, |Occupancy { running, waiting }| i64::from(running) + i64::from(waiting));
        self.load.running().max(said)
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing {
            provider: self.upstream.clone(),
            model: self.model.clone(),
            price: self.price.as_ref().map(|price| price.name.clone()),
            rank: self.rank,
            works: self.health.works(),
            running: self.load.running(),
            occupancy: self.occupancy(),
        }
    }

    pub(crate) fn lot(&self, chance: f64) -> f64 {
        -chance.ln() / f64::from(self.rank.weight.max(1))
    }
}

/// Above 0 and at most 1 (SplitMix64 of a counter: no request needs better luck).
pub(crate) fn chance() -> f64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut z = COUNTER.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    affinity::unit(z)
}

/// How one provider of a model stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub provider: Arc<str>,
    /// What the provider calls the model.
    pub model: Arc<str>,
    /// The price that is applied; `None` where there is none.
    pub price: Option<Arc<str>>,
    pub rank: Rank,
    /// It has not failed since it last answered.
    pub works: bool,
    /// Requests from here that it is answering.
    pub running: i64,
    /// Everybody's, by its own metrics.
    pub occupancy: Option<Occupancy>,
}
