use tokio::sync::watch;

use super::maintenance::wait_for_stop;
use super::*;
use crate::limits::budget::BudgetRequest;
use crate::limits::owner_budgets::OwnerBudgets;

const DOLLAR: i64 = 1_000_000_000;

/// `N` replicas that share a new key; `None` without a Redis to test with.
async fn replicas<const N: usize>(budget: Option<i64>) -> Option<[(RedisLeases, Arc<KeyLimits>); N]> {
    let Ok(url) = std::env::var("CACHALOT_TEST_REDIS") else {
        eprintln!("skipped: CACHALOT_TEST_REDIS is not set");
        return None;
    };
    let name = uuid::Uuid::now_v7().to_string();
    let mut replicas = Vec::new();
    for _ in 0..N {
        let project = Arc::new(Budget::new(format!("project:{name}"), true));
        let key_limits = KeyLimits::new(&name, project, Vec::new(), true);
        key_limits.key_budget.update(budget, 0, 1);
        replicas.push((RedisLeases::connect(&url).await.unwrap(), Arc::new(key_limits)));
    }
    replicas.try_into().ok()
}

fn reservation(cost: i64) -> ReservationRequest {
    ReservationRequest { tokens: 10, budget: BudgetRequest { amount: cost, minimum: 1, overdraft: 0 }, at: 0 }
}

async fn admit(
    replica: &(RedisLeases, Arc<KeyLimits>),
    rate_limits: RateLimits,
    request: ReservationRequest,
) -> Result<Permit, ErrorKind> {
    let budgets = replica.1.budgets(request.at, None);
    replica.0.admit(&replica.1, &budgets, rate_limits, request).await.map_err(|error| error.kind)
}

#[tokio::test]
async fn replicas_together_spend_no_more_than_a_budget() {
    let Some(replicas) = replicas::<3>(Some(10 * DOLLAR)).await else { return };
    let mut permits = Vec::new();
    let mut spent = 0;
    for turn in 0.. {
        match admit(&replicas[turn % 3], RateLimits::default(), reservation(DOLLAR / 10)).await {
            Ok(mut permit) => {
                permit.settle(10, DOLLAR / 10);
                spent += DOLLAR / 10;
                if turn % 2 == 0 {
                    permits.push(permit);
                }
            }
            Err(kind) => {
                assert_eq!(kind, ErrorKind::InsufficientBalance);
                break;
            }
        }
    }
    assert!(spent <= 10 * DOLLAR, "{spent}");
    // Unused leases are returned, and the budget can be spent to the last cent.
    for (leases, _) in &replicas {
        leases.renew(false).await.unwrap();
    }
    while let Ok(mut permit) = admit(&replicas[0], RateLimits::default(), reservation(DOLLAR / 10)).await {
        permit.settle(10, DOLLAR / 10);
        spent += DOLLAR / 10;
    }
    assert_eq!(spent, 10 * DOLLAR);
}

#[tokio::test]
async fn what_is_committed_counts_once() {
    let Some([one, two]) = replicas::<2>(Some(10 * DOLLAR)).await else { return };
    let mut permit = admit(&one, RateLimits::default(), reservation(6 * DOLLAR)).await.unwrap();
    permit.settle(10, 6 * DOLLAR);
    drop(permit);
    // The second replica receives what is left, although it requested more.
    let second = admit(&two, RateLimits::default(), reservation(6 * DOLLAR)).await.unwrap();
    assert_eq!(two.1.key_budget.start_report().unwrap().used, 4 * DOLLAR);
    assert_eq!(admit(&one, RateLimits::default(), reservation(1)).await.unwrap_err(), ErrorKind::InsufficientBalance);
    drop(second);
    two.0.renew(false).await.unwrap();
    // The store has committed it, which only the first replica knows until it reports.
    one.1.key_budget.set_committed(6 * DOLLAR, 2);
    one.1.key_budget.record_committed(6 * DOLLAR);
    one.0.renew(false).await.unwrap();
    let permit = admit(&two, RateLimits::default(), reservation(6 * DOLLAR)).await.unwrap();
    assert_eq!(two.1.key_budget.start_report().unwrap().used, 4 * DOLLAR);
    drop(permit);
    // A refund of a later time.
    two.1.key_budget.update(Some(10 * DOLLAR), DOLLAR, 3);
    two.0.renew(false).await.unwrap();
    let permit = admit(&two, RateLimits::default(), reservation(6 * DOLLAR)).await.unwrap();
    assert_eq!(two.1.key_budget.start_report().unwrap().used, 6 * DOLLAR);
    drop(permit);
}

