//! Which providers answer a model id, in which mode, and which of them first.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chat::{Error, ErrorKind, Provider};
use wire::passthrough::ApiEndpoint;

use crate::Caller;
use crate::billing::overdraft::Overdraft;
use crate::model_metrics::ModelMetrics;
use crate::pricing::{LOCAL, Price, Prices};
use crate::routing::prefix_affinity::{self, ActiveRequests, PrefixAffinity, PromptPrefix};
use crate::routing::target::{Backend, RoutingPolicy, RoutingPreference, Target, TargetStatus, random_unit};
use crate::routing::thinking_mode::{LOCAL_MODEL_IDS, ThinkingMode};
use crate::upstream::remote_provider::Upstream;

/// Where requests for one id go.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) id: Arc<str>,
    pub(crate) model_metrics: Arc<ModelMetrics>,
    pub(crate) thinking_mode: ThinkingMode,
    /// At least one.
    pub(crate) targets: Vec<Target>,
    affinity: Arc<PrefixAffinity>,
    owned_by: Arc<str>,
    policy: RoutingPolicy,
}

impl Route {
    fn new(id: &str, mode: ThinkingMode, target: Target, owned_by: Arc<str>) -> Self {
        let id: Arc<str> = id.into();
        let model_metrics = ModelMetrics::new(id.clone());
        Self {
            model_metrics,
            id,
            thinking_mode: mode,
            targets: vec![target],
            affinity: Arc::default(),
            owned_by,
            policy: RoutingPolicy::default(),
        }
    }

    /// The same under another id.
    fn with_id(&self, id: &str, mode: ThinkingMode) -> Self {
        let id: Arc<str> = id.into();
        Self { model_metrics: ModelMetrics::new(id.clone()), id, thinking_mode: mode, ..self.clone() }
    }

    /// The targets in the order they are to be tried: those that work first, then by priority;
    /// among equals the one that has read the prefix of the prompt before, unless it is much busier
    /// than another; then one at which nobody waits; then by lot. Where nobody has read it, the
    /// prompt itself draws the first lot, so that machines which know nothing of each other agree.
    pub(crate) fn order_targets(&self, prefix: impl FnOnce() -> PromptPrefix) -> Vec<Target> {
        if let [only] = self.targets.as_slice() {
            return vec![only.clone()];
        }
        let prefix = prefix();
        let least = self.targets.iter().map(Target::outstanding_requests).min().unwrap_or(0);
        let is_not_overloaded = |index: &usize| {
            prefix_affinity::has_capacity_for_affinity(self.targets[*index].outstanding_requests(), least)
        };
        let known = self.affinity.find(&prefix).filter(|index| *index < self.targets.len());
        let rendezvous = || self.rendezvous_target(&prefix).filter(|_| self.policy == RoutingPolicy::Weight);
        let preferred = known.or_else(rendezvous).filter(is_not_overloaded);
        // One request in twenty finds out how the others have become.
        let policy = if self.policy == RoutingPolicy::Latency && random_unit() < 0.05 {
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

    /// Of the targets that would be tried first, the one that the prefix of a prompt draws
    /// (rendezvous hashing).
    fn rendezvous_target(&self, prefix: &PromptPrefix) -> Option<usize> {
        // Who has failed is tried by one request at a time, which is not decided here.
        let healthy = self.targets.iter().enumerate().filter(|(_, target)| target.breaker.is_closed());
        let keyed = healthy.filter_map(|(index, target)| {
            let key = target.weighted_key(prefix.rendezvous_score(&target.provider)?);
            Some(((target.preference.priority, key), index))
        });
        keyed.min_by(|(a, _), (b, _)| a.partial_cmp(b).expect("no key is NaN")).map(|(_, index)| index)
    }

    /// The same model, told to think or not to.
    fn with_thinking_mode(&self, id: &str, mode: ThinkingMode) -> Arc<Self> {
        Arc::new(self.with_id(id, mode))
    }

    fn is_remote(&self) -> bool {
        self.targets.iter().all(|target| matches!(target.backend, Backend::Remote(_)))
    }
}

/// A model of a provider elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamModel {
    /// What callers ask for.
    pub id: String,
    /// What the provider calls it.
    pub upstream_name: String,
}

impl<T: Into<String>> From<T> for UpstreamModel {
    /// By the provider's own name.
    fn from(id: T) -> Self {
        let id = id.into();
        Self { upstream_name: id.clone(), id }
    }
}

/// One line of the list of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    pub id: Arc<str>,
    pub owned_by: Arc<str>,
    pub price: Option<Arc<Price>>,
}

/// One id and who answers it.
#[derive(Clone, Debug)]
pub struct RouteInfo {
    pub id: Arc<str>,
    pub targets: Vec<TargetStatus>,
}

/// Model ids and where they lead. Those of the local model count in any case.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    /// Local ids in lower case, and exact ids of other providers, to places in `routes`.
    index_by_id: HashMap<String, usize>,
    /// Aliases whose targets are not known yet.
    pending_aliases: Vec<(String, String)>,
    policy: RoutingPolicy,
    pub(crate) exposes_provider: bool,
    pub(crate) overdraft: Overdraft,
}

