//! The owner of a task, and its two ids: the gateway's, which callers use, and the provider's.

use bytes::Bytes;
use chat::Error;
use store::{Task, TaskOwner};
use wire::tasks::TaskKind;
use wire::tasks::id_rewriting::{self, IdPair};

use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::tasks::reply::TaskReply;

/// Most tasks that a request may mention in addition to its parent.
const MAX_REFERENCED_TASKS: usize = 8;

/// The owner of a caller's tasks: its project, so that all keys of a project share them.
pub(crate) fn task_owner(caller: &Caller) -> TaskOwner<'_> {
    let project_id = caller.api_key.as_ref().map(|api_key| &*api_key.project_id);
    TaskOwner { project_id, key_name: caller.key_name.as_deref().unwrap_or_default() }
}

/// A new id, which cannot be guessed.
pub(crate) fn new_task_id(kind: TaskKind) -> String {
    kind.new_public_id(random_bytes())
}

/// Random bytes for an id.
pub(crate) fn random_bytes() -> [u8; 16] {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system provides random numbers");
    random
}

/// Pairs of ids: the provider's and the gateway's.
pub(crate) type IdPairs = Vec<(String, String)>;

pub(crate) fn id_pairs(tasks: &[Task]) -> IdPairs {
    tasks.iter().map(|task| (task.provider_id.clone(), task.id.id.clone())).collect()
}

fn as_pairs(ids: &IdPairs) -> Vec<IdPair<'_>> {
    ids.iter().map(|(provider_id, public_id)| IdPair { provider_id, public_id }).collect()
}

/// The values of a body that look like ids of the gateway.
///
/// # Errors
/// As [`offload`].
pub(crate) async fn referenced_ids(memory: &RequestMemory, kind: TaskKind, body: &Bytes) -> Result<Vec<String>, Error> {
    let bytes = body.clone();
    offload(memory, body.len(), move || Ok(id_rewriting::find_public_ids(kind, &bytes, MAX_REFERENCED_TASKS))).await
}

/// Replaces the gateway's ids in a body with the provider's.
///
/// # Errors
/// As [`offload`] and [`RequestMemory::reserve`].
pub(crate) async fn with_provider_ids(memory: &RequestMemory, body: &Bytes, tasks: &[Task]) -> Result<Bytes, Error> {
    let bytes = body.clone();
    let ids = id_pairs(tasks);
    if ids.iter().all(|(provider_id, public_id)| provider_id == public_id) {
        return Ok(bytes);
    }
    let reservation = memory.reserve(body.len())?;
    offload(memory, body.len(), move || {
        let changed = id_rewriting::to_provider_ids(&bytes, &as_pairs(&ids));
        Ok(changed.map_or(bytes, |changed| reservation.attach_to(changed)))
    })
    .await
}

/// Replaces the provider's ids in an answer with the gateway's.
///
/// # Errors
/// As [`offload`].
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
