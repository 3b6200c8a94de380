//! A provider that judges like the engine and answers by script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::{BoxDeltaStream, BoxFuture, Chat, Delta, Error, FinishReason, Input, Provider, Usage};
use futures_util::stream;

use crate::check::{self, Profile, ReasoningRules, ValidationRules};

/// What an answer does next.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Say(Delta),
    Wait(Duration),
    Fail(Error),
    /// Nothing ever again.
    Hang,
    Panic,
}

pub(crate) struct Scripted {
    pub(crate) limits: ValidationRules,
    /// Empty: a short answer that suits the request.
    pub(crate) script: Vec<Act>,
    /// The refusal of the admission queue.
    pub(crate) full: Option<Error>,
    pub(crate) starting: AtomicBool,
    /// Answers not yet dropped.
    pub(crate) running: Arc<AtomicUsize>,
    /// What was asked, as the engine would see it.
    pub(crate) seen: Mutex<Vec<Chat>>,
}

impl Scripted {
    pub(crate) fn new(profile: Profile) -> Self {
        let rules = ReasoningRules::V32;
        Self {
            limits: ValidationRules {
                context: 131_072,
                supports_thinking: true,
                supports_non_thinking: true,
                profile,
                reasoning_rules: rules,
                vocab_size: 129_280,
            },
            script: Vec::new(),
            full: None,
            starting: AtomicBool::new(false),
            running: Arc::default(),
            seen: Mutex::default(),
        }
    }
}

pub(crate) fn text(text: &str) -> Act {
    Act::Say(Delta::Text { text: text.into(), logprobs: vec![] })
}

pub(crate) fn reasoning(text: &str) -> Act {
    Act::Say(Delta::Reasoning { text: text.into(), logprobs: vec![] })
}

pub(crate) fn ends(reason: FinishReason, usage: Usage) -> [Act; 2] {
    [Act::Say(Delta::Finish(reason)), Act::Say(Delta::Usage(usage))]
}

/// One token for every byte of text.
fn prompt_tokens(chat: &Chat) -> usize {
    let Input::Messages(messages) = &chat.input else { return 0 };
    let said = |message: &chat::Message| message.text().len() + message.reasoning.as_ref().map_or(0, String::len);
    messages.iter().map(said).sum()
}

fn short_answer(chat: &Chat, prompt_tokens: usize) -> Vec<Act> {
    let thinking = chat.thinking == Some(true);
    let usage = Usage {
        prompt_tokens: prompt_tokens as u64,
        cached_tokens: 0,
        cache_write_tokens: 0,
        completion_tokens: if thinking { 5 } else { 3 },
        reasoning_tokens: thinking.then_some(2),
    };
    let mut acts = vec![Act::Say(Delta::Start(Usage::default()))];
    if thinking {
        acts.extend([reasoning("Compare"), reasoning(" tenths.")]);
    }
    acts.extend([text("Hello"), text("!")]);
    acts.extend(ends(FinishReason::Stop, usage));
    acts
}

impl Provider for Scripted {
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        check::check(chat, &self.limits)
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<BoxDeltaStream, Error>> {
        Box::pin(async move {
            let prompt_tokens = prompt_tokens(&chat);
            check::max_new_tokens(&chat, &self.limits, prompt_tokens)?;
            if let Some(error) = &self.full {
                return Err(error.clone());
            }
            let acts = if self.script.is_empty() { short_answer(&chat, prompt_tokens) } else { self.script.clone() };
            self.seen.lock().unwrap().push(chat);
            Ok(play(acts.into(), Running::new(&self.running)))
        })
    }

    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move { Ok(prompt_tokens(&chat) as u64) })
    }

    fn is_ready(&self) -> bool {
        !self.starting.load(Ordering::Relaxed)
    }
}

fn play(acts: VecDeque<Act>, running: Running) -> BoxDeltaStream {
    Box::pin(stream::unfold((acts, running), |(mut acts, running)| async move {
        loop {
            let item = match acts.pop_front()? {
                Act::Say(delta) => Ok(delta),
                Act::Fail(error) => Err(error),
                Act::Wait(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Act::Hang => std::future::pending().await,
                Act::Panic => panic!("the script says so"),
            };
            return Some((item, (acts, running)));
        }
    }))
}

struct Running(Arc<AtomicUsize>);

impl Running {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
