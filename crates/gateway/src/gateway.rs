//! The path of a chat: routing, admission, answer, metering.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use arc_swap::ArcSwap;
use chat::{BoxDeltaStream, Chat, EngineStatus, Error, ErrorKind, Input, Part};
use futures_util::StreamExt;
use wire::upstream::Dialect;

use crate::admission::Admission;
use crate::billing::accounting::Accounting;
use crate::billing::metered_stream::{AnswerNotes, MeteredDeltas, MeteredStream};
use crate::billing::refusals::refusal_outcome;
use crate::billing::usage_estimate::UsageEstimate;
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::note_log::NoteLog;
use crate::offload::{INLINE_MAX_BYTES, offload};
use crate::pricing::Prices;
use crate::routing::failover;
use crate::routing::model_info::{ModelInfo, RouteInfo, UpstreamModel};
use crate::routing::prefix_affinity::PromptPrefix;
use crate::routing::retry_budget::RetryBudget;
use crate::routing::route::Route;
use crate::routing::router::Router;
use crate::routing::target::{Backend, RoutingPreference};
use crate::upstream::outgoing_chat::OutgoingChat;
use crate::upstream::remote_provider::Upstream;
use crate::upstream::shared_notes::SharedNotes;
use crate::upstream::shared_progress::SharedProgress;

/// Most bytes that are reserved for the tokens of a prompt.
const MAX_PROMPT_TOKEN_BYTES: usize = 1 << 20;

/// The tokens of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    pub tokens: u64,
    /// Whether the number is estimated, not counted.
    pub is_estimate: bool,
}

/// The gateway: answers each chat with a provider of its model.
pub struct Gateway {
    pub(crate) router: ArcSwap<Router>,
    pub(crate) retry_budget: Arc<RetryBudget>,
    pub(crate) accounting: Arc<Accounting>,
    pub(crate) note_log: Arc<NoteLog>,
    /// The time from which the next open tasks are polled, in microseconds since 1970.
    pub(crate) polled_until: AtomicI64,
}

