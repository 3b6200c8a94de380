//! The owner of a task, and its two ids: one that callers use, and the provider's own.

use bytes::Bytes;
use chat::Error;
use store::{Task, TaskOwner};
use wire::tasks::TaskKind;
use wire::tasks::id_rewriting::{self, IdPair};

use crate::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::tasks::TaskReply;

/// Most further tasks that a request may mention.
const MAX_REFERENCED_TASKS: usize = 8;

/// The account of a caller, whose tasks are those of all its keys.
pub(crate) fn task_owner(caller: &Caller) -> TaskOwner<'_> {
    let project_id = caller.api_key.as_ref().map(|api_key| &*api_key.project_id);
    TaskOwner { project_id, key_name: caller.key_name.as_deref().unwrap_or_default() }
}

/// An id that nobody guesses.
pub(crate) fn new_task_id(kind: TaskKind) -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    kind.new_public_id(random)
}

/// The ids of tasks: theirs and ours.
pub(crate) type IdPairs = Vec<(String, String)>;

pub(crate) fn id_pairs(tasks: &[Task]) -> IdPairs {
    tasks.iter().map(|task| (task.provider_id.clone(), task.id.id.clone())).collect()
}

fn as_pairs(ids: &IdPairs) -> Vec<IdPair<'_>> {
    ids.iter().map(|(theirs, ours)| IdPair { provider_id: theirs, public_id: ours }).collect()
}

/// The values of a body that look like ids of ours.
///
/// # Errors
/// As [`aside`].
pub(crate) async fn referenced_ids(memory: &RequestMemory, kind: TaskKind, body: &Bytes) -> Result<Vec<String>, Error> {
    let bytes = body.clone();
    offload(memory, body.len(), move || Ok(id_rewriting::find_public_ids(kind, &bytes, MAX_REFERENCED_TASKS))).await
}

/// The caller's body, with the provider's ids.
///
/// # Errors
/// As [`aside`]; no memory for another body.
pub(crate) async fn with_provider_ids(memory: &RequestMemory, body: &Bytes, tasks: &[Task]) -> Result<Bytes, Error> {
    let (bytes, ids) = (body.clone(), id_pairs(tasks));
    if ids.iter().all(|(theirs, ours)| theirs == ours) {
        return Ok(bytes);
    }
    let hold = memory.reserve(body.len())?;
    offload(memory, body.len(), move || {
        let changed = id_rewriting::to_provider_ids(&bytes, &as_pairs(&ids));
        Ok(changed.map_or(bytes, |changed| hold.attach_to(changed)))
    })
    .await
}

/// The provider's answer, with our ids.
///
/// # Errors
/// As [`aside`].
pub(crate) async fn with_gateway_ids(
    memory: &RequestMemory,
    kind: TaskKind,
    reply: TaskReply,
    ids: IdPairs,
) -> Result<TaskReply, Error> {
    let TaskReply { content_type, bytes } = reply;
    let length = bytes.len();
    let changed = move || {
        let changed = id_rewriting::to_public_ids(kind, &bytes, &as_pairs(&ids));
        Ok(changed.map_or(bytes, Bytes::from))
    };
    Ok(TaskReply { content_type, bytes: offload(memory, length, changed).await? })
}
