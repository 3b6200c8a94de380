//! Which provider answers a model id, and in which mode.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chat::{Chat, Error, ErrorKind, Provider};

use crate::Caller;
use crate::price::LOCAL;

/// The ids any model of the family answers to, and their modes (API document 1.1).
const FAMILY: [(&str, Mode); 8] = [
    ("deepseek-chat", Mode::Asked),
    ("deepseek-reasoner", Mode::Always),
    ("deepseek-v3.2-exp", Mode::Open { otherwise: false }),
    ("DeepSeek-V3.2-Exp-thinking", Mode::Always),
    ("DeepSeek-V3.2-Exp-nothinking", Mode::Never),
    ("deepseek-v3.2", Mode::Open { otherwise: false }),
    ("deepseek-v3.2-thinking", Mode::Always),
    ("deepseek-v3.2-nothinking", Mode::Never),
];

/// What an id says about thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Always,
    Never,
    /// Only when `thinking` asks for it.
    Asked,
    /// `thinking` decides, then `reasoning_effort`.
    Open {
        otherwise: bool,
    },
}

impl Mode {
    /// The mode of one request.
    pub(crate) fn thinks(self, chat: &Chat) -> bool {
        let effort = || chat.reasoning_effort.as_deref().map(|effort| effort != "none");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Asked => chat.thinking.unwrap_or(false),
            Self::Open { otherwise } => chat.thinking.or_else(effort).unwrap_or(otherwise),
        }
    }
}

/// Whether a request thinks, by its model id and its own words. An id outside the family leaves the choice to the request,
/// and then to `otherwise`.
pub fn thinks(chat: &Chat, otherwise: bool) -> bool {
    let known = FAMILY.iter().find(|(id, _)| id.eq_ignore_ascii_case(&chat.model));
    known.map_or(Mode::Open { otherwise }, |(_, mode)| *mode).thinks(chat)
}

/// Where requests for one id go.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) id: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) provider: Arc<dyn Provider>,
    /// What records and prices call the provider.
    pub(crate) upstream: Arc<str>,
    owned_by: Arc<str>,
}

/// One line of the list of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: Arc<str>,
    pub owned_by: Arc<str>,
}

/// Model ids, in any case, and where they lead.
#[derive(Clone, Default)]
pub struct Routes {
    routes: Vec<Route>,
    /// Lower-case id to place in `routes`.
    places: HashMap<String, usize>,
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
        for (id, mode) in FAMILY {
            routes.add(Route {
                id: id.into(),
                mode,
                provider: provider.clone(),
                upstream: LOCAL.into(),
                owned_by: "deepseek".into(),
            });
        }
        if !name.is_empty() && !routes.places.contains_key(&name.to_lowercase()) {
            let mode = Mode::Open { otherwise: thinks_by_default };
            routes.add(Route { id: name.into(), mode, provider, upstream: LOCAL.into(), owned_by: "local".into() });
        }
        routes
    }

    /// Lets `alias` mean what `target` means.
    ///
    /// # Errors
    /// When `target` is unknown, or `alias` already means something.
    pub fn alias(&mut self, alias: &str, target: &str) -> Result<(), AliasError> {
        if self.places.contains_key(&alias.to_lowercase()) {
            return Err(AliasError::Taken { alias: alias.into() });
        }
        let Some(&place) = self.places.get(&target.to_lowercase()) else {
            return Err(AliasError::UnknownTarget { alias: alias.into(), target: target.into() });
        };
        self.add(Route { id: alias.into(), ..self.routes[place].clone() });
        Ok(())
    }

    fn add(&mut self, route: Route) {
        self.places.insert(route.id.to_lowercase(), self.routes.len());
        self.routes.push(route);
    }

    pub(crate) fn knows(&self, model: &str) -> bool {
        self.places.contains_key(&model.to_lowercase())
    }

    pub(crate) fn find(&self, caller: &Caller, model: &str) -> Result<&Route, Error> {
        let place = self.places.get(&model.to_lowercase()).ok_or_else(|| Error::invalid("Model Not Exist"))?;
        if !caller.may_use(model) {
            return Err(Error::new(ErrorKind::Forbidden, format!("This key may not use the model `{model}`")));
        }
        Ok(&self.routes[*place])
    }

    pub(crate) fn listed(&self) -> impl Iterator<Item = Listed> {
        self.routes.iter().map(|route| Listed { id: route.id.clone(), owned_by: route.owned_by.clone() })
    }

    pub(crate) fn ready(&self) -> bool {
        self.routes.iter().all(|route| route.provider.ready())
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.listed()).finish()
    }
}