/// An alias that leads nowhere, or stands in the way of another id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasError {
    UnknownTarget { alias: String, target: String },
    Taken { alias: String },
}

impl fmt::Display for AliasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTarget { alias, target } => {
                write!(f, "the alias `{alias}` leads to `{target}`, an unknown model")
            }
            Self::Taken { alias } => write!(f, "the alias `{alias}` is already the id of a model"),
        }
    }
}

impl std::error::Error for AliasError {}

impl Router {
    /// Routes of one local model: the ids of the family, and `name` (that of its folder).
    ///
    /// A name that is an id of the family adds nothing. Under its own name the model thinks by
    /// default if `thinks_by_default` says so, as a model must that cannot do otherwise.
    pub fn for_local_model(provider: Arc<dyn Provider>, name: &str, thinks_by_default: bool) -> Self {
        let mut router = Self::default();
        let mut add = |id: &str, mode, owned_by: &str| {
            let target = Target {
                backend: Backend::Local(provider.clone()),
                provider: LOCAL.into(),
                upstream_model: id.into(),
                price: None,
                breaker: Arc::default(),
                active: ActiveRequests::default(),
                preference: RoutingPreference::default(),
            };
            let route = Route::new(id, mode, target, owned_by.into());
            router.insert(id.to_lowercase(), Arc::new(route));
        };
        LOCAL_MODEL_IDS.into_iter().for_each(|(id, mode)| add(id, mode, "deepseek"));
        if !name.is_empty() && !LOCAL_MODEL_IDS.iter().any(|(id, _)| id.eq_ignore_ascii_case(name)) {
            add(name, ThinkingMode::PerRequest { default: thinks_by_default }, "local");
        }
        router
    }

    /// Adds models of a provider elsewhere, each under its own id and as `provider/id`. A local id
    /// stays local; where several providers have an id, they share it.
    pub fn add_upstream(&mut self, upstream: &Arc<Upstream>, models: &[UpstreamModel], rank: RoutingPreference) {
        for UpstreamModel { id, upstream_name: name } in models {
            let target = Target {
                backend: Backend::Remote(upstream.clone()),
                provider: upstream.name().clone(),
                upstream_model: name.as_str().into(),
                price: None,
                // Under both its ids it is as well as it is.
                breaker: Arc::default(),
                active: ActiveRequests::default(),
                preference: rank,
            };
            self.add_target(id, target.clone());
            self.add_target(&format!("{}/{id}", upstream.name()), target);
        }
        for (alias, target) in std::mem::take(&mut self.pending_aliases) {
            self.alias_when_available(&alias, &target);
        }
    }

    /// Lets `alias` mean what `target` means as soon as some provider offers it. An id that is
    /// taken stays what it is.
    pub fn alias_when_available(&mut self, alias: &str, target: &str) {
        match self.add_alias(alias, target) {
            Ok(()) => {}
            Err(AliasError::UnknownTarget { .. }) => self.pending_aliases.push((alias.into(), target.into())),
            Err(error @ AliasError::Taken { .. }) => tracing::warn!(%error, "an alias is not used"),
        }
    }

    fn add_target(&mut self, id: &str, target: Target) {
        if let Some(index) = self.index_of(id) {
            let route = Arc::make_mut(&mut self.routes[index]);
            let known = route.targets.iter().any(|other| other.provider == target.provider);
            if route.is_remote() && !known {
                route.targets.push(target);
            }
            return;
        }
        let owned_by = target.provider.clone();
        let route = Route { policy: self.policy, ..Route::new(id, ThinkingMode::ProviderDecides, target, owned_by) };
        self.insert(id.to_owned(), Arc::new(route));
    }

    /// Lets `alias` mean what `target` means.
    ///
    /// # Errors
    /// When `target` is unknown, or `alias` already means something.
    pub fn add_alias(&mut self, alias: &str, target: &str) -> Result<(), AliasError> {
        if self.index_of(alias).is_some() {
            return Err(AliasError::Taken { alias: alias.into() });
        }
        let Some(index) = self.index_of(target) else {
            return Err(AliasError::UnknownTarget { alias: alias.into(), target: target.into() });
        };
        let route = self.routes[index].with_id(alias, self.routes[index].thinking_mode);
        let key = if route.is_remote() { alias.to_owned() } else { alias.to_lowercase() };
        self.insert(key, Arc::new(route));
        Ok(())
    }

    /// Chooses among providers of equal priority by `policy`.
    pub fn set_policy(&mut self, policy: RoutingPolicy) {
        self.policy = policy;
        for route in &mut self.routes {
            Arc::make_mut(route).policy = policy;
        }
    }

    /// Tells callers which provider has answered, if `exposes`.
    pub fn expose_provider(&mut self, exposes: bool) {
        self.exposes_provider = exposes;
    }

    /// Lets requests take a budget so far below nothing.
    pub fn allow_overdraft(&mut self, overdraft: Overdraft) {
        self.overdraft = overdraft;
    }

