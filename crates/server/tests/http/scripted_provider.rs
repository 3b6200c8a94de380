//! A provider that validates requests like the engine and answers by a script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::{BoxDeltaStream, BoxFuture, Chat, Delta, Error, FinishReason, Input, Provider, StartedAnswer, Usage};
use futures_util::stream;

use crate::check::{self, Profile, ReasoningRules, ValidationRules};

/// A step of an answer.
#[derive(Clone, Debug)]
pub(crate) enum ScriptStep {
    Delta(Delta),
    Sleep(Duration),
    Fail(Error),
    /// Waits forever.
    Hang,
    Panic,
}

pub(crate) struct ScriptedProvider {
    pub(crate) limits: ValidationRules,
    /// The steps of every answer. Empty: a short answer that fits the request.
    pub(crate) script: Vec<ScriptStep>,
    /// The error that `chat` returns, like that of a full queue.
    pub(crate) queue_error: Option<Error>,
    /// Whether the provider is not ready.
    pub(crate) starting: AtomicBool,
    /// The number of answers that are not dropped yet.
    pub(crate) running: Arc<AtomicUsize>,
    /// The chats received, in the form that the engine gets.
    pub(crate) received: Mutex<Vec<Chat>>,
}

impl ScriptedProvider {
    pub(crate) fn new(profile: Profile) -> Self {
        let rules = ReasoningRules::V32;
        Self {
            limits: ValidationRules {
                context: 131_072,
                supports_thinking: true,
                supports_non_thinking: true,
                profile,
                reasoning_rules: rules,
                has_sparse_attention: true,
                vocab_size: 129_280,
            },
            script: Vec::new(),
            queue_error: None,
            starting: AtomicBool::new(false),
            running: Arc::default(),
            received: Mutex::default(),
        }
    }
}

pub(crate) fn text_delta(text: &str) -> ScriptStep {
    ScriptStep::Delta(Delta::Text { text: text.into(), logprobs: vec![] })
}

pub(crate) fn reasoning_delta(text: &str) -> ScriptStep {
    ScriptStep::Delta(Delta::Reasoning { text: text.into(), logprobs: vec![] })
}

pub(crate) fn finish_and_usage(reason: FinishReason, usage: Usage) -> [ScriptStep; 2] {
    [ScriptStep::Delta(Delta::Finish(reason)), ScriptStep::Delta(Delta::Usage(usage))]
}

/// Counts one token for each byte of text.
fn prompt_tokens(chat: &Chat) -> usize {
    let Input::Messages(messages) = &chat.input else { return 0 };
    let bytes = |message: &chat::Message| message.text().len() + message.reasoning.as_ref().map_or(0, String::len);
    messages.iter().map(bytes).sum()
}

fn default_script(chat: &Chat, prompt_tokens: usize) -> Vec<ScriptStep> {
    let thinking = chat.thinking == Some(true);
    let usage = Usage {
        prompt_tokens: prompt_tokens as u64,
        cached_tokens: 0,
        completion_tokens: if thinking { 5 } else { 3 },
        reasoning_tokens: thinking.then_some(2),
        ..Usage::ZERO
    };
    let mut steps = vec![ScriptStep::Delta(Delta::Start(Usage::default()))];
    if thinking {
        steps.extend([reasoning_delta("Compare"), reasoning_delta(" tenths.")]);
    }
    steps.extend([text_delta("Hello"), text_delta("!")]);
    steps.extend(finish_and_usage(FinishReason::Stop, usage));
    steps
}

impl Provider for ScriptedProvider {
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        check::check(chat, &self.limits)
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        Box::pin(async move {
            let prompt_tokens = prompt_tokens(&chat);
            let limit = check::output_limit(&chat, &self.limits, prompt_tokens)?;
            if let Some(error) = &self.queue_error {
                return Err(error.clone());
            }
            let steps = if self.script.is_empty() { default_script(&chat, prompt_tokens) } else { self.script.clone() };
            self.received.lock().unwrap().push(chat);
            let deltas = run_script(steps.into(), InFlightGuard::new(&self.running));
            Ok(StartedAnswer { deltas, notes: limit.note.into_iter().collect() })
        })
    }

    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move { Ok(prompt_tokens(&chat) as u64) })
    }

    fn takes_engine_fields(&self) -> bool {
        self.limits.profile == Profile::Lenient
    }

    fn is_ready(&self) -> bool {
        !self.starting.load(Ordering::Relaxed)
    }
}

fn run_script(steps: VecDeque<ScriptStep>, running: InFlightGuard) -> BoxDeltaStream {
    Box::pin(stream::unfold((steps, running), |(mut steps, running)| async move {
        loop {
            let item = match steps.pop_front()? {
                ScriptStep::Delta(delta) => Ok(delta),
                ScriptStep::Fail(error) => Err(error),
                ScriptStep::Sleep(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                ScriptStep::Hang => std::future::pending().await,
                ScriptStep::Panic => panic!("the script says so"),
            };
            return Some((item, (steps, running)));
        }
    }))
}

/// Counts an answer until it is dropped.
struct InFlightGuard(Arc<AtomicUsize>);

impl InFlightGuard {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
