//! The whole path of a request: route, judge, answer, meter.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use chat::{BoxDeltaStream, Chat, Error, Input, Part};
use futures_util::StreamExt;
use store::Role;

use crate::billing::accounting::Accounting;
use crate::billing::charge::Charge;
use crate::billing::metered_stream::MeteredStream;
use crate::billing::overdraft::Overdraft;
use crate::billing::request_meter::RequestMeter;
use crate::billing::usage_estimate::UsageEstimate;
use crate::keys::key_cache::ApiKey;
use crate::memory::inflight_budget::{MemoryOwner, RequestMemory};
use crate::offload::{INLINE_MAX_BYTES, offload};
use crate::pricing::Prices;
use crate::routing::failover::{self, OutgoingChat, RetryBudget};
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::router::{ModelInfo, RouteInfo, Router, UpstreamModel};
use crate::routing::target::{Backend, RoutingPreference, Target};
use crate::upstream::remote_provider::Upstream;

/// Most bytes that the tokens of a prompt are taken to need.
const MAX_PROMPT_TOKEN_BYTES: usize = 1 << 20;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The name of the key, never the key. `None` on a server without keys.
    pub key_name: Option<Arc<str>>,
    /// The only models this key may use, in any case. `None`: all.
    pub allowed_models: Option<Arc<[String]>>,
    /// The key's row in the store, with its money and pace. `None` for keys of the configuration.
    pub api_key: Option<Arc<ApiKey>>,
    /// What it may do beside asking models.
    pub role: Role,
    /// The trace this request belongs to: a W3C `traceparent`. Providers in one's own
    /// network are told.
    pub traceparent: Option<String>,
    /// The memory that this request holds.
    pub memory: RequestMemory,
}

impl From<Arc<ApiKey>> for Caller {
    fn from(api_key: Arc<ApiKey>) -> Self {
        let (key, models, role) = (Some(api_key.name.clone()), api_key.allowed_models.clone(), api_key.role());
        Self {
            key_name: key,
            allowed_models: models,
            role,
            api_key: Some(api_key),
            traceparent: None,
            memory: RequestMemory::default(),
        }
    }
}

impl Caller {
    /// The owner whose share of memory its requests use.
    pub fn memory_owner(&self, peer: IpAddr) -> MemoryOwner {
        match self.api_key.as_ref().map(|api_key| &api_key.id).or(self.key_name.as_ref()) {
            Some(key) => MemoryOwner::Key(key.clone()),
            None => MemoryOwner::Peer(peer.to_canonical()),
        }
    }

    /// A user within this key, so that callers with different keys share no cache. The name of no
    /// key holds a NUL, which a slash would not promise: `a` with the user `b/c` is not `a/b`
    /// with the user `c`.
    fn cache_scope(&self, user: Option<String>) -> Option<String> {
        // Names may be used again after a key was revoked, ids never.
        match self.api_key.as_ref().map(|api_key| &api_key.id).or(self.key_name.as_ref()) {
            Some(key) => Some(format!("{key}\0{}", user.unwrap_or_default())),
            None => user,
        }
    }

    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.allowed_models
            .as_ref()
            .is_none_or(|models| models.iter().any(|allowed| allowed.eq_ignore_ascii_case(model)))
    }
}

/// Answers chats by handing each to the provider of its model.
pub struct Gateway {
    pub(crate) router: ArcSwap<Router>,
    pub(crate) retry_budget: Arc<RetryBudget>,
    pub(crate) accounting: Arc<Accounting>,
    /// Notes already in the log, by key.
    logged_notes: Mutex<HashSet<(Option<Arc<str>>, String)>>,
}

impl Gateway {
    pub fn new(mut routes: Router, accounting: Arc<Accounting>) -> Self {
        routes.apply_prices(&accounting.prices.load());
        Self {
            router: ArcSwap::from_pointee(routes),
            retry_budget: RetryBudget::new(),
            accounting,
            logged_notes: Mutex::default(),
        }
    }