#[tokio::test]
async fn leases_of_a_dead_replica_are_free_once_its_journal_is_committed() {
    let Some([dead, living]) = replicas::<2>(Some(10 * DOLLAR)).await else { return };
    let permit = admit(&dead, RateLimits::default(), reservation(10 * DOLLAR)).await.unwrap();
    std::mem::forget(permit);
    assert_eq!(
        admit(&living, RateLimits::default(), reservation(1)).await.unwrap_err(),
        ErrorKind::InsufficientBalance
    );
    let dead = dead.0.replica().to_owned();
    living.0.release_dead_replicas(&[dead]).await.unwrap();
    admit(&living, RateLimits::default(), reservation(10 * DOLLAR)).await.unwrap();
}

#[tokio::test]
async fn replicas_together_stay_within_a_rate_limit() {
    let Some(replicas) = replicas::<3>(None).await else { return };
    let rate_limits = RateLimits { requests: Some(7), tokens: Some(6000), concurrency: None };
    let mut admitted = 0;
    for turn in 0..30 {
        match admit(&replicas[turn % 3], rate_limits, reservation(0)).await {
            Ok(mut permit) => {
                admitted += 1;
                permit.settle(10, 0);
            }
            Err(kind) => assert_eq!(kind, ErrorKind::RateLimited),
        }
    }
    assert_eq!(admitted, 7);
    // A request that used more than it reserved leaves a debt that all replicas share.
    let rate_limits = RateLimits { requests: None, ..rate_limits };
    let mut permit = admit(&replicas[0], rate_limits, reservation(0)).await.unwrap();
    permit.settle(10_000, 0);
    drop(permit);
    for (leases, _) in &replicas {
        leases.renew(false).await.unwrap();
    }
    let error = replicas[1].0.admit(&replicas[1].1, &[], rate_limits, reservation(0)).await.unwrap_err();
    let wait = error.retry_after.unwrap().as_secs();
    assert!(error.kind == ErrorKind::RateLimited && (35..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn concurrency_is_limited_on_all_replicas_together() {
    let Some([one, two]) = replicas::<2>(None).await else { return };
    let rate_limits = RateLimits { concurrency: Some(2), ..RateLimits::default() };
    let first = admit(&one, rate_limits, reservation(0)).await.unwrap();
    let second = admit(&two, rate_limits, reservation(0)).await.unwrap();
    assert_eq!(admit(&one, rate_limits, reservation(0)).await.unwrap_err(), ErrorKind::RateLimited);
    assert_eq!(admit(&two, rate_limits, reservation(0)).await.unwrap_err(), ErrorKind::RateLimited);
    let (stop, stopping) = watch::channel(false);
    drop(second);
    stop.send_replace(true);
    two.0.run_maintenance(stopping).await;
    let third = admit(&one, rate_limits, reservation(0)).await.unwrap();
    drop((first, third));
}

#[tokio::test]
async fn many_concurrent_requests_on_two_replicas_are_all_admitted() {
    let Some([one, two]) = replicas::<2>(Some(1000 * DOLLAR)).await else { return };
    let rate_limits = RateLimits { requests: Some(600), tokens: Some(1_000_000), concurrency: Some(300) };
    let all = (0..200).map(|turn| admit(if turn % 2 == 0 { &one } else { &two }, rate_limits, reservation(DOLLAR)));
    let permits = futures_util::future::join_all(all).await;
    assert_eq!(permits.iter().filter(|permit| permit.is_ok()).count(), 200);
}

#[tokio::test]
async fn without_redis_only_keys_with_limits_are_refused() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = RedisLeases::connect(&format!("redis://:secret@{closed}")).await.unwrap_err().to_string();
    assert!(error.contains("Redis") && !error.contains("secret"), "{error}");
    assert!(RedisLeases::connect("postgres://x").await.is_err());

    let Some(proxy) = Proxy::start().await else { return };
    let leases = RedisLeases::connect(&format!("redis://{}", proxy.address)).await.unwrap();
    let name = uuid::Uuid::now_v7().to_string();
    let key_limits = KeyLimits::new(&name, Arc::new(Budget::new(format!("project:{name}"), true)), Vec::new(), true);
    let replica = (leases, Arc::new(key_limits));
    let limited = RateLimits { requests: Some(1_000_000), ..RateLimits::default() };
    admit(&replica, limited, reservation(0)).await.unwrap();
    proxy.disconnected.send_replace(true);
    admit(&replica, RateLimits::default(), reservation(0)).await.unwrap();
    let mut last = Ok(());
    for _ in 0..10_000 {
        last = admit(&replica, limited, reservation(0)).await.map(drop);
        if last.is_err() {
            break;
        }
    }
    assert_eq!(last, Err(ErrorKind::Overloaded), "the lease is used up");
    proxy.disconnected.send_replace(false);
    for _ in 0..100 {
        if admit(&replica, limited, reservation(0)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("Redis is available again, and requests are still refused");
}

/// A proxy in front of the Redis server of the tests, which can be disconnected.
struct Proxy {
    address: std::net::SocketAddr,
    disconnected: watch::Sender<bool>,
}

impl Proxy {
    async fn start() -> Option<Self> {
        let url = std::env::var("CACHALOT_TEST_REDIS").ok()?;
        let server_address = url.trim_start_matches("redis://").trim_end_matches('/').to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (disconnected, is_disconnected) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut is_disconnected = is_disconnected.clone();
                let server_address = server_address.clone();
                if *is_disconnected.borrow() {
                    continue;
                }
                tokio::spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(server_address).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut socket, &mut server) => {}
                        () = wait_for_stop(&mut is_disconnected) => {}
                    }
                });
            }
        });
        Some(Self { address, disconnected })
    }
}