impl Gateway {
    pub fn new(mut router: Router, accounting: Arc<Accounting>) -> Self {
        router.apply_prices(&accounting.prices.load());
        router.log_missing_prices(None);
        Self {
            router: ArcSwap::from_pointee(router),
            retry_budget: RetryBudget::new(),
            accounting,
            note_log: Arc::default(),
            polled_until: AtomicI64::new(0),
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
        self.router.load().log_missing_prices(Some(upstream.name()));
    }

    /// Replaces routes and prices. Running answers are not affected, and the state of providers
    /// that still exist is kept.
    pub fn reload(&self, mut router: Router, prices: Prices) {
        self.accounting.prices.store(Arc::new(prices));
        router.apply_prices(&self.accounting.prices.load());
        router.log_missing_prices(None);
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

    /// Records a request that was answered with an error of this kind, if it was refused before a
    /// provider received it.
    pub fn record_refusal(&self, caller: &Caller, kind: ErrorKind) {
        let Some(request) = caller.request_id.as_ref().filter(|request| !request.is_recorded()) else { return };
        let is_model_unknown = request.model() == Some(None);
        if let Some(outcome) = refusal_outcome(kind, is_model_unknown) {
            self.accounting.record_refusal(caller, request, outcome);
        }
    }

    /// Starts an answer.
    ///
    /// Resolves when the request is admitted, for the local model by its engine, too. Dropping the
    /// stream cancels the request. In any case it is metered once.
    ///
    /// # Errors
    /// In the order of the API document (0.5): `Invalid` for an unknown model (`Model Not Exist`),
    /// `Forbidden` when the key may not use it, `Invalid` (`not_local`) for the object `cachalot`
    /// to a remote model, `Balance` and `Rate` when the key has reached a limit, `Invalid` for a
    /// value or a structure that the provider refuses, `Overload` when the request cannot be
    /// recorded; and the errors of the local engine's admission.
    pub async fn answer(&self, caller: &Caller, mut chat: Chat) -> Result<MeteredStream, Error> {
        let mut route = self.router.load().find(caller, &chat.model)?;
        if chat.is_local_only {
            route = route.only_local()?;
        }
        adopt_engine_fields(&route, &mut chat);
        if route.targets.iter().all(|target| target.backend.dialect().is_some_and(|of| of != Dialect::Anthropic)) {
            chat.leave_out_volatile_line();
        }
        chat.thinking = route.thinking_mode.resolve(&chat);
        let mut admission = self.open_admission(&route);
        let memory = &caller.memory;
        let is_local = matches!(route.targets[0].backend, Backend::Local(_));
        let text_bytes = caller.text_bytes;
        let measure = move |chat: &mut Chat| {
            Ok((UsageEstimate::from_chat(chat, is_local, text_bytes)?, prompt_prefix(chat), chat.memory_bytes()))
        };
        let measured = process_chat(memory, chat, measure).await;
        let (mut chat, (estimate, prompt_prefix, chat_bytes)) = admission.record_error(measured)?;
        let targets = admission.record_error(route.targets_for(caller, || prompt_prefix))?;
        let mut admitted =
            admission.reserve(caller, &targets, estimate, chat.user_id.as_deref().or(chat.user.as_deref())).await?;
        chat.affordable_tokens = admitted.output_cap().map(|cap| i64::try_from(cap).unwrap_or(i64::MAX));
        if let Backend::Local(provider) = &targets[0].backend {
            let provider = provider.clone();
            let validated = process_chat(memory, chat, move |chat| provider.validate(chat)).await;
            (chat, ()) = admitted.record_error(validated)?;
        }
        // The other choices are requests of their own.
        chat.n = chat.n.filter(|_| chat.choice.is_none());
        let thinking = chat.thinking == Some(true);
        let mut notes = std::mem::take(&mut chat.notes);
        let (mut meter, selected) = admitted.begin()?;
        let mut remote_progress = None;
        let body_notes = SharedNotes::new(&self.note_log, caller.key_name.as_ref());
        let deltas = match &targets[0].backend {
            Backend::Local(provider) => {
                chat.user = caller.cache_scope(chat.user);
                // The tokens of the prompt are in memory until the answer ends.
                let token_bytes = chat_bytes.saturating_mul(size_of::<u32>()).min(MAX_PROMPT_TOKEN_BYTES);
                let tokens = meter.record_error(memory.reserve(token_bytes))?;
                let answer = meter.record_error(provider.chat(chat).await)?;
                notes.extend(answer.notes);
                Box::pin(answer.deltas.inspect(move |_| _ = &tokens)) as BoxDeltaStream
            }
            Backend::Remote(_) => {
                chat.traceparent.clone_from(&caller.traceparent);
                let (memory, notes) = (memory.clone(), body_notes.clone());
                let outgoing = OutgoingChat { chat: Arc::new(chat), chat_bytes, memory, notes };
                let progress = remote_progress.insert(SharedProgress::default()).clone();
                let retry_budget = self.retry_budget.clone();
                failover::answer_with_failover(targets, outgoing, selected.clone(), retry_budget, progress)
            }
        };
        self.note_log.log(caller.key_name.as_ref(), &notes);
        let deltas = MeteredDeltas { deltas, remote_progress, meter };
        Ok(MeteredStream::new(deltas, selected, thinking, AnswerNotes { notes, body_notes }, memory.clone()))
    }

    /// Opens the admission of a request to the model of `route`.
    pub(crate) fn open_admission(&self, route: &Route) -> Admission {
        Admission::open(&self.accounting, self.router.load().overdraft, route)
    }

    /// The number of tokens of a chat's prompt, validated as in [`Gateway::answer`]. A provider
    /// counts them if its API has that; otherwise, or if it fails, they are estimated.
    ///
    /// # Errors
    /// As [`Gateway::answer`].
    pub async fn count_tokens(&self, caller: &Caller, mut chat: Chat) -> Result<PromptTokens, Error> {
        let route = self.router.load().find(caller, &chat.model)?;
        adopt_engine_fields(&route, &mut chat);
        chat.thinking = route.thinking_mode.resolve(&chat);
        let target = route.targets[0].clone();
        match target.backend {
            Backend::Local(provider) => {
                let validating = provider.clone();
                let (chat, ()) = process_chat(&caller.memory, chat, move |chat| validating.validate(chat)).await?;
                Ok(PromptTokens { tokens: provider.count_tokens(chat).await?, is_estimate: false })
            }
            Backend::Remote(upstream) => {
                let (counting, model) = (upstream.clone(), target.upstream_model.clone());
                let rules = target.rules.clone();
                let build = move |chat: &mut Chat| Ok(counting.count_request(chat, &model, &rules));
                let (chat, request) = process_chat(&caller.memory, chat, build).await?;
                let counted = match request {
                    Ok(Some(request)) => upstream.count_tokens(request).await,
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                };
                match counted {
                    Ok(Some(tokens)) => Ok(PromptTokens { tokens, is_estimate: false }),
                    // One that lacks it may be a server without the endpoint.
                    Err(error) if error.kind == ErrorKind::InvalidRequest && !error.is_missing_at_provider() => {
                        Err(error)
                    }
                    counted => {
                        tracing::debug!(provider = &*target.provider, error = ?counted.err(), "tokens are estimated");
                        let tokens = UsageEstimate::from_chat(&chat, false, None)?.prompt_tokens;
                        Ok(PromptTokens { tokens, is_estimate: true })
                    }
                }
            }
        }
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

    /// The state of the engine of the local model; `None` without one.
    pub fn engine_status(&self) -> Option<EngineStatus> {
        self.router.load().engine_status()
    }
}

/// Gives the fields of other engines' APIs their effect, if the providers of the model take them.
fn adopt_engine_fields(route: &Route, chat: &mut Chat) {
    if route.targets[0].backend.provider().takes_engine_fields() {
        chat.adopt_engine_fields();
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

/// The prefix that providers cache: the texts of all messages.
fn prompt_prefix(chat: &Chat) -> PromptPrefix {
    let Input::Messages(messages) = &chat.input else { return PromptPrefix::default() };
    let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
    PromptPrefix::hash(parts.filter_map(|part| if let Part::Text(text) = part { Some(text.as_bytes()) } else { None }))
}

#[cfg(test)]
mod tests;