    /// Adds what a provider elsewhere offers. Running answers go on as they began.
    pub fn add_upstream(&self, upstream: &Arc<Upstream>, models: &[UpstreamModel], rank: RoutingPreference) {
        self.router.rcu(|routes| {
            let mut routes = Router::clone(routes);
            routes.add_upstream(upstream, models, rank);
            routes.apply_prices(&self.accounting.prices.load());
            routes
        });
    }

    /// Other routes and prices from now on. Running answers go on as they began, and what is known
    /// of providers that stay is kept.
    pub fn reload(&self, mut routes: Router, prices: Prices) {
        self.accounting.prices.store(Arc::new(prices));
        routes.apply_prices(&self.accounting.prices.load());
        routes.inherit_state(&self.router.load());
        self.router.store(Arc::new(routes));
    }

    /// Every model id and who answers it.
    pub fn route_table(&self) -> Vec<RouteInfo> {
        self.router.load().route_infos().collect()
    }

    /// Keys, prices and records.
    pub fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// Starts an answer.
    ///
    /// Resolves when the provider has admitted the request. Dropping the stream cancels it; either
    /// way it is metered once.
    ///
    /// # Errors
    /// In the order of the API document (0.5): `Invalid` for an unknown model (`Model Not Exist`),
    /// `Forbidden` when the key may not use it, `Balance` and `Rate` when it has used up what it
    /// may, `Invalid` for a range or a structure the provider refuses, `Overload` when the request
    /// cannot be recorded; what the provider's own admission says.
    pub async fn answer(&self, caller: &Caller, mut chat: Chat) -> Result<MeteredStream, Error> {
        let route = self.router.load().find(caller, &chat.model)?;
        chat.thinking = route.thinking_mode.resolve(&chat);
        let mut meter = RequestMeter::start(&route.model_metrics);
        let memory = &caller.memory;
        let is_local = matches!(route.targets[0].backend, Backend::Local(_));
        let measure = move |chat: &mut Chat| {
            Ok((UsageEstimate::from_chat(chat, is_local)?, prompt_prefix(chat), chat.memory_bytes()))
        };
        let (mut chat, (estimate, prompt_prefix, bytes)) =
            meter.record_error(process_chat(memory, chat, measure).await)?;
        let targets = route.order_targets(|| prompt_prefix);
        let overdraft = self.overdraft();
        let mut charge = meter
            .record_error(Charge::admit(&self.accounting, caller, &route.id, &targets, estimate, overdraft).await)?;
        chat.affordable_tokens = charge.output_cap.map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
        if let Backend::Local(provider) = &targets[0].backend {
            let provider = provider.clone();
            let checked = process_chat(memory, chat, move |chat| provider.validate(chat)).await;
            (chat, ()) = meter.record_error(checked)?;
        }
        let thinking = chat.thinking == Some(true);
        let mut notes = std::mem::take(&mut chat.notes);
        notes.extend(unsupported_params(&targets, &chat));
        self.log_notes(caller, &notes);
        meter.record_error(charge.record_start())?;
        let selected = charge.selected_target();
        meter.attach_charge(charge);
        let deltas = match &targets[0].backend {
            Backend::Local(provider) => {
                chat.user = caller.cache_scope(chat.user);
                // Of the prompt, its tokens stay until the answer has ended.
                let tokens = meter
                    .record_error(memory.reserve(bytes.saturating_mul(size_of::<u32>()).min(MAX_PROMPT_TOKEN_BYTES)))?;
                let deltas = meter.record_error(provider.chat(chat).await)?;
                Box::pin(deltas.inspect(move |_| _ = &tokens)) as BoxDeltaStream
            }
            Backend::Remote(_) => {
                chat.traceparent.clone_from(&caller.traceparent);
                let asking = OutgoingChat { chat: Arc::new(chat), chat_bytes: bytes, memory: memory.clone() };
                failover::answer_with_failover(targets, asking, selected.clone(), self.retry_budget.clone())
            }
        };
        Ok(MeteredStream::new(deltas, meter, selected, thinking, notes, memory.clone()))
    }

