//! Which providers answer a model id, in which mode, and which of them first.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chat::{Error, ErrorKind, Provider};
use wire::passthrough::ApiEndpoint;

use crate::Caller;
use crate::affinity::{self, Affinity, Beginning, Load};
use crate::instruments::Instruments;
use crate::overdraft::Overdraft;
use crate::price::{LOCAL, Price, Prices};
use crate::target::{Place, Policy, Rank, Standing, Target, chance};
use crate::upstream::Upstream;
use mode::FAMILY;
pub(crate) use mode::Mode;
pub use mode::thinks;

mod mode;

/// Where requests for one id go.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) id: Arc<str>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) mode: Mode,
    /// At least one.
    pub(crate) targets: Vec<Target>,
    affinity: Arc<Affinity>,
    owned_by: Arc<str>,
    policy: Policy,
}

impl Route {
    fn new(id: &str, mode: Mode, target: Target, owned_by: Arc<str>) -> Self {
        let id: Arc<str> = id.into();
        let instruments = Instruments::new(id.clone());
        Self {
            instruments,
            id,
            mode,
            targets: vec![target],
            affinity: Arc::default(),
            owned_by,
            policy: Policy::default(),
        }
    }

    /// The same under another id.
    fn named(&self, id: &str, mode: Mode) -> Self {
        let id: Arc<str> = id.into();
        Self { instruments: Instruments::new(id.clone()), id, mode, ..self.clone() }
    }

    /// The targets in the order they are to be tried: those that work first, then by priority; among equals the one that
    /// has read the beginning of the prompt before, unless it is much busier than another; then one at which nobody waits; then
    /// by lot. Where nobody has read it, the prompt itself draws the first lot, so that machines which know nothing of each other agree.
    pub(crate) fn order(&self, beginning: impl FnOnce() -> Beginning) -> Vec<Target> {
        if let [only] = self.targets.as_slice() {
            return vec![only.clone()];
        }
        let beginning = beginning();
        let least = self.targets.iter().map(Target::busy).min().unwrap_or(0);
        let has_room = |place: &usize| affinity::has_room(self.targets[*place].busy(), least);
        let known = self.affinity.find(&beginning).filter(|place| *place < self.targets.len());
        let meet = || self.meeting_place(&beginning).filter(|_| self.policy == Policy::Weight);
        let knows = known.or_else(meet).filter(has_room);
        // One request in twenty finds out how the others have become.
        let policy = if self.policy == Policy::Latency && chance() < 0.05 { Policy::Weight } else { self.policy };
        let ranked = self.targets.iter().enumerate();
        let mut ranked: Vec<_> =
            ranked.map(|(place, target)| (target.key(knows == Some(place), policy), place)).collect();
        ranked.sort_by(|(a, _), (b, _)| a.partial_cmp(b).expect("no key is NaN"));
        self.affinity.remember(&beginning, ranked[0].1);
        ranked.into_iter().map(|(_, place)| self.targets[place].clone()).collect()
    }

    /// Of the targets that would be tried first, the one that the beginning of a prompt draws (rendezvous hashing).
    fn meeting_place(&self, beginning: &Beginning) -> Option<usize> {
        // Who has failed is tried by one request at a time, which is not decided here.
        let works = self.targets.iter().enumerate().filter(|(_, target)| target.health.works());
        let keyed = works.filter_map(|(place, target)| {
            let lot = target.lot(beginning.lot(&target.upstream)?);
            Some(((target.rank.priority, lot), place))
        });
        keyed.min_by(|(a, _), (b, _)| a.partial_cmp(b).expect("no key is NaN")).map(|(_, place)| place)
    }

    /// The same model, told to think or not to.
    fn in_mode(&self, id: &str, mode: Mode) -> Arc<Self> {
        Arc::new(self.named(id, mode))
    }

    fn is_remote(&self) -> bool {
        self.targets.iter().all(|target| matches!(target.place, Place::Remote(_)))
    }
}

/// A model of a provider elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What callers ask for.
    pub id: String,
    /// What the provider calls it.
    pub name: String,
}

impl<T: Into<String>> From<T> for Model {
    /// By the provider's own name.
    fn from(id: T) -> Self {
        let id = id.into();
        Self { name: id.clone(), id }
    }
}

/// One line of the list of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: Arc<str>,
    pub owned_by: Arc<str>,
    pub price: Option<Arc<Price>>,
}

/// One id and who answers it.
#[derive(Clone, Debug)]
pub struct Routed {
    pub id: Arc<str>,
    pub targets: Vec<Standing>,
}

