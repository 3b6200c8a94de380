//! A route: the targets of one model id, and the order in which a request tries them.

use std::sync::Arc;

use chat::{Error, ErrorKind};

use crate::keys::caller::Caller;
use crate::model_metrics::ModelMetrics;
use crate::routing::active_requests::has_capacity_for_affinity;
use crate::routing::prefix_affinity::{PrefixAffinity, PromptPrefix};
use crate::routing::random::random_unit;
use crate::routing::target::{Backend, RoutingPolicy, Target};
use crate::routing::thinking_mode::ThinkingMode;

/// The share of requests that the policy `latency` orders by weight, to refresh its estimates.
const EXPLORATION_SHARE: f64 = 0.05;

/// The error for a request with the object `cachalot` to a model of another provider.
pub(crate) fn not_local(model: &str) -> Error {
    let message = format!("`cachalot` is for models of this server, and `{model:.128}` runs elsewhere: leave it out");
    let mut error = Error::invalid(message);
    error.code = Some("not_local");
    error.param = Some("cachalot".into());
    error
}

/// The error for a model without a price, and a caller with a budget.
pub(crate) fn missing_price_error(model: &str) -> Error {
    let message = format!(
        "The model `{model}` has no price, and this key has a budget: an administrator sets one with `cachalot price set {model} --input USD --output USD`"
    );
    Error::new(ErrorKind::Forbidden, message)
}

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
    /// Whether it is in the list of models.
    pub(super) is_listed: bool,
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
            is_listed: true,
        }
    }

    /// The same targets under another id.
    pub(super) fn with_id(&self, id: &str, thinking_mode: ThinkingMode) -> Self {
        let id: Arc<str> = id.into();
        Self { model_metrics: ModelMetrics::new(id.clone()), id, thinking_mode, is_listed: true, ..self.clone() }
    }

    /// The route without its remote targets, for a request that only the local engine understands.
    ///
    /// # Errors
    /// [`not_local`] if it has no other.
    pub(crate) fn only_local(self: Arc<Self>) -> Result<Arc<Self>, Error> {
        let mut route = Arc::unwrap_or_clone(self);
        route.targets.retain(|target| matches!(target.backend, Backend::Local(_)));
        if route.targets.is_empty() { Err(not_local(&route.id)) } else { Ok(Arc::new(route)) }
    }

    /// The provider that the id names, for an id such as `provider/model`.
    pub(super) fn named_provider(&self) -> Option<&str> {
        let (provider, _) = self.id.split_once('/')?;
        let is_target = self.is_remote() && self.targets.iter().any(|target| &*target.provider == provider);
        is_target.then_some(provider)
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
    fn order_targets(&self, prefix: impl FnOnce() -> PromptPrefix) -> Vec<Target> {
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

    /// The targets for a request of `caller`, in the order of [`Route::order_targets`]. One without
    /// a price answers no caller with a budget, as long as another has one.
    ///
    /// # Errors
    /// `Forbidden` when the caller has a budget and no target has a price.
    pub(crate) fn targets_for(
        &self,
        caller: &Caller,
        prefix: impl FnOnce() -> PromptPrefix,
    ) -> Result<Vec<Target>, Error> {
        let mut targets = self.order_targets(prefix);
        if caller.api_key.as_ref().is_some_and(|api_key| api_key.limits.has_budget()) {
            targets.retain(|target| target.price.is_some());
        }
        if targets.is_empty() {
            return Err(missing_price_error(&self.id));
        }
        Ok(targets)
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
