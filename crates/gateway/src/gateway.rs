//! The path of a chat: routing, admission, answer, metering.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use chat::{BoxDeltaStream, Chat, Error, Input, Part};
use futures_util::StreamExt;
use parking_lot::Mutex;

use crate::admission::Admission;
use crate::billing::accounting::Accounting;
use crate::billing::metered_stream::MeteredStream;
use crate::billing::usage_estimate::UsageEstimate;
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::offload::{INLINE_MAX_BYTES, offload};
use crate::pricing::Prices;
use crate::routing::failover;
use crate::routing::model_info::{ModelInfo, RouteInfo, UpstreamModel};
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::retry_budget::RetryBudget;
use crate::routing::route::Route;
use crate::routing::router::Router;
use crate::routing::target::{Backend, RoutingPreference, Target};
use crate::upstream::outgoing_chat::OutgoingChat;
use crate::upstream::remote_provider::Upstream;

/// Most bytes that are reserved for the tokens of a prompt.
const MAX_PROMPT_TOKEN_BYTES: usize = 1 << 20;
/// The number of notes after which those that were logged are forgotten, and are logged again.
const MAX_LOGGED_NOTES: usize = 4096;

/// The gateway: answers each chat with a provider of its model.
pub struct Gateway {
    pub(crate) router: ArcSwap<Router>,
    pub(crate) retry_budget: Arc<RetryBudget>,
    pub(crate) accounting: Arc<Accounting>,
    /// Notes that were logged, by the name of the key; at most [`MAX_LOGGED_NOTES`].
    logged_notes: Mutex<HashSet<(Option<Arc<str>>, String)>>,
}

impl Gateway {
    pub fn new(mut router: Router, accounting: Arc<Accounting>) -> Self {
        router.apply_prices(&accounting.prices.load());
        Self {
            router: ArcSwap::from_pointee(router),
            retry_budget: RetryBudget::new(),
            accounting,
            logged_notes: Mutex::default(),
        }
    }

    /// Adds the models of a remote provider. Running answers are not affected.
    pub fn add_upstream(&self, upstream: &Arc<Upstream>, models: &[UpstreamModel], preference: RoutingPreference) {
        self.router.rcu(|router| {
            let mut router = Router::clone(router);
            router.add_upstream(upstream, models, preference);
            router.apply_prices(&self.accounting.prices.load());
            router
        });
    }

    /// Replaces routes and prices. Running answers are not affected, and the state of providers
    /// that still exist is kept.
    pub fn reload(&self, mut router: Router, prices: Prices) {
        self.accounting.prices.store(Arc::new(prices));
        router.apply_prices(&self.accounting.prices.load());
        router.inherit_state(&self.router.load());
        self.router.store(Arc::new(router));
    }

    /// Every model id and its targets.
    pub fn route_table(&self) -> Vec<RouteInfo> {
        self.router.load().route_infos().collect()
    }

