//! Whose a task is, and its two ids: callers have one of ours, its provider another.

use bytes::Bytes;
use store::{Job, Owner};
use wire::tasks::Kind;
use wire::tasks::ids::{self, Pair};

use crate::Caller;
use crate::tasks::Told;

/// The account of a caller, whose tasks are those of all its keys.
pub(crate) fn owner(caller: &Caller) -> Owner<'_> {
    let project_id = caller.holder.as_ref().map(|holder| &*holder.project);
    Owner { project_id, key_name: caller.key.as_deref().unwrap_or_default() }
}

/// An id that nobody guesses.
pub(crate) fn new_id(kind: Kind) -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    kind.id_of(random)
}

pub(crate) fn pairs(jobs: &[Job]) -> Vec<Pair<'_>> {
    jobs.iter().map(|job| Pair { theirs: &job.provider_id, ours: &job.id.id }).collect()
}

pub(crate) fn with_their_ids(body: &Bytes, jobs: &[Job]) -> Bytes {
    ids::inward(body, &pairs(jobs)).map_or_else(|| body.clone(), Bytes::from)
}

pub(crate) fn with_our_ids(kind: Kind, told: Told, jobs: &[Job]) -> Told {
    with_pairs(kind, told, &pairs(jobs))
}

pub(crate) fn with_pairs(kind: Kind, told: Told, pairs: &[Pair<'_>]) -> Told {
    match ids::outward(kind, &told.bytes, pairs) {
        Some(bytes) => Told { bytes: bytes.into(), ..told },
        None => told,
    }
}
