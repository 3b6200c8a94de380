use super::*;

const MIB: usize = 1 << 20;

fn budget(mib: usize, share: usize) -> InflightBudget {
    InflightBudget::new(InflightLimits { bytes: mib * MIB, share: share * MIB })
}

fn key(budget: &InflightBudget, name: &str) -> RequestMemory {
    budget.request(Owner::Key(name.into()))
}

fn kind(result: Result<Hold, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

#[test]
fn what_is_dropped_is_given_back() {
    let budget = budget(64, 16);
    let memory = key(&budget, "alice");
    let mut hold = memory.hold(3 * MIB).unwrap();
    hold.grow(MIB).unwrap();
    hold.set(MIB).unwrap();
    let bytes = hold.over(vec![b'x'; 10]);
    let slice = bytes.slice(2..4);
    drop((bytes, memory));
    assert_eq!((budget.used(), &slice[..]), (MIB, &b"xx"[..]), "a slice keeps the memory");
    drop(slice);
    assert_eq!(budget.used(), 0);
    assert!(budget.0.state().owners.is_empty(), "nobody is remembered");
}

#[test]
fn a_request_beyond_its_share_is_too_large_and_several_are_too_many() {
    let budget = budget(64, 16);
    let first = key(&budget, "alice");
    assert_eq!(kind(first.hold(17 * MIB)), Some(ErrorKind::TooLarge));
    let mut held = first.hold(10 * MIB).unwrap();
    assert_eq!(held.grow(7 * MIB).unwrap_err().code, Some("memory_share_exceeded"));
    let error = key(&budget, "alice").hold(7 * MIB).unwrap_err();
    assert_eq!((error.kind, error.code), (ErrorKind::Overloaded, Some("memory_full")));
    assert!(error.retry_after.is_some());
    assert!(key(&budget, "bob").hold(7 * MIB).is_ok());
    drop(held);
    assert!(key(&budget, "alice").hold(7 * MIB).is_ok());
}

#[test]
fn four_greedy_keys_leave_room_for_others() {
    let budget = budget(256, 64);
    let mut held = Vec::new();
    for name in ["a", "b", "c", "d"] {
        // However small the pieces they take.
        while let Ok(hold) = key(&budget, name).hold(64 << 10) {
            held.push(hold);
        }
    }
    assert!((200 * MIB..230 * MIB).contains(&budget.used()), "{}", budget.used());
    let ordinary: Vec<_> = (0..16).map(|name| key(&budget, &name.to_string()).hold(512 << 10)).collect();
    assert!(ordinary.iter().all(Result::is_ok), "16 ordinary keys with half a MiB each");
}

#[test]
fn an_owner_that_is_alone_may_use_all_of_a_large_share() {
    let budget = budget(64, 64);
    assert!(key(&budget, "alice").hold(59 * MIB).is_ok());
    let _other = key(&budget, "bob").hold(5 * MIB).unwrap();
    assert_eq!(kind(key(&budget, "alice").hold(40 * MIB)), Some(ErrorKind::Overloaded));
    assert!(key(&budget, "alice").hold(20 * MIB).is_ok());
}

#[test]
fn sums_beyond_any_number_are_refused() {
    let budget = budget(64, 16);
    let memory = key(&budget, "alice");
    let _some = memory.hold(1).unwrap();
    assert_eq!(kind(memory.hold(usize::MAX)), Some(ErrorKind::TooLarge));
    assert!(RequestMemory::default().hold(usize::MAX).is_ok(), "no budget refuses nothing");
}

#[tokio::test]
async fn work_that_nobody_waits_for_keeps_its_turn_until_it_ends() {
    let budget = budget(64, 64);
    let memory = key(&budget, "alice");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = crate::aside(&memory, 30 * MIB, move || wait.recv().map_err(|_| Error::internal("gone")));
    assert!(tokio::time::timeout(Duration::from_millis(50), first).await.is_err());
    let mut second = std::pin::pin!(crate::aside(&memory, 30 * MIB, || Ok(())));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
    go.send(()).unwrap();
    second.await.unwrap();
}