    /// Keys, prices and records.
    pub fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// Starts an answer.
    ///
    /// Resolves when the request is admitted, for the local model by its engine, too. Dropping the
    /// stream cancels the request. In any case it is metered once.
    ///
    /// # Errors
    /// In the order of the API document (0.5): `Invalid` for an unknown model (`Model Not Exist`),
    /// `Forbidden` when the key may not use it, `Balance` and `Rate` when the key has reached a
    /// limit, `Invalid` for a value or a structure that the provider refuses, `Overload` when the
    /// request cannot be recorded; and the errors of the local engine's admission.
    pub async fn answer(&self, caller: &Caller, mut chat: Chat) -> Result<MeteredStream, Error> {
        let route = self.router.load().find(caller, &chat.model)?;
        chat.thinking = route.thinking_mode.resolve(&chat);
        let mut admission = self.open_admission(&route);
        let memory = &caller.memory;
        let is_local = matches!(route.targets[0].backend, Backend::Local(_));
        let measure = move |chat: &mut Chat| {
            Ok((UsageEstimate::from_chat(chat, is_local)?, prompt_prefix(chat), chat.memory_bytes()))
        };
        let measured = process_chat(memory, chat, measure).await;
        let (mut chat, (estimate, prompt_prefix, chat_bytes)) = admission.record_error(measured)?;
        let targets = route.order_targets(|| prompt_prefix);
        let mut admitted = admission.reserve(caller, &targets, estimate).await?;
        chat.affordable_tokens = admitted.output_cap().map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
        if let Backend::Local(provider) = &targets[0].backend {
            let provider = provider.clone();
            let validated = process_chat(memory, chat, move |chat| provider.validate(chat)).await;
            (chat, ()) = admitted.record_error(validated)?;
        }
        let thinking = chat.thinking == Some(true);
        let mut notes = std::mem::take(&mut chat.notes);
        notes.extend(unsupported_params(&targets, &chat));
        self.log_notes(caller, &notes);
        let (mut meter, selected) = admitted.begin()?;
        let deltas = match &targets[0].backend {
            Backend::Local(provider) => {
                chat.user = caller.cache_scope(chat.user);
                // The tokens of the prompt are in memory until the answer ends.
                let token_bytes = chat_bytes.saturating_mul(size_of::<u32>()).min(MAX_PROMPT_TOKEN_BYTES);
                let tokens = meter.record_error(memory.reserve(token_bytes))?;
                let deltas = meter.record_error(provider.chat(chat).await)?;
                Box::pin(deltas.inspect(move |_| _ = &tokens)) as BoxDeltaStream
            }
            Backend::Remote(_) => {
                chat.traceparent.clone_from(&caller.traceparent);
                let outgoing = OutgoingChat { chat: Arc::new(chat), chat_bytes, memory: memory.clone() };
                failover::answer_with_failover(targets, outgoing, selected.clone(), self.retry_budget.clone())
            }
        };
        Ok(MeteredStream::new(deltas, meter, selected, thinking, notes, memory.clone()))
    }

    /// Opens the admission of a request to the model of `route`.
    pub(crate) fn open_admission(&self, route: &Route) -> Admission {
        Admission::open(&self.accounting, self.router.load().overdraft, route)
    }

    /// The number of tokens of a chat's prompt, validated as in [`Gateway::answer`].
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

    /// Every model and its price.
    pub fn all_models(&self) -> Vec<ModelInfo> {
        self.router.load().model_infos().collect()
    }

    /// Whether a model has this id.
    pub fn has_model(&self, model: &str) -> bool {
        self.router.load().contains(model)
    }

    /// Whether callers receive the name of the provider that answered.
    pub fn exposes_provider(&self) -> bool {
        self.router.load().exposes_provider
    }

    /// Whether every provider is ready to answer.
    pub fn is_ready(&self) -> bool {
        self.router.load().ready()
    }

    /// Logs notes about accepted requests, each once per key. A note may quote the request, so
    /// their number is limited.
    fn log_notes(&self, caller: &Caller, notes: &[String]) {
        for note in notes {
            let mut logged = self.logged_notes.lock();
            if logged.len() == MAX_LOGGED_NOTES {
                logged.clear();
            }
            if logged.insert((caller.key_name.clone(), note.clone())) {
                tracing::info!(
                    key = caller.key_name.as_deref(),
                    note,
                    "accepted a request with unsupported or non-DeepSeek parameters"
                );
            }
        }
    }
}

/// Runs `work` on a chat; off thread if the chat is large.
async fn process_chat<T: Send + 'static>(
    memory: &RequestMemory,
    mut chat: Chat,
    work: impl FnOnce(&mut Chat) -> Result<T, Error> + Send + 'static,
) -> Result<(Chat, T), Error> {
    let bytes = if chat.exceeds_bytes(INLINE_MAX_BYTES) { INLINE_MAX_BYTES + 1 } else { 0 };
    offload(memory, bytes, move || work(&mut chat).map(|output| (chat, output))).await
}

/// The note on parameters that at least one of these providers does not support.
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

/// The prefix that providers cache: the texts of all messages.
fn prompt_prefix(chat: &Chat) -> PromptPrefix {
    let Input::Messages(messages) = &chat.input else { return PromptPrefix::default() };
    let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
    PromptPrefix::hash(parts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_bytes()) } else { None }))
}

#[cfg(test)]
mod tests;
