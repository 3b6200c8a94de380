//! The target that answers a request, as failover selects it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::pricing::Price;
use crate::routing::attempt_log::AttemptLog;
use crate::routing::circuit_breaker::CircuitBreaker;
use crate::routing::target::Target;

/// The candidates for a request, and which of them is selected. Clones share the selection.
#[derive(Clone, Debug)]
pub struct SelectedTarget(Arc<Candidates>);

#[derive(Debug)]
struct Candidates {
    /// In the order in which they are tried.
    candidates: Vec<Candidate>,
    selected: AtomicUsize,
    attempts: AttemptLog,
}

/// The facts about a target that settle its answer.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) provider: Arc<str>,
    pub(crate) price: Option<Arc<Price>>,
    pub(crate) breaker: Arc<CircuitBreaker>,
    /// The context length of the model in tokens, if it is known.
    pub(crate) context_tokens: Option<u64>,
}

impl SelectedTarget {
    /// The candidates `targets`, of which the first is selected.
    pub(crate) fn new(targets: &[Target]) -> Self {
        let candidate = |target: &Target| Candidate {
            provider: target.provider.clone(),
            price: target.price.clone(),
            breaker: target.breaker.clone(),
            context_tokens: target.context(),
        };
        let candidates = targets.iter().map(candidate).collect();
        Self(Arc::new(Candidates { candidates, selected: AtomicUsize::new(0), attempts: AttemptLog::default() }))
    }

    /// The provider that the request was sent to last.
    pub fn provider(&self) -> &Arc<str> {
        &self.current().provider
    }

    pub(crate) fn current(&self) -> &Candidate {
        &self.0.candidates[self.index()]
    }

    /// The requests that were sent to targets.
    pub(crate) fn attempts(&self) -> &AttemptLog {
        &self.0.attempts
    }

    /// The index of the selected target.
    pub(crate) fn index(&self) -> usize {
        self.0.selected.load(Ordering::Relaxed)
    }

    pub(crate) fn select(&self, index: usize) {
        self.0.selected.store(index, Ordering::Relaxed);
    }
}
