//! The places for tails of requests: how many may be open, in all and for one user.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The most tails at a time.
pub(crate) const MAX_TAILS: usize = 16;
/// The most tails at a time of one user. Admins are not limited.
pub(crate) const MAX_TAILS_OF_USER: usize = 4;

/// The open tails by the account of their reader; `None` for admins.
#[derive(Default)]
pub(crate) struct TailSlots(Mutex<HashMap<Option<Arc<str>>, usize>>);

/// The place of an open tail, which is free again when it is dropped.
pub(crate) struct TailSlot {
    slots: Arc<TailSlots>,
    owner: Option<Arc<str>>,
}

/// The reason why a tail cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTailSlot {
    /// All [`MAX_TAILS`] are open.
    All,
    /// The owner has [`MAX_TAILS_OF_USER`] open.
    OfUser,
}

impl TailSlots {
    /// Takes a place for a tail of `owner`.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn take(self: &Arc<Self>, owner: Option<Arc<str>>) -> Result<TailSlot, NoTailSlot> {
        let mut open = self.0.lock();
        if open.values().sum::<usize>() >= MAX_TAILS {
            return Err(NoTailSlot::All);
        }
        let own = open.entry(owner.clone()).or_default();
        if owner.is_some() && *own >= MAX_TAILS_OF_USER {
            return Err(NoTailSlot::OfUser);
        }
        *own += 1;
        Ok(TailSlot { slots: self.clone(), owner })
    }

    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        self.0.lock().values().sum()
    }
}

impl Drop for TailSlot {
    fn drop(&mut self) {
        let mut open = self.slots.0.lock();
        if let Some(own) = open.get_mut(&self.owner) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_all_places() {
        let slots = Arc::new(TailSlots::default());
        let take = |owner: Option<&str>| slots.take(owner.map(Arc::from));
        let mut of_olga: Vec<_> = (0..MAX_TAILS_OF_USER).map(|_| take(Some("olga")).ok().unwrap()).collect();
        assert_eq!(take(Some("olga")).err(), Some(NoTailSlot::OfUser));
        let others: Vec<_> = (MAX_TAILS_OF_USER..MAX_TAILS).map(|_| take(None).ok().unwrap()).collect();
        assert_eq!(take(Some("bob")).err(), Some(NoTailSlot::All));
        of_olga.pop();
        drop(take(Some("bob")).ok().unwrap());
        of_olga.push(take(Some("olga")).ok().unwrap());
        assert_eq!(take(None).err(), Some(NoTailSlot::All));
        drop((of_olga, others));
        assert!(slots.0.lock().is_empty());
    }
}
