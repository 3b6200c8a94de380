//! Constrained decoding: masks of the tokens that may come next, so that an answer matches its
//! grammar. [`text`] writes the grammars and llguidance computes the masks; slow masks are computed
//! by worker threads during the forward pass.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use chat::Error;
use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use text::GrammarStart;

/// Masks with a shorter expected time are computed by the engine thread: handing them to a worker
/// would cost as much.
const INLINE_MASK_LIMIT: Duration = Duration::from_micros(25);

/// The constraint of one answer, advanced token by token.
pub(crate) struct Constraint {
    state: ConstraintState,
    starts_at: GrammarStart,
    /// The tokens with which a block of calls begins; empty for an answer without calls.
    call_start: Vec<u32>,
    jobs: Sender<MaskJob>,
    /// Compute time of the last mask, an estimate for the next one.
    last_mask_time: Duration,
}

enum ConstraintState {
    /// The constrained part has not started.
    Waiting(Box<Matcher>),
    /// The next mask is being computed.
    Computing(Receiver<ComputedMask>),
    /// The next mask is computed.
    Ready(Box<Matcher>, SimpleVob),
    /// The grammar failed, for the given reason.
    Failed(String),
}

impl Constraint {
    pub(crate) fn new(matcher: Matcher, starts_at: GrammarStart, call_start: Vec<u32>, jobs: Sender<MaskJob>) -> Self {
        let state = ConstraintState::Waiting(Box::new(matcher));
        Self { state, starts_at, call_start, jobs, last_mask_time: Duration::MAX }
    }

    /// Whether the constrained part has not started, and starts with the answer itself.
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!((&self.state, self.starts_at), (ConstraintState::Waiting(_), GrammarStart::Answer))
    }

    /// The token that starts the constrained part, if that has not started.
    pub(crate) fn trigger_token(&self) -> Option<u32> {
        match (&self.state, self.starts_at) {
            (ConstraintState::Waiting(_), GrammarStart::AfterToken(token)) => Some(token),
            _ => None,
        }
    }

    /// The token with which a block of calls begins.
    pub(crate) fn call_marker(&self) -> Option<u32> {
        self.call_start.last().copied()
    }

    /// Called when `token` ends the reasoning: as its marker, or because it begins a block of
    /// calls.
    pub(crate) fn end_reasoning(&mut self, token: u32) {
        if self.call_marker() != Some(token) {
            return self.start_answer();
        }
        match std::mem::replace(&mut self.state, ConstraintState::Failed(String::new())) {
            ConstraintState::Waiting(mut matcher) => {
                let lead = if self.starts_at == GrammarStart::Answer { self.call_start.as_slice() } else { &[] };
                match matcher.consume_tokens(lead) {
                    Ok(()) => self.compute_mask(*matcher),
                    Err(error) => self.state = ConstraintState::Failed(first_line(&error)),
                }
            }
            other => self.state = other,
        }
    }

    /// Called when the answer starts, after the reasoning if there is any.
    pub(crate) fn start_answer(&mut self) {
        if self.awaits_answer() {
            self.activate();
        }
    }

    /// Advances by a sampled token of the answer.
    pub(crate) fn accept_token(&mut self, token: u32) {
        match std::mem::replace(&mut self.state, ConstraintState::Failed(String::new())) {
            ConstraintState::Waiting(matcher) => {
                self.state = ConstraintState::Waiting(matcher);
                if self.starts_at == GrammarStart::AfterToken(token) {
                    self.activate();
                }
            }
            ConstraintState::Ready(mut matcher, _) => match matcher.consume_token(token) {
                Ok(()) => self.compute_mask(*matcher),
                Err(error) => self.state = ConstraintState::Failed(first_line(&error)),
            },
            other => self.state = other,
        }
    }

    /// The mask of the tokens that may come next, one bit per token; `None` without a restriction.
    ///
    /// # Errors
    /// `Internal` when the grammar's limits are exceeded.
    pub(crate) fn next_mask(&mut self) -> Result<Option<&[u32]>, Error> {
        if let ConstraintState::Computing(computed) = &self.state {
            match computed.recv() {
                Ok(computed) => self.set_mask(computed),
                Err(_) => self.state = ConstraintState::Failed("the thread that computes masks is gone".into()),
            }
        }
        match &self.state {
            ConstraintState::Waiting(_) | ConstraintState::Computing(_) => Ok(None),
            ConstraintState::Ready(_, mask) => Ok(Some(mask.as_slice())),
            ConstraintState::Failed(reason) => {
                tracing::warn!(reason, "grammar constraint failed");
                Err(Error::internal("the schema is too complex to be enforced any further, please simplify it"))
            }
        }
    }

    fn activate(&mut self) {
        if let ConstraintState::Waiting(matcher) =
            std::mem::replace(&mut self.state, ConstraintState::Failed(String::new()))
        {
            self.compute_mask(*matcher);
        }
    }

    fn compute_mask(&mut self, matcher: Matcher) {
        if self.last_mask_time < INLINE_MASK_LIMIT {
            let computed = ComputedMask::of(matcher);
            return self.set_mask(computed);
        }
        let (reply, computed) = channel();
        // Without workers, receiving from `computed` fails.
        let _ = self.jobs.send(MaskJob { matcher, reply });
        self.state = ConstraintState::Computing(computed);
    }

    fn set_mask(&mut self, ComputedMask { matcher, mask, elapsed }: ComputedMask) {
        self.last_mask_time = elapsed;
        self.state = match mask {
            Ok(mask) => ConstraintState::Ready(Box::new(matcher), mask),
            Err(reason) => ConstraintState::Failed(reason),
        };
    }
}

/// A matcher for a worker, and the channel for the reply.
pub(crate) struct MaskJob {
    pub(crate) matcher: Matcher,
    pub(crate) reply: Sender<ComputedMask>,
}

/// A matcher with the mask of the next token, or the reason why that failed.
pub(crate) struct ComputedMask {
    matcher: Matcher,
    mask: Result<SimpleVob, String>,
    elapsed: Duration,
}

impl ComputedMask {
    pub(crate) fn of(mut matcher: Matcher) -> Self {
        let started = Instant::now();
        let mask = matcher.compute_mask_or_eos().map_err(|error| first_line(&error));
        Self { matcher, mask, elapsed: started.elapsed() }
    }
}

/// The first line of an error, without the context that the library adds.
pub(crate) fn first_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
