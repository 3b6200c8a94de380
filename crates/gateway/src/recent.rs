//! Tasks that were submitted here lately: they are known before the store has them, and without a store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store::{Job, JobId, Owner};

/// How long a task can be asked for.
const KEPT: i64 = 7 * 86_400 * 1_000_000;
/// How long a task may take to be known on another machine.
const KNOWN: [Duration; 4] = [Duration::from_millis(100); 4];

/// The tasks of this process, by the ids that callers have.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Jobs>);

#[derive(Debug, Default)]
struct Jobs {
    jobs: HashMap<JobId, Job>,
    /// By the ids that providers have, which several tasks may share.
    by_provider: HashMap<JobId, Vec<JobId>>,
}

impl Recent {
    pub(crate) const MOST: usize = 1 << 14;

    /// The owner's task of this id, or the last that its provider calls so.
    pub(crate) fn find(&self, id: &JobId, owner: Owner<'_>) -> Option<Job> {
        let known = self.jobs();
        let since = kept_since();
        let is_own = |job: &&Job| owner.owns(job) && job.created_at >= since;
        let of_provider = || known.by_provider.get(id)?.iter().rev().filter_map(|id| known.jobs.get(id)).find(is_own);
        known.jobs.get(id).filter(is_own).or_else(of_provider).cloned()
    }

    pub(crate) fn remember(&self, job: Job) {
        let mut known = self.jobs();
        if known.jobs.len() >= Self::MOST {
            known.forget_half();
        }
        let of_provider = JobId { kind: job.id.kind.clone(), id: job.provider_id.clone() };
        known.by_provider.entry(of_provider).or_default().push(job.id.clone());
        known.jobs.insert(job.id.clone(), job);
    }

    pub(crate) fn ended(&self, id: &JobId) {
        if let Some(job) = self.jobs().jobs.get_mut(id) {
            job.open = false;
        }
    }

    /// Those that are open.
    pub(crate) fn open(&self) -> Vec<Job> {
        self.jobs().jobs.values().filter(|job| job.open).cloned().collect()
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, Jobs> {
        // Each is kept whole; an id without its task is passed over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// Forgets the older half.
    fn forget_half(&mut self) {
        let mut times: Vec<_> = self.jobs.values().map(|job| job.created_at).collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        self.jobs.retain(|_, job| job.created_at > middle);
        self.by_provider.retain(|_, ids| {
            ids.retain(|id| self.jobs.contains_key(id));
            !ids.is_empty()
        });
    }
}

/// How often and how long a task is looked for that another machine may have taken.
pub(crate) fn patience(shared: bool) -> &'static [Duration] {
    if shared { &KNOWN } else { &[] }
}

/// Since when tasks are kept.
pub(crate) fn kept_since() -> i64 {
    store::now() - KEPT
}
