//! The whole path of a request: route, judge, answer, meter.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chat::{BoxDeltaStream, Chat, Error, Input, Part};
use futures_util::StreamExt;
use store::Role;

use crate::accounts::Holder;
use crate::affinity::Beginning;
use crate::attempt::{self, Asking, Budget};
use crate::bill::Bill;
use crate::books::Books;
use crate::inflight::{Owner, RequestMemory};
use crate::meter::{Meter, Metered};
use crate::overdraft::Overdraft;
use crate::price::Prices;
use crate::route::{Listed, Model, Routed, Routes};
use crate::size::Size;
use crate::target::{Place, Rank, Target};
use crate::upstream::Upstream;
use crate::work::{QUICK_BYTES, aside};

/// Most bytes that the tokens of a prompt are taken to need.
const PROMPT_TOKENS: usize = 1 << 20;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The name of the key, never the key. `None` on a server without keys.
    pub key: Option<Arc<str>>,
    /// The only models this key may use, in any case. `None`: all.
    pub models: Option<Arc<[String]>>,
    /// The key's row in the store, with its money and pace. `None` for keys of the configuration.
    pub holder: Option<Arc<Holder>>,
    /// What it may do beside asking models.
    pub role: Role,
    /// The trace this request belongs to: a W3C `traceparent`. Providers in one's own network are told.
    pub trace: Option<String>,
    /// The memory that this request holds.
    pub memory: RequestMemory,
}

impl From<Arc<Holder>> for Caller {
    fn from(holder: Arc<Holder>) -> Self {
        let (key, models, role) = (Some(holder.name.clone()), holder.models.clone(), holder.role());
        Self { key, models, role, holder: Some(holder), trace: None, memory: RequestMemory::default() }
    }
}

impl Caller {
    /// The owner whose share of memory its requests use.
    pub fn owner(&self, peer: IpAddr) -> Owner {
        match self.holder.as_ref().map(|holder| &holder.id).or(self.key.as_ref()) {
            Some(key) => Owner::Key(key.clone()),
            None => Owner::Peer(peer.to_canonical()),
        }
    }

    /// A user within this key, so that callers with different keys share no cache. The name of no key holds a NUL, which
    /// a slash would not promise: `a` with the user `b/c` is not `a/b` with the user `c`.
    fn scoped(&self, user: Option<String>) -> Option<String> {
        // Names may be used again after a key was revoked, ids never.
        match self.holder.as_ref().map(|holder| &holder.id).or(self.key.as_ref()) {
            Some(key) => Some(format!("{key}\0{}", user.unwrap_or_default())),
            None => user,
        }
    }

    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|allowed| allowed.eq_ignore_ascii_case(model)))
    }
}

/// Answers chats by handing each to the provider of its model.
pub struct Gateway {
    pub(crate) routes: ArcSwap<Routes>,
    pub(crate) retries: Arc<Budget>,
    pub(crate) books: Arc<Books>,
    /// Notes already in the log, by key.
    noted: Mutex<HashSet<(Option<Arc<str>>, String)>>,
}

impl Gateway {
    pub fn new(mut routes: Routes, books: Arc<Books>) -> Self {
        routes.price(&books.prices.load());
        Self { routes: ArcSwap::from_pointee(routes), retries: Budget::new(), books, noted: Mutex::default() }
    }

    /// Adds what a provider elsewhere offers. Running answers go on as they began.
    pub fn offer(&self, upstream: &Arc<Upstream>, models: &[Model], rank: Rank) {
        self.routes.rcu(|routes| {
            let mut routes = Routes::clone(routes);
            routes.remote(upstream, models, rank);
            routes.price(&self.books.prices.load());
            routes
        });
    }

    /// Other routes and prices from now on. Running answers go on as they began, and what is known of providers that stay is kept.
    pub fn replace(&self, mut routes: Routes, prices: Prices) {
        self.books.prices.store(Arc::new(prices));
        routes.price(&self.books.prices.load());
        routes.inherit(&self.routes.load());
        self.routes.store(Arc::new(routes));
    }

    /// Every model id and who answers it.
    pub fn table(&self) -> Vec<Routed> {
        self.routes.load().table().collect()
    }