/// Model ids and where they lead. Those of the local model count in any case.
#[derive(Clone, Default)]
pub struct Routes {
    routes: Vec<Arc<Route>>,
    /// Local ids in lower case, and exact ids of other providers, to places in `routes`.
    places: HashMap<String, usize>,
    /// Aliases whose targets are not known yet.
    waiting: Vec<(String, String)>,
    policy: Policy,
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

impl Routes {
    /// Routes of one local model: the ids of the family, and `name` (that of its folder).
    ///
    /// A name that is an id of the family adds nothing. Under its own name the model thinks by default if
    /// `thinks_by_default` says so, as a model must that cannot do otherwise.
    pub fn local(provider: Arc<dyn Provider>, name: &str, thinks_by_default: bool) -> Self {
        let mut routes = Self::default();
        let mut add = |id: &str, mode, owned_by: &str| {
            let target = Target {
                place: Place::Local(provider.clone()),
                upstream: LOCAL.into(),
                model: id.into(),
                price: None,
                health: Arc::default(),
                load: Load::default(),
                rank: Rank::default(),
            };
            let route = Route::new(id, mode, target, owned_by.into());
            routes.add(id.to_lowercase(), Arc::new(route));
        };
        FAMILY.into_iter().for_each(|(id, mode)| add(id, mode, "deepseek"));
        if !name.is_empty() && !FAMILY.iter().any(|(id, _)| id.eq_ignore_ascii_case(name)) {
            add(name, Mode::Open { otherwise: thinks_by_default }, "local");
        }
        routes
    }

    /// Adds models of a provider elsewhere, each under its own id and as `provider/id`. A local id stays local; where
    /// several providers have an id, they share it.
    pub fn remote(&mut self, upstream: &Arc<Upstream>, models: &[Model], rank: Rank) {
        for Model { id, name } in models {
            let target = Target {
                place: Place::Remote(upstream.clone()),
                upstream: upstream.name().clone(),
                model: name.as_str().into(),
                price: None,
                // Under both its ids it is as well as it is.
                health: Arc::default(),
                load: Load::default(),
                rank,
            };
            self.share(id, target.clone());
            self.share(&format!("{}/{id}", upstream.name()), target);
        }
        for (alias, target) in std::mem::take(&mut self.waiting) {
            self.alias_later(&alias, &target);
        }
    }

    /// Lets `alias` mean what `target` means as soon as some provider offers it. An id that is taken stays what it is.
    pub fn alias_later(&mut self, alias: &str, target: &str) {
        match self.alias(alias, target) {
            Ok(()) => {}
            Err(AliasError::UnknownTarget { .. }) => self.waiting.push((alias.into(), target.into())),
            Err(error @ AliasError::Taken { .. }) => tracing::warn!(%error, "an alias is not used"),
        }
    }

    fn share(&mut self, id: &str, target: Target) {
        if let Some(place) = self.place(id) {
            let route = Arc::make_mut(&mut self.routes[place]);
            let known = route.targets.iter().any(|other| other.upstream == target.upstream);
            if route.is_remote() && !known {
                route.targets.push(target);
            }
            return;
        }
        let owned_by = target.upstream.clone();
        let route = Route { policy: self.policy, ..Route::new(id, Mode::Elsewhere, target, owned_by) };
        self.add(id.to_owned(), Arc::new(route));
    }

    /// Lets `alias` mean what `target` means.
    ///
    /// # Errors
    /// When `target` is unknown, or `alias` already means something.
    pub fn alias(&mut self, alias: &str, target: &str) -> Result<(), AliasError> {
        if self.place(alias).is_some() {
            return Err(AliasError::Taken { alias: alias.into() });
        }
        let Some(place) = self.place(target) else {
            return Err(AliasError::UnknownTarget { alias: alias.into(), target: target.into() });
        };
        let route = self.routes[place].named(alias, self.routes[place].mode);
        let key = if route.is_remote() { alias.to_owned() } else { alias.to_lowercase() };
        self.add(key, Arc::new(route));
        Ok(())
    }

