//! The router: finds the route of a model id.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use chat::{EngineStatus, Error, ErrorKind, Provider};
use wire::passthrough::ApiEndpoint;

use crate::billing::overdraft::Overdraft;
use crate::keys::caller::Caller;
use crate::model_rows::ModelRows;
use crate::pricing::{LOCAL, Prices};
use crate::routing::active_requests::ActiveRequests;
use crate::routing::alias_error::AliasError;
use crate::routing::model_info::{ModelInfo, RouteInfo, UpstreamModel};
use crate::routing::route::Route;
use crate::routing::target::{Backend, RoutingPolicy, RoutingPreference, Target};
use crate::routing::thinking_mode::{LOCAL_MODEL_IDS, ThinkingMode};
use crate::routing::unknown_model::unknown_model;
use crate::upstream::remote_provider::Upstream;

/// Model ids and their routes. Ids of the local model are compared without case.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    /// Indices in `routes` by id: ids of the local model in lower case, ids of remote providers as
    /// they are.
    index_by_id: HashMap<String, usize>,
    /// Aliases of models that no provider offers yet, each with its target.
    pending_aliases: Vec<(String, String)>,
    /// Providers whose models are not known yet, because their list cannot be read.
    undiscovered: Vec<Arc<str>>,
    policy: RoutingPolicy,
    model_rows: ModelRows,
    pub(crate) exposes_provider: bool,
    pub(crate) overdraft: Overdraft,
}

impl Router {
    /// A router with one local model, under the ids of the family and under `name`, that of its
    /// folder.
    ///
    /// Under its own name the model thinks by default if `thinks_by_default`. A name that is an id
    /// of the family adds no route.
    pub fn for_local_model(provider: Arc<dyn Provider>, name: &str, thinks_by_default: bool) -> Self {
        let mut router = Self::default();
        let mut add = |id: &str, thinking_mode, owned_by: &str| {
            let target = Target {
                backend: Backend::Local(provider.clone()),
                provider: LOCAL.into(),
                upstream_model: id.into(),
                rules: Arc::default(),
                price: None,
                breaker: Arc::default(),
                active: ActiveRequests::default(),
                preference: RoutingPreference::default(),
            };
            let route = Route::new(id, thinking_mode, target, owned_by.into());
            router.insert(id.to_lowercase(), Arc::new(route));
        };
        LOCAL_MODEL_IDS.into_iter().for_each(|(id, mode)| add(id, mode, "deepseek"));
        if !name.is_empty() && !LOCAL_MODEL_IDS.iter().any(|(id, _)| id.eq_ignore_ascii_case(name)) {
            add(name, ThinkingMode::PerRequest { default: thinks_by_default }, "local");
        }
        router
    }

    /// Leaves models out of the list of models. Requests may still name them.
    pub fn unlist(&mut self, is_unlisted: impl Fn(&str) -> bool) {
        for route in self.routes.iter_mut().filter(|route| is_unlisted(&route.id)) {
            Arc::make_mut(route).is_listed = false;
        }
    }

    /// Notes a provider whose list of models has not been read. Until [`Router::add_upstream`] adds
    /// them, a request for an unknown model may be for one of them.
    pub fn await_models(&mut self, provider: &Arc<str>) {
        self.undiscovered.push(provider.clone());
    }

    /// Adds models of a remote provider, each under its own id and as `provider/id`. Ids of the
    /// local model stay local. Providers that offer the same id share its route.
    pub fn add_upstream(&mut self, upstream: &Arc<Upstream>, models: &[UpstreamModel], preference: RoutingPreference) {
        self.undiscovered.retain(|provider| provider != upstream.name());
        for UpstreamModel { id, upstream_name } in models {
            let target = Target {
                backend: Backend::Remote(upstream.clone()),
                provider: upstream.name().clone(),
                upstream_model: upstream_name.as_str().into(),
                rules: Arc::new(upstream.request_rules(&self.model_rows, upstream_name)),
                price: None,
                // Shared by both ids, so that health is tracked once per provider.
                breaker: Arc::default(),
                active: ActiveRequests::default(),
                preference,
            };
            self.add_target(id, target.clone());
            self.add_target(&format!("{}/{id}", upstream.name()), target);
        }
        for (alias, target) in std::mem::take(&mut self.pending_aliases) {
            self.alias_when_available(&alias, &target);
        }
    }

