use super::*;

const MIB: usize = 1 << 20;

fn budget(mib: usize, share: usize) -> InflightBudget {
    InflightBudget::new(InflightLimits { bytes: mib * MIB, share: share * MIB })
}

fn memory_of(budget: &InflightBudget, name: &str) -> RequestMemory {
    budget.request(MemoryOwner::Key(name.into()))
}

fn error_kind(result: Result<MemoryReservation, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

#[test]
fn a_dropped_reservation_is_released() {
    let budget = budget(64, 16);
    let memory = memory_of(&budget, "alice");
    let mut reservation = memory.reserve(3 * MIB).unwrap();
    reservation.grow(MIB).unwrap();
    reservation.resize(MIB).unwrap();
    let bytes = reservation.attach_to(vec![b'x'; 10]);
    let slice = bytes.slice(2..4);
    drop((bytes, memory));
    assert_eq!((budget.used(), &slice[..]), (MIB, &b"xx"[..]), "a slice keeps the memory");
    drop(slice);
    assert_eq!(budget.used(), 0);
    assert!(budget.0.state.lock().owners.is_empty(), "no owner is left in the table");
}

#[test]
fn a_request_beyond_its_share_is_too_large_and_several_are_too_many() {
    let budget = budget(64, 16);
    let first = memory_of(&budget, "alice");
    assert_eq!(error_kind(first.reserve(17 * MIB)), Some(ErrorKind::TooLarge));
    let mut held = first.reserve(10 * MIB).unwrap();
    assert_eq!(held.grow(7 * MIB).unwrap_err().code, Some("memory_share_exceeded"));
    let error = memory_of(&budget, "alice").reserve(7 * MIB).unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Overloaded, Some("memory_full")));
    assert!(error.retry_after.is_some());
    assert!(memory_of(&budget, "bob").reserve(7 * MIB).is_ok());
    drop(held);
    assert!(memory_of(&budget, "alice").reserve(7 * MIB).is_ok());
}

#[test]
fn four_greedy_keys_leave_room_for_others() {
    let budget = budget(256, 64);
    let mut held = Vec::new();
    for name in ["a", "b", "c", "d"] {
        // In small reservations.
        while let Ok(reservation) = memory_of(&budget, name).reserve(64 << 10) {
            held.push(reservation);
        }
    }
    assert!((200 * MIB..230 * MIB).contains(&budget.used()), "{}", budget.used());
    let ordinary: Vec<_> = (0..16).map(|name| memory_of(&budget, &name.to_string()).reserve(512 << 10)).collect();
    assert!(ordinary.iter().all(Result::is_ok), "16 ordinary keys with half a MiB each");
}

#[test]
fn an_owner_that_is_alone_may_use_all_of_a_large_share() {
    let budget = budget(64, 64);
    assert!(memory_of(&budget, "alice").reserve(59 * MIB).is_ok());
    let _other = memory_of(&budget, "bob").reserve(5 * MIB).unwrap();
    assert_eq!(error_kind(memory_of(&budget, "alice").reserve(40 * MIB)), Some(ErrorKind::Overloaded));
    assert!(memory_of(&budget, "alice").reserve(20 * MIB).is_ok());
}

#[test]
fn reservations_that_overflow_are_refused() {
    let budget = budget(64, 16);
    let memory = memory_of(&budget, "alice");
    let _some = memory.reserve(1).unwrap();
    assert_eq!(error_kind(memory.reserve(usize::MAX)), Some(ErrorKind::TooLarge));
    assert!(RequestMemory::default().reserve(usize::MAX).is_ok(), "without a budget every reservation succeeds");
}

#[tokio::test]
async fn abandoned_work_keeps_its_permit_until_it_ends() {
    let budget = budget(64, 64);
    let memory = memory_of(&budget, "alice");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = crate::offload(&memory, 30 * MIB, move || wait.recv().map_err(|_| Error::internal("gone")));
    assert!(tokio::time::timeout(Duration::from_millis(50), first).await.is_err());
    let mut second = std::pin::pin!(crate::offload(&memory, 30 * MIB, || Ok(())));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
    go.send(()).unwrap();
    second.await.unwrap();
}