    /// The tokens of a chat's prompt, judged as [`Gateway::answer`] would.
    ///
    /// # Errors
    /// As [`Gateway::answer`].
    pub async fn count_tokens(&self, caller: &Caller, mut chat: Chat) -> Result<u64, Error> {
        let route = self.router.load().find(caller, &chat.model)?;
        chat.thinking = route.thinking_mode.resolve(&chat);
        let backend = route.targets[0].backend.clone();
        let (chat, ()) = match &backend {
            Backend::Local(provider) => {
                let provider = provider.clone();
                process_chat(&caller.memory, chat, move |chat| provider.validate(chat)).await?
            }
            Backend::Remote(_) => (chat, ()),
        };
        backend.provider().count_tokens(chat).await
    }

    /// The models this caller may use, in the order of the API document.
    pub fn models(&self, caller: &Caller) -> Vec<ModelInfo> {
        self.router.load().model_infos().filter(|listed| caller.may_use(&listed.id)).collect()
    }

    /// Every model and what it costs.
    pub fn all_models(&self) -> Vec<ModelInfo> {
        self.router.load().model_infos().collect()
    }

    /// Some model answers to this id.
    pub fn has_model(&self, model: &str) -> bool {
        self.router.load().contains(model)
    }

    /// How far a request may take a budget below nothing.
    pub(crate) fn overdraft(&self) -> Overdraft {
        self.router.load().overdraft
    }

    /// Callers are told which provider has answered.
    pub fn exposes_provider(&self) -> bool {
        self.router.load().exposes_provider
    }

    /// Every provider is able to answer.
    pub fn is_ready(&self) -> bool {
        self.router.load().ready()
    }

    /// What was accepted although DeepSeek's service would refuse it, or not passed
    /// on, once per key.
    fn log_notes(&self, caller: &Caller, notes: &[String]) {
        for note in notes {
            // A set of strings is whole even when a api_key panicked.
            let mut logged_notes = self.logged_notes.lock().unwrap_or_else(PoisonError::into_inner);
            if logged_notes.insert((caller.key_name.clone(), note.clone())) {
                tracing::info!(
                    key = caller.key_name.as_deref(),
                    note,
                    "accepted what DeepSeek's service would refuse, or could not be passed on"
                );
            }
        }
    }
}

/// Does `work` on a chat: aside, where the chat is large.
async fn process_chat<T: Send + 'static>(
    memory: &RequestMemory,
    mut chat: Chat,
    work: impl FnOnce(&mut Chat) -> Result<T, Error> + Send + 'static,
) -> Result<(Chat, T), Error> {
    let bytes = if chat.exceeds_bytes(INLINE_MAX_BYTES) { INLINE_MAX_BYTES + 1 } else { 0 };
    offload(memory, bytes, move || work(&mut chat).map(|made| (chat, made))).await
}

/// What of a chat some of these providers cannot be told.
fn unsupported_params(targets: &[Target], chat: &Chat) -> Option<String> {
    let mut unsupported = Vec::new();
    for target in targets {
        if let Backend::Remote(upstream) = &target.backend {
            unsupported.extend(upstream.dialect().unsupported_params(chat));
        }
    }
    unsupported.sort_unstable();
    unsupported.dedup();
    (!unsupported.is_empty()).then(|| format!("dropped: {}", unsupported.join(", ")))
}

/// The texts of its messages: what a provider's cache would be asked for.
fn prompt_prefix(chat: &Chat) -> PromptPrefix {
    let Input::Messages(messages) = &chat.input else { return PromptPrefix::default() };
    let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
    PromptPrefix::hash(parts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_bytes()) } else { None }))
}

#[cfg(test)]
mod tests;
