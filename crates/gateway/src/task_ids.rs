//! The owner of a task, and its two ids: one that callers use, and the provider's own.

use bytes::Bytes;
use chat::Error;
use store::{Job, Owner};
use wire::tasks::TaskKind;
use wire::tasks::id_rewriting::{self, IdPair};

use crate::Caller;
use crate::inflight::RequestMemory;
use crate::tasks::Told;
use crate::work::aside;

/// Most further tasks that a request may mention.
const MENTIONED: usize = 8;

/// The account of a caller, whose tasks are those of all its keys.
pub(crate) fn owner(caller: &Caller) -> Owner<'_> {
    let project_id = caller.holder.as_ref().map(|holder| &*holder.project);
    Owner { project_id, key_name: caller.key.as_deref().unwrap_or_default() }
}

/// An id that nobody guesses.
pub(crate) fn new_id(kind: TaskKind) -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    kind.new_public_id(random)
}

/// The ids of tasks: theirs and ours.
pub(crate) type Ids = Vec<(String, String)>;

pub(crate) fn ids_of(jobs: &[Job]) -> Ids {
    jobs.iter().map(|job| (job.provider_id.clone(), job.id.id.clone())).collect()
}

fn pairs(ids: &Ids) -> Vec<IdPair<'_>> {
    ids.iter().map(|(theirs, ours)| IdPair { provider_id: theirs, public_id: ours }).collect()
}

/// The values of a body that look like ids of ours.
///
/// # Errors
/// As [`aside`].
pub(crate) async fn mentioned(memory: &RequestMemory, kind: TaskKind, body: &Bytes) -> Result<Vec<String>, Error> {
    let bytes = body.clone();
    aside(memory, body.len(), move || Ok(id_rewriting::find_public_ids(kind, &bytes, MENTIONED))).await
}

/// The caller's body, with the provider's ids.
///
/// # Errors
/// As [`aside`]; no memory for another body.
pub(crate) async fn with_their_ids(memory: &RequestMemory, body: &Bytes, jobs: &[Job]) -> Result<Bytes, Error> {
    let (bytes, ids) = (body.clone(), ids_of(jobs));
    if ids.iter().all(|(theirs, ours)| theirs == ours) {
        return Ok(bytes);
    }
    let hold = memory.hold(body.len())?;
    aside(memory, body.len(), move || {
        let changed = id_rewriting::to_provider_ids(&bytes, &pairs(&ids));
        Ok(changed.map_or(bytes, |changed| hold.over(changed)))
    })
    .await
}

/// The provider's answer, with our ids.
///
/// # Errors
/// As [`aside`].
pub(crate) async fn with_our_ids(memory: &RequestMemory, kind: TaskKind, told: Told, ids: Ids) -> Result<Told, Error> {
    let Told { content_type, bytes } = told;
    let length = bytes.len();
    let changed = move || {
        let changed = id_rewriting::to_public_ids(kind, &bytes, &pairs(&ids));
        Ok(changed.map_or(bytes, Bytes::from))
    };
    Ok(Told { content_type, bytes: aside(memory, length, changed).await? })
}
