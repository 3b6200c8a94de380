//! A route: the targets of one model id, and the order in which a request tries them.

use std::sync::Arc;

use crate::model_metrics::ModelMetrics;
use crate::routing::active_requests::has_capacity_for_affinity;
use crate::routing::prefix_affinity::{PrefixAffinity, PromptPrefix};
use crate::routing::random::random_unit;
use crate::routing::target::{Backend, RoutingPolicy, Target};
use crate::routing::thinking_mode::ThinkingMode;

/// The share of requests that the policy `latency` orders by weight, to refresh its estimates.
const EXPLORATION_SHARE: f64 = 0.05;

/// The targets of one model id.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) id: Arc<str>,
    pub(crate) model_metrics: Arc<ModelMetrics>,
    pub(crate) thinking_mode: ThinkingMode,
    /// At least one.
    pub(crate) targets: Vec<Target>,
    pub(super) affinity: Arc<PrefixAffinity>,
    pub(super) owned_by: Arc<str>,
    pub(super) policy: RoutingPolicy,
}

impl Route {
    pub(super) fn new(id: &str, thinking_mode: ThinkingMode, target: Target, owned_by: Arc<str>) -> Self {
        let id: Arc<str> = id.into();
        Self {
            model_metrics: ModelMetrics::new(id.clone()),
            id,
            thinking_mode,
            targets: vec![target],
            affinity: Arc::default(),
            owned_by,
            policy: RoutingPolicy::default(),
        }
    }

    /// The same targets under another id.
    pub(super) fn with_id(&self, id: &str, thinking_mode: ThinkingMode) -> Self {
        let id: Arc<str> = id.into();
        Self { model_metrics: ModelMetrics::new(id.clone()), id, thinking_mode, ..self.clone() }
    }

    pub(super) fn is_remote(&self) -> bool {
        self.targets.iter().all(|target| matches!(target.backend, Backend::Remote(_)))
    }

    /// Returns the targets in the order in which they are to be tried:
    ///
    /// 1. healthy before failed,
    /// 2. by priority,
    /// 3. the target whose prompt cache has the prefix, unless it is much busier than another,
    /// 4. targets without a queue,
    /// 5. by the routing policy, then at random in proportion to the weights.
    ///
    /// If no target has served the prefix, rendezvous hashing of the prefix picks the target of
    /// step 3, so that replicas agree on it without communication.
    pub(crate) fn order_targets(&self, prefix: impl FnOnce() -> PromptPrefix) -> Vec<Target> {
        if let [only] = self.targets.as_slice() {
            return vec![only.clone()];
        }
        let prefix = prefix();
        let least = self.targets.iter().map(Target::outstanding_requests).min().unwrap_or(0);
        let is_not_overloaded =
            |index: &usize| has_capacity_for_affinity(self.targets[*index].outstanding_requests(), least);
        let known = self.affinity.find(&prefix).filter(|index| *index < self.targets.len());
        let rendezvous = || self.rendezvous_target(&prefix).filter(|_| self.policy == RoutingPolicy::Weight);
        let preferred = known.or_else(rendezvous).filter(is_not_overloaded);
        let policy = if self.policy == RoutingPolicy::Latency && random_unit() < EXPLORATION_SHARE {
            RoutingPolicy::Weight
        } else {
            self.policy
        };
        let ranked = self.targets.iter().enumerate();
        let mut ranked: Vec<_> =
            ranked.map(|(index, target)| (target.sort_key(preferred == Some(index), policy), index)).collect();
        ranked.sort_by(|(a, _), (b, _)| a.partial_cmp(b).expect("no key is NaN"));
        self.affinity.remember(&prefix, ranked[0].1);
        ranked.into_iter().map(|(_, index)| self.targets[index].clone()).collect()
    }

    /// The target that rendezvous hashing picks for a prefix, among healthy targets of the least
    /// priority.
    fn rendezvous_target(&self, prefix: &PromptPrefix) -> Option<usize> {
        // A failed target is probed by one request at a time, which is not decided here.
        let healthy = self.targets.iter().enumerate().filter(|(_, target)| target.breaker.is_closed());
        let keyed = healthy.filter_map(|(index, target)| {
            let key = target.weighted_key(prefix.rendezvous_score(&target.provider)?);
            Some(((target.preference.priority, key), index))
        });
        keyed.min_by(|(a, _), (b, _)| a.partial_cmp(b).expect("no key is NaN")).map(|(_, index)| index)
    }
}