#[tokio::test]
async fn a_fixed_price_and_an_overdraft_hold_on_all_replicas() {
    let Some([one, two]) = replicas::<2>(Some(10 * DOLLAR)).await else { return };
    let fixed = |cost| ReservationRequest {
        tokens: 10,
        budget: BudgetRequest { amount: cost, minimum: cost, overdraft: 0 },
        at: 0,
    };
    assert_eq!(
        admit(&one, RateLimits::default(), fixed(11 * DOLLAR)).await.unwrap_err(),
        ErrorKind::InsufficientBalance
    );
    let first = admit(&one, RateLimits::default(), fixed(6 * DOLLAR)).await.unwrap();
    // Four are left, on any replica.
    assert_eq!(
        admit(&two, RateLimits::default(), fixed(5 * DOLLAR)).await.unwrap_err(),
        ErrorKind::InsufficientBalance
    );
    let second = admit(&two, RateLimits::default(), fixed(4 * DOLLAR)).await.unwrap();
    drop((first, second));
    for replica in [&one, &two] {
        replica.0.renew(false).await.unwrap();
    }
    // With an overdraft of two, all replicas together go two below zero.
    let bounded = |cost| ReservationRequest {
        tokens: 10,
        budget: BudgetRequest { amount: cost, minimum: cost, overdraft: 2 * DOLLAR },
        at: 0,
    };
    let first = admit(&one, RateLimits::default(), bounded(7 * DOLLAR)).await.unwrap();
    let second = admit(&two, RateLimits::default(), bounded(5 * DOLLAR)).await.unwrap();
    for replica in [&one, &two] {
        assert_eq!(
            admit(replica, RateLimits::default(), bounded(1)).await.unwrap_err(),
            ErrorKind::InsufficientBalance
        );
    }
    drop((first, second));
}

