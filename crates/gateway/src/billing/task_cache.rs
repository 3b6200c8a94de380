//! The tasks that this process has recently submitted to providers: jobs whose result is fetched
//! later. They are found here until the store has them, and on a server without a store.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use store::{Task, TaskId, TaskOwner};

/// The time for which a task is found after its submission, in microseconds.
const RETENTION_MICROS: i64 = 7 * store::DAY_MICROS;
/// Delays between lookups of a task that another replica may be submitting.
const LOOKUP_RETRY_DELAYS: [Duration; 4] = [Duration::from_millis(100); 4];

/// The tasks of this process, by the ids that callers use.
#[derive(Debug, Default)]
pub(crate) struct TaskCache(Mutex<CachedTasks>);

#[derive(Debug, Default)]
struct CachedTasks {
    tasks: HashMap<TaskId, Task>,
    /// The ids of tasks by the ids that their providers gave them. Several tasks may have the same
    /// id of a provider.
    by_provider_id: HashMap<TaskId, Vec<TaskId>>,
}

impl TaskCache {
    /// The maximum number of tasks. Another one evicts the older half.
    pub(crate) const MAX_TASKS: usize = 1 << 14;

    /// The owner's task with this id, else the owner's last submitted task that has it as the id of
    /// the provider. Tasks older than [`retained_since`] are not found.
    pub(crate) fn find(&self, id: &TaskId, owner: TaskOwner<'_>) -> Option<Task> {
        let cached = self.0.lock();
        let since = retained_since();
        let is_own = |task: &&Task| owner.owns(task) && task.created_at >= since;
        let by_provider_id =
            || cached.by_provider_id.get(id)?.iter().rev().filter_map(|id| cached.tasks.get(id)).find(is_own);
        cached.tasks.get(id).filter(is_own).or_else(by_provider_id).cloned()
    }

    pub(crate) fn insert(&self, task: Task) {
        let mut cached = self.0.lock();
        if cached.tasks.len() >= Self::MAX_TASKS {
            cached.evict_older_half();
        }
        let provider_id = TaskId { kind: task.id.kind.clone(), id: task.provider_id.clone() };
        cached.by_provider_id.entry(provider_id).or_default().push(task.id.clone());
        cached.tasks.insert(task.id.clone(), task);
    }

    pub(crate) fn mark_ended(&self, id: &TaskId) {
        if let Some(task) = self.0.lock().tasks.get_mut(id) {
            task.is_open = false;
        }
    }

    /// The owner's tasks of a kind, in any order.
    pub(crate) fn tasks_of(&self, kind: &str, owner: TaskOwner<'_>) -> Vec<Task> {
        let cached = self.0.lock();
        let own = cached.tasks.values().filter(|task| task.id.kind == kind && owner.owns(task));
        own.cloned().collect()
    }

    /// The tasks of any age that have not ended as far as is known.
    pub(crate) fn open_tasks(&self) -> Vec<Task> {
        self.0.lock().tasks.values().filter(|task| task.is_open).cloned().collect()
    }
}

impl CachedTasks {
    /// Removes the older half of the tasks: all that are not newer than the median.
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

/// Delays before further lookups of an unknown task. With `is_shared`, other replicas use the same
/// store and may be about to record the task.
pub(crate) fn lookup_retry_delays(is_shared: bool) -> &'static [Duration] {
    if is_shared { &LOOKUP_RETRY_DELAYS } else { &[] }
}

/// The earliest submission time of tasks that are found, in microseconds since 1970.
pub(crate) fn retained_since() -> i64 {
    store::now_micros() - RETENTION_MICROS
}