    /// Keys, prices and records.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Starts an answer.
    ///
    /// Resolves when the provider has admitted the request. Dropping the stream cancels it; either way it is metered once.
    ///
    /// # Errors
    /// In the order of the API document (0.5): `Invalid` for an unknown model (`Model Not Exist`), `Forbidden` when the key
    /// may not use it, `Balance` and `Rate` when it has used up what it may, `Invalid` for a range or a structure the
    /// provider refuses, `Overload` when the request cannot be recorded; what the provider's own admission says.
    pub async fn answer(&self, caller: &Caller, mut chat: Chat) -> Result<Metered, Error> {
        let route = self.routes.load().find(caller, &chat.model)?;
        chat.thinking = route.mode.thinks(&chat);
        let mut meter = Meter::start(&route.instruments);
        let memory = &caller.memory;
        let is_local = matches!(route.targets[0].place, Place::Local(_));
        let weigh = move |chat: &mut Chat| Ok((Size::of(chat, is_local)?, beginning(chat), chat.memory_bytes()));
        let (mut chat, (size, beginning, bytes)) = meter.watch(on_chat(memory, chat, weigh).await)?;
        let targets = route.order(|| beginning);
        let overdraft = self.overdraft();
        let mut bill = meter.watch(Bill::admit(&self.books, caller, &route.id, &targets, size, overdraft).await)?;
        chat.affordable_tokens = bill.cap.map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
        if let Place::Local(provider) = &targets[0].place {
            let provider = provider.clone();
            let checked = on_chat(memory, chat, move |chat| provider.validate(chat)).await;
            (chat, ()) = meter.watch(checked)?;
        }
        let thinking = chat.thinking == Some(true);
        let mut notes = std::mem::take(&mut chat.notes);
        notes.extend(dropped(&targets, &chat));
        self.log_notes(caller, &notes);
        meter.watch(bill.begin())?;
        let chosen = bill.chosen();
        meter.pays(bill);
        let deltas = match &targets[0].place {
            Place::Local(provider) => {
                chat.user = caller.scoped(chat.user);
                // Of the prompt, its tokens stay until the answer has ended.
                let tokens = meter.watch(memory.hold(bytes.saturating_mul(size_of::<u32>()).min(PROMPT_TOKENS)))?;
                let deltas = meter.watch(provider.chat(chat).await)?;
                Box::pin(deltas.inspect(move |_| _ = &tokens)) as BoxDeltaStream
            }
            Place::Remote(_) => {
                chat.traceparent.clone_from(&caller.trace);
                let asking = Asking { chat: Arc::new(chat), bytes, memory: memory.clone() };
                attempt::answer(targets, asking, chosen.clone(), self.retries.clone())
            }
        };
        Ok(Metered::new(deltas, meter, chosen, thinking, notes, memory.clone()))
    }

    /// The tokens of a chat's prompt, judged as [`Gateway::answer`] would.
    ///
    /// # Errors
    /// As [`Gateway::answer`].
    pub async fn count(&self, caller: &Caller, mut chat: Chat) -> Result<u64, Error> {
        let route = self.routes.load().find(caller, &chat.model)?;
        chat.thinking = route.mode.thinks(&chat);
        let place = route.targets[0].place.clone();
        let (chat, ()) = match &place {
            Place::Local(provider) => {
                let provider = provider.clone();
                on_chat(&caller.memory, chat, move |chat| provider.validate(chat)).await?
            }
            Place::Remote(_) => (chat, ()),
        };
        place.provider().count_tokens(chat).await
    }

    /// The models this caller may use, in the order of the API document.
    pub fn models(&self, caller: &Caller) -> Vec<Listed> {
        self.routes.load().listed().filter(|listed| caller.may_use(&listed.id)).collect()
    }

    /// Every model and what it costs.
    pub fn catalogue(&self) -> Vec<Listed> {
        self.routes.load().listed().collect()
    }

    /// Some model answers to this id.
    pub fn knows(&self, model: &str) -> bool {
        self.routes.load().knows(model)
    }

    /// How far a request may take a budget below nothing.
    pub(crate) fn overdraft(&self) -> Overdraft {
        self.routes.load().overdraft
    }

    /// Callers are told which provider has answered.
    pub fn exposes_provider(&self) -> bool {
        self.routes.load().exposes_provider
    }

    /// Every provider is able to answer.
    pub fn ready(&self) -> bool {
        self.routes.load().ready()
    }

    /// What was accepted although DeepSeek's service would refuse it, or not passed on, once per key.
    fn log_notes(&self, caller: &Caller, notes: &[String]) {
        for note in notes {
            // A set of strings is whole even when a holder panicked.
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.insert((caller.key.clone(), note.clone())) {
                tracing::info!(
                    key = caller.key.as_deref(),
                    note,
                    "accepted what DeepSeek's service would refuse, or could not be passed on"
                );
            }
        }
    }
}

/// Does `work` on a chat: aside, where the chat is large.
async fn on_chat<T: Send + 'static>(
    memory: &RequestMemory,
    mut chat: Chat,
    work: impl FnOnce(&mut Chat) -> Result<T, Error> + Send + 'static,
) -> Result<(Chat, T), Error> {
    let bytes = if chat.exceeds_bytes(QUICK_BYTES) { QUICK_BYTES + 1 } else { 0 };
    aside(memory, bytes, move || work(&mut chat).map(|made| (chat, made))).await
}

/// What of a chat some of these providers cannot be told.
fn dropped(targets: &[Target], chat: &Chat) -> Option<String> {
    let mut dropped = Vec::new();
    for target in targets {
        if let Place::Remote(upstream) = &target.place {
            dropped.extend(upstream.dialect().unsupported_params(chat));
        }
    }
    dropped.sort_unstable();
    dropped.dedup();
    (!dropped.is_empty()).then(|| format!("dropped: {}", dropped.join(", ")))
}

/// The texts of its messages: what a provider's cache would be asked for.
fn beginning(chat: &Chat) -> Beginning {
    let Input::Messages(messages) = &chat.input else { return Beginning::default() };
    let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
    Beginning::of(parts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_bytes()) } else { None }))
}

#[cfg(test)]
mod tests;