    /// Adds an alias of `target` as soon as a provider offers that model. An alias that is already
    /// a model id is skipped.
    pub fn alias_when_available(&mut self, alias: &str, target: &str) {
        match self.add_alias(alias, target) {
            Ok(()) => {}
            Err(AliasError::UnknownTarget { .. }) => self.pending_aliases.push((alias.into(), target.into())),
            Err(error @ AliasError::Taken { .. }) => tracing::warn!(%error, "skipped alias"),
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

    /// Adds `alias` as another id of `target`.
    ///
    /// # Errors
    /// `target` is unknown, or `alias` is already a model id.
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

    /// Sets the order of providers of equal priority.
    pub fn set_policy(&mut self, policy: RoutingPolicy) {
        self.policy = policy;
        for route in &mut self.routes {
            Arc::make_mut(route).policy = policy;
        }
    }

    /// Sets what models take, for the models that are added later.
    pub fn set_model_rows(&mut self, rows: ModelRows) {
        self.model_rows = rows;
    }

    /// Sets whether callers receive the name of the provider that answered.
    pub fn expose_provider(&mut self, exposes: bool) {
        self.exposes_provider = exposes;
    }

    /// Sets how far a request may overdraw a budget.
    pub fn allow_overdraft(&mut self, overdraft: Overdraft) {
        self.overdraft = overdraft;
    }

    /// Carries metrics, health and affinity over from the previous router, for routes and targets
    /// that still exist.
    pub(crate) fn inherit_state(&mut self, older: &Self) {
        for route in &mut self.routes {
            let Some(known) =
                older.index_by_id.get(&*route.id).or_else(|| older.index_by_id.get(&route.id.to_lowercase()))
            else {
                continue;
            };
            let known = &older.routes[*known];
            let route = Arc::make_mut(route);
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

    /// Looks up the price of every target.
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

    /// Logs the providers that keys with budgets do not get, because they have no price for a model
    /// that has one elsewhere. With `added`, only for models that this provider offers.
    pub(crate) fn log_missing_prices(&self, added: Option<&str>) {
        let is_meant = |target: &Target| added.is_none_or(|name| *target.provider == *name);
        for route in self.routes.iter().filter(|route| route.targets.iter().any(is_meant)) {
            if route.targets.iter().all(|target| target.price.is_none()) {
                continue;
            }
            for target in route.targets.iter().filter(|target| target.price.is_none()) {
                tracing::warn!(
                    provider = &*target.provider,
                    model = &*route.id,
                    "no price: keys with a budget are answered by the other providers of the model"
                );
            }
        }
    }

    /// Adds a route under a key of `index_by_id`.
    fn insert(&mut self, key: String, route: Arc<Route>) {
        self.index_by_id.insert(key, self.routes.len());
        self.routes.push(route);
    }

    fn index_of(&self, model: &str) -> Option<usize> {
        let local = |index: &&usize| !self.routes[**index].is_remote();
        self.index_by_id.get(model).or_else(|| self.index_by_id.get(&model.to_lowercase()).filter(local)).copied()
    }

    /// The route of an id. An id of a remote provider may end with `-thinking` or `-nothinking`.
    fn resolve(&self, model: &str) -> Option<Arc<Route>> {
        if let Some(index) = self.index_of(model) {
            return Some(self.routes[index].clone());
        }
        let modes = [("-nothinking", ThinkingMode::Never), ("-thinking", ThinkingMode::Always)];
        modes.into_iter().find_map(|(suffix, mode)| {
            let route = &self.routes[self.index_of(model.strip_suffix(suffix)?)?];
            route.is_remote().then(|| Arc::new(route.with_id(model, mode)))
        })
    }

    pub(crate) fn contains(&self, model: &str) -> bool {
        self.resolve(model).is_some()
    }

    /// The route of an id, if requests of this endpoint can be passed through: the dialects of all
    /// targets have the endpoint. An id that sets the thinking mode needs chat completions, the
    /// only endpoint with a field for it.
    pub(crate) fn passthrough_route(&self, model: &str, endpoint: ApiEndpoint) -> Option<Arc<Route>> {
        let supports = |target: &Target| match &target.backend {
            Backend::Local(_) => false,
            Backend::Remote(upstream) => upstream.forwards(endpoint),
        };
        let is_expressible = |mode| mode == ThinkingMode::ProviderDecides || endpoint == ApiEndpoint::ChatCompletions;
        self.resolve(model).filter(|route| is_expressible(route.thinking_mode) && route.targets.iter().all(supports))
    }

    /// The route of an id that the caller may use.
    ///
    /// # Errors
    /// `Invalid` for an unknown model, `Overloaded` for one that may be of a provider whose models
    /// are not known yet, `Forbidden` when the caller's key may not use it.
    pub(crate) fn find(&self, caller: &Caller, model: &str) -> Result<Arc<Route>, Error> {
        let route = self.resolve(model).ok_or_else(|| {
            caller.set_model(None);
            unknown_model(&self.routes, &self.undiscovered, caller, model)
        })?;
        check_model_access(caller, model, route)
    }

    /// Every route and the state of its targets, for operators.
    pub(crate) fn route_infos(&self) -> impl Iterator<Item = RouteInfo> {
        self.routes.iter().map(|route| RouteInfo {
            id: route.id.clone(),
            targets: route.targets.iter().map(Target::status).collect(),
        })
    }

    /// The list of models, in the order in which they were added.
    pub(crate) fn model_infos(&self) -> impl Iterator<Item = ModelInfo> {
        self.routes.iter().filter(|route| route.is_listed).map(|route| ModelInfo {
            id: route.id.clone(),
            owned_by: route.owned_by.clone(),
            price: route.targets.first().and_then(|target| target.price.clone()),
            context: route.targets.first().and_then(Target::context),
        })
    }

    /// The remote provider of this name.
    pub(crate) fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.routes.iter().flat_map(|route| &route.targets).find_map(|target| match &target.backend {
            Backend::Remote(upstream) if **upstream.name() == *name => Some(upstream.clone()),
            _ => None,
        })
    }

    /// The remote providers of the models that the caller may use.
    pub(crate) fn upstreams_for(&self, caller: &Caller) -> BTreeMap<Arc<str>, Arc<Upstream>> {
        let usable = self.routes.iter().filter(|route| caller.may_use(&route.id)).flat_map(|route| &route.targets);
        let remote = usable.filter_map(|target| match &target.backend {
            Backend::Remote(upstream) => Some((upstream.name().clone(), upstream.clone())),
            Backend::Local(_) => None,
        });
        remote.collect()
    }

    /// The state of the engine of the local model; `None` without one.
    pub(crate) fn engine_status(&self) -> Option<EngineStatus> {
        let mut targets = self.routes.iter().flat_map(|route| &route.targets);
        targets.find_map(|target| target.backend.provider().engine_status())
    }

    /// Whether every provider is ready to answer.
    pub(crate) fn ready(&self) -> bool {
        self.routes.iter().flat_map(|route| &route.targets).all(|target| target.backend.provider().is_ready())
    }
}

/// Returns `route` if the caller may use the model.
///
/// # Errors
/// `Forbidden` when the caller's key may not use it.
pub(crate) fn check_model_access(caller: &Caller, model: &str, route: Arc<Route>) -> Result<Arc<Route>, Error> {
    caller.set_model(Some(&route.id));
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