    /// Chooses among providers of equal priority by `policy`.
    pub fn choose_by(&mut self, policy: Policy) {
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
    pub(crate) fn inherit(&mut self, older: &Self) {
        for route in &mut self.routes {
            let Some(known) = older.places.get(&*route.id).or_else(|| older.places.get(&route.id.to_lowercase()))
            else {
                continue;
            };
            let (route, known) = (Arc::make_mut(route), &older.routes[*known]);
            route.instruments = known.instruments.clone();
            let names = |route: &Route| route.targets.iter().map(|target| target.upstream.clone()).collect::<Vec<_>>();
            if names(route) == names(known) {
                route.affinity = known.affinity.clone();
            }
            for target in &mut route.targets {
                let same = |other: &&Target| other.upstream == target.upstream && other.model == target.model;
                if let Some(known) = known.targets.iter().find(same) {
                    (target.health, target.load) = (known.health.clone(), known.load.clone());
                }
            }
        }
    }

    /// Looks up what every target costs.
    pub(crate) fn price(&mut self, prices: &Prices) {
        for route in &mut self.routes {
            for target in &mut Arc::make_mut(route).targets {
                let row = match &target.place {
                    Place::Remote(upstream) => upstream.row(),
                    Place::Local(_) => None,
                };
                let price = |provider| prices.find(provider, &target.model);
                target.price = price(&target.upstream).or_else(|| row.and_then(price));
            }
        }
    }

    fn add(&mut self, key: String, route: Arc<Route>) {
        self.places.insert(key, self.routes.len());
        self.routes.push(route);
    }

    fn place(&self, model: &str) -> Option<usize> {
        let local = |place: &&usize| !self.routes[**place].is_remote();
        self.places.get(model).or_else(|| self.places.get(&model.to_lowercase()).filter(local)).copied()
    }

    /// The route of an id. That of a provider elsewhere may end with `-thinking` or `-nothinking`.
    fn route(&self, model: &str) -> Option<Arc<Route>> {
        if let Some(place) = self.place(model) {
            return Some(self.routes[place].clone());
        }
        let modes = [("-nothinking", Mode::Never), ("-thinking", Mode::Always)];
        modes.into_iter().find_map(|(suffix, mode)| {
            let route = &self.routes[self.place(model.strip_suffix(suffix)?)?];
            route.is_remote().then(|| route.in_mode(model, mode))
        })
    }

    pub(crate) fn knows(&self, model: &str) -> bool {
        self.route(model).is_some()
    }

    /// The route of an id, if requests of this kind can go on as they came: all its targets speak it. What an id says about
    /// thinking is told in a field that only chat completions have.
    pub(crate) fn passes(&self, model: &str, passage: ApiEndpoint) -> Option<Arc<Route>> {
        let speaks = |target: &Target| match &target.place {
            Place::Local(_) => false,
            Place::Remote(upstream) => passage.is_supported_by(upstream.dialect()),
        };
        let sayable = |mode| mode == Mode::Elsewhere || passage == ApiEndpoint::ChatCompletions;
        self.route(model).filter(|route| sayable(route.mode) && route.targets.iter().all(speaks))
    }

    pub(crate) fn find(&self, caller: &Caller, model: &str) -> Result<Arc<Route>, Error> {
        let route = self.route(model).ok_or_else(|| Error::invalid("Model Not Exist"))?;
        permitted(caller, model, route)
    }

    /// Every route and its targets, for who operates them.
    pub(crate) fn table(&self) -> impl Iterator<Item = Routed> {
        self.routes
            .iter()
            .map(|route| Routed { id: route.id.clone(), targets: route.targets.iter().map(Target::standing).collect() })
    }

    pub(crate) fn listed(&self) -> impl Iterator<Item = Listed> {
        self.routes.iter().map(|route| Listed {
            id: route.id.clone(),
            owned_by: route.owned_by.clone(),
            price: route.targets.first().and_then(|target| target.price.clone()),
        })
    }

    /// The provider elsewhere of this name.
    pub(crate) fn upstream(&self, name: &str) -> Option<Arc<Upstream>> {
        self.routes.iter().flat_map(|route| &route.targets).find_map(|target| match &target.place {
            Place::Remote(upstream) if **upstream.name() == *name => Some(upstream.clone()),
            _ => None,
        })
    }

    pub(crate) fn ready(&self) -> bool {
        self.routes.iter().flat_map(|route| &route.targets).all(|target| target.place.provider().is_ready())
    }
}

/// # Errors
/// `Forbidden` when the caller's key may not use the model.
pub(crate) fn permitted(caller: &Caller, model: &str, route: Arc<Route>) -> Result<Arc<Route>, Error> {
    if !caller.may_use(model) {
        return Err(Error::new(ErrorKind::Forbidden, format!("This key may not use the model `{model}`")));
    }
    Ok(route)
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.listed()).finish()
    }
}
