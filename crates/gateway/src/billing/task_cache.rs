//! Tasks that were submitted here lately: they are cached before the store has them, and
//! without a store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use store::{Task, TaskId, TaskOwner};

/// How long a task can be asked for.
const RETENTION_MICROS: i64 = 7 * 86_400 * 1_000_000;
/// How long a task may take to be cached on another machine.
const LOOKUP_RETRY_DELAYS: [Duration; 4] = [Duration::from_millis(100); 4];

/// The tasks of this process, by the ids that callers have.
#[derive(Debug, Default)]
pub(crate) struct TaskCache(Mutex<CachedTasks>);

#[derive(Debug, Default)]
struct CachedTasks {
    tasks: HashMap<TaskId, Task>,
    /// By the ids that providers have, which several tasks may share.
    by_provider_id: HashMap<TaskId, Vec<TaskId>>,
}

impl TaskCache {
    pub(crate) const MAX_TASKS: usize = 1 << 14;

    /// The owner's task of this id, or the last that its provider calls so.
    pub(crate) fn find(&self, id: &TaskId, owner: TaskOwner<'_>) -> Option<Task> {
        let cached = self.lock_tasks();
        let since = retained_since();
        let is_own = |task: &&Task| owner.owns(task) && task.created_at >= since;
        let of_provider =
            || cached.by_provider_id.get(id)?.iter().rev().filter_map(|id| cached.tasks.get(id)).find(is_own);
        cached.tasks.get(id).filter(is_own).or_else(of_provider).cloned()
    }

    pub(crate) fn insert(&self, task: Task) {
        let mut cached = self.lock_tasks();
        if cached.tasks.len() >= Self::MAX_TASKS {
            cached.evict_older_half();
        }
        let of_provider = TaskId { kind: task.id.kind.clone(), id: task.provider_id.clone() };
        cached.by_provider_id.entry(of_provider).or_default().push(task.id.clone());
        cached.tasks.insert(task.id.clone(), task);
    }

    pub(crate) fn mark_ended(&self, id: &TaskId) {
        if let Some(task) = self.lock_tasks().tasks.get_mut(id) {
            task.is_open = false;
        }
    }

    /// Those that are open.
    pub(crate) fn open_tasks(&self) -> Vec<Task> {
        self.lock_tasks().tasks.values().filter(|task| task.is_open).cloned().collect()
    }

    fn lock_tasks(&self) -> std::sync::MutexGuard<'_, CachedTasks> {
        // Each is kept whole; an id without its task is passed over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedTasks {
    /// Forgets the older half.
    fn evict_older_half(&mut self) {
        let mut times: Vec<_> = self.tasks.values().map(|task| task.created_at).collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        self.tasks.retain(|_, task| task.created_at > middle);
        self.by_provider_id.retain(|_, ids| {
            ids.retain(|id| self.tasks.contains_key(id));
            !ids.is_empty()
        });
    }
}

/// How often and how long a task is looked for that another machine may have taken.
pub(crate) fn lookup_retry_delays(is_shared: bool) -> &'static [Duration] {
    if is_shared { &LOOKUP_RETRY_DELAYS } else { &[] }
}

/// Since when tasks are kept.
pub(crate) fn retained_since() -> i64 {
    store::now_micros() - RETENTION_MICROS
}