    /// What is known of routes and targets that were there before goes on to be known.
    pub(crate) fn inherit_state(&mut self, older: &Self) {
        for route in &mut self.routes {
            let Some(known) =
                older.index_by_id.get(&*route.id).or_else(|| older.index_by_id.get(&route.id.to_lowercase()))
            else {
                continue;
            };
            let (route, known) = (Arc::make_mut(route), &older.routes[*known]);
            route.model_metrics = known.model_metrics.clone();
            let names = |route: &Route| route.targets.iter().map(|target| target.provider.clone()).collect::<Vec<_>>();
            if names(route) == names(known) {
                route.affinity = known.affinity.clone();
            }
            for target in &mut route.targets {
                let same = |other: &&Target| {
                    other.provider == target.provider && other.upstream_model == target.upstream_model
                };
                if let Some(known) = known.targets.iter().find(same) {
                    (target.breaker, target.active) = (known.breaker.clone(), known.active.clone());
                }
            }
        }
    }

    /// Looks up what every target costs.
    pub(crate) fn apply_prices(&mut self, prices: &Prices) {
        for route in &mut self.routes {
            for target in &mut Arc::make_mut(route).targets {
                let preset = match &target.backend {
                    Backend::Remote(upstream) => upstream.preset(),
                    Backend::Local(_) => None,
                };
                let price = |provider| prices.find(provider, &target.upstream_model);
                target.price = price(&target.provider).or_else(|| preset.and_then(price));
            }
        }
    }

    fn insert(&mut self, key: String, route: Arc<Route>) {
        self.index_by_id.insert(key, self.routes.len());
        self.routes.push(route);
    }

    fn index_of(&self, model: &str) -> Option<usize> {
        let local = |index: &&usize| !self.routes[**index].is_remote();
        self.index_by_id.get(model).or_else(|| self.index_by_id.get(&model.to_lowercase()).filter(local)).copied()
    }

    /// The route of an id. That of a provider elsewhere may end with `-thinking` or `-nothinking`.
    fn resolve(&self, model: &str) -> Option<Arc<Route>> {
        if let Some(index) = self.index_of(model) {
            return Some(self.routes[index].clone());
        }
        let modes = [("-nothinking", ThinkingMode::Never), ("-thinking", ThinkingMode::Always)];
        modes.into_iter().find_map(|(suffix, mode)| {
            let route = &self.routes[self.index_of(model.strip_suffix(suffix)?)?];
            route.is_remote().then(|| route.with_thinking_mode(model, mode))
        })
    }

    pub(crate) fn contains(&self, model: &str) -> bool {
        self.resolve(model).is_some()
    }

    /// The route of an id, if requests of this kind can go on as they came: all its targets speak
    /// it. What an id says about thinking is told in a field that only chat completions have.
    pub(crate) fn passthrough_route(&self, model: &str, passage: ApiEndpoint) -> Option<Arc<Route>> {
        let supports = |target: &Target| match &target.backend {
            Backend::Local(_) => false,
            Backend::Remote(upstream) => passage.is_supported_by(upstream.dialect()),
        };
        let is_expressible = |mode| mode == ThinkingMode::ProviderDecides || passage == ApiEndpoint::ChatCompletions;
        self.resolve(model).filter(|route| is_expressible(route.thinking_mode) && route.targets.iter().all(supports))
    }

    pub(crate) fn find(&self, caller: &Caller, model: &str) -> Result<Arc<Route>, Error> {
        let route = self.resolve(model).ok_or_else(|| Error::invalid("Model Not Exist"))?;
        check_model_access(caller, model, route)
    }

    /// Every route and its targets, for who operates them.
    pub(crate) fn route_infos(&self) -> impl Iterator<Item = RouteInfo> {
        self.routes.iter().map(|route| RouteInfo {
            id: route.id.clone(),
            targets: route.targets.iter().map(Target::status).collect(),
        })
    }

    pub(crate) fn model_infos(&self) -> impl Iterator<Item = ModelInfo> {
        self.routes.iter().map(|route| ModelInfo {
            id: route.id.clone(),
            owned_by: route.owned_by.clone(),
            price: route.targets.first().and_then(|target| target.price.clone()),
        })
    }

    /// The provider elsewhere of this name.
    pub(crate) fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.routes.iter().flat_map(|route| &route.targets).find_map(|target| match &target.backend {
            Backend::Remote(upstream) if **upstream.name() == *name => Some(upstream.clone()),
            _ => None,
        })
    }

    pub(crate) fn ready(&self) -> bool {
        self.routes.iter().flat_map(|route| &route.targets).all(|target| target.backend.provider().is_ready())
    }
}

/// # Errors
/// `Forbidden` when the caller's key may not use the model.
pub(crate) fn check_model_access(caller: &Caller, model: &str, route: Arc<Route>) -> Result<Arc<Route>, Error> {
    if !caller.may_use(model) {
        return Err(Error::new(ErrorKind::Forbidden, format!("This key may not use the model `{model}`")));
    }
    Ok(route)
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.model_infos()).finish()
    }
}