#[tokio::test]
async fn amounts_that_a_float_cannot_tell_apart_are_exact() {
    // Above 2^53 a float cannot represent odd numbers.
    let budget = 9_000_000_000 * DOLLAR + 7;
    let Some([one, two]) = replicas::<2>(Some(budget)).await else { return };
    for replica in [&one, &two] {
        replica.1.key_budget.update(Some(budget), budget - 1_000_000_001, 2);
    }
    let exact = |cost| ReservationRequest {
        tokens: 10,
        budget: BudgetRequest { amount: cost, minimum: cost, overdraft: 0 },
        at: 0,
    };
    assert_eq!(
        admit(&one, RateLimits::default(), exact(1_000_000_002)).await.unwrap_err(),
        ErrorKind::InsufficientBalance
    );
    one.0.renew(false).await.unwrap();
    let first = admit(&one, RateLimits::default(), exact(600_000_001)).await.unwrap();
    assert_eq!(
        admit(&two, RateLimits::default(), exact(400_000_001)).await.unwrap_err(),
        ErrorKind::InsufficientBalance
    );
    let second = admit(&two, RateLimits::default(), exact(400_000_000)).await.unwrap();
    assert_eq!(admit(&two, RateLimits::default(), exact(1)).await.unwrap_err(), ErrorKind::InsufficientBalance);
    drop((first, second));
    // Overflowed sums lease nothing.
    for (limit, committed) in [(5, i64::MAX), (i64::MAX, i64::MAX), (i64::MAX, i64::MIN), (0, 0), (i64::MAX, 0)] {
        one.1.key_budget.update(Some(limit), committed, 3);
        let permit = admit(&one, RateLimits::default(), exact(1)).await;
        assert_eq!(permit.is_ok(), i128::from(limit) - i128::from(committed) > 0, "{limit} {committed}");
        drop(permit);
        one.0.renew(false).await.unwrap();
    }
}

#[tokio::test]
async fn replicas_share_each_window_of_a_budget() {
    let Some([mut one, mut two]) = replicas::<2>(None).await else { return };
    let zone = store::BudgetZone::default();
    let scope = store::BudgetScope::Owner;
    let terms =
        store::BudgetTerms { scope, period: store::BudgetPeriod::Day, zone, amount: Some(10 * DOLLAR), warn_at: None };
    let id = uuid::Uuid::now_v7().to_string();
    let budget = store::Budget { id, owner_id: "k".into(), terms, is_removed: false, changed_at: 1 };
    for replica in [&mut one, &mut two] {
        let owner = Arc::new(OwnerBudgets::new(true));
        owner.update(&budget);
        let key_limits = KeyLimits::new("k", Arc::new(Budget::new("project:k".into(), true)), vec![owner], true);
        replica.1 = Arc::new(key_limits);
    }
    let at = |at, cost| ReservationRequest {
        tokens: 0,
        budget: BudgetRequest { amount: cost, minimum: cost, overdraft: 0 },
        at,
    };
    let rate_limits = RateLimits::default();
    let first = admit(&one, rate_limits, at(0, 6 * DOLLAR)).await.unwrap();
    let refused = admit(&two, rate_limits, at(0, 5 * DOLLAR)).await.unwrap_err();
    assert_eq!(refused, ErrorKind::InsufficientBalance);
    let second = admit(&two, rate_limits, at(0, 4 * DOLLAR)).await.unwrap();
    // The next day is another budget.
    let next_day = admit(&two, rate_limits, at(store::DAY_MICROS, 10 * DOLLAR)).await.unwrap();
    assert!(admit(&one, rate_limits, at(store::DAY_MICROS, 1)).await.is_err());
    drop((first, second, next_day));
    for replica in [&one, &two] {
        replica.0.renew(false).await.unwrap();
    }
    admit(&one, rate_limits, at(0, 10 * DOLLAR)).await.unwrap();
}
