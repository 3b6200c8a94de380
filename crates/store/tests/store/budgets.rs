//! Budgets with a period, on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a server
//! on which databases may be created.

use std::collections::BTreeMap;

use store::{
    Budget, BudgetOwner, BudgetPeriod, BudgetScope, BudgetTerms, BudgetZone, Key, MAX_BUDGETS, MAX_COST, REFUNDED,
    Store, StoreError, UsageRecord, check_budgets,
};

use crate::databases::on_each_database;
use crate::usage_sums::{DAY, HOUR, add_keys};

/// Noon of 2026-10-25 (UTC), a Sunday on which the clocks of Berlin are set back.
const NOON: i64 = 1_792_929_600_000_000;

fn terms(period: BudgetPeriod, amount: i64) -> BudgetTerms {
    let (scope, zone) = (BudgetScope::Owner, BudgetZone::default());
    BudgetTerms { scope, period, zone, amount: Some(amount), warn_at: None }
}

fn record(id: &str, key: &Key, at: i64, cost: i64) -> UsageRecord {
    UsageRecord {
        id: id.into(),
        at,
        key_id: Some(key.id.as_str().into()),
        project_id: Some(key.project_id.as_str().into()),
        cost,
        outcome: "stop".into(),
        ..UsageRecord::default()
    }
}

/// The amount that is spent of each window of a budget, by end user and beginning.
async fn spent(store: &Store, budget: &Budget) -> BTreeMap<(String, i64), i64> {
    let spends = store.budget_spend_changed(0, 0).await.unwrap().into_iter();
    let own = spends.filter(|spend| spend.budget_id == budget.id);
    own.map(|spend| ((spend.end_user, spend.window.starts_at), spend.spent)).collect()
}

fn by_start(spent: &[(i64, i64)]) -> BTreeMap<(String, i64), i64> {
    spent.iter().map(|(starts_at, spent)| ((String::new(), *starts_at), *spent)).collect()
}

#[tokio::test]
async fn a_cost_counts_in_the_window_of_its_request_for_key_project_and_user() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let (alice, team) = (&keys[0], store.project("team").await.unwrap());
        let user = store.user("olga").await.unwrap();
        let berlin = BudgetTerms { zone: BudgetZone::parse("Europe/Berlin").unwrap(), ..terms(BudgetPeriod::Day, 9) };
        let day = store.set_budgets(BudgetOwner::Key(alice), &[berlin]).await.unwrap();
        let week = store.set_budgets(BudgetOwner::Project(&team), &[terms(BudgetPeriod::Week, 9)]).await.unwrap();
        let month = store.set_budgets(BudgetOwner::User(&user), &[terms(BudgetPeriod::Month, 9)]).await.unwrap();
        // The day in Berlin lasts from 22:00 of the day before until 23:00 (UTC).
        let midnight = NOON - 12 * HOUR;
        let (begin, end) = (midnight - 2 * HOUR, midnight + 23 * HOUR);
        let records = [
            record("a", alice, begin - 1, 1),
            record("b", alice, begin, 20),
            record("c", alice, end - 1, 300),
            record("d", alice, end, 4000),
            record("e", &keys[1], NOON, 50_000),
        ];
        let updates = store.insert_records(&records).await.unwrap();
        // A record that exists counts once.
        assert!(store.insert_records(&records[..1]).await.unwrap().budgets.is_empty());
        assert_eq!(spent(&store, &day[0]).await, by_start(&[(begin - DAY, 1), (begin, 320), (end, 4000)]));
        let monday = midnight - 6 * DAY;
        assert_eq!(spent(&store, &week[0]).await, by_start(&[(monday, 54_321)]));
        assert_eq!(spent(&store, &month[0]).await, by_start(&[(midnight - 24 * DAY, 4321)]));
        assert_eq!(updates.budgets.len(), 5);
        assert!(updates.budgets.iter().any(|spend| spend.budget_id == week[0].id && spend.spent == 54_321));

        // A refund counts where its request did.
        let refund = UsageRecord { outcome: REFUNDED.into(), ..record("b:refund", alice, end + DAY, -20) };
        store.insert_records(&[refund]).await.unwrap();
        assert_eq!(spent(&store, &day[0]).await, by_start(&[(begin - DAY, 1), (begin, 300), (end, 4000)]));

        store.delete_budget_spend_before(end).await.unwrap();
        assert_eq!(spent(&store, &day[0]).await, by_start(&[(begin, 300), (end, 4000)]));
    })
    .await;
}

#[tokio::test]
async fn a_new_budget_starts_with_what_its_window_has_cost() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let owner = BudgetOwner::Key(&keys[0]);
        let now = store::now_micros();
        let of_bob = |id, cost| UsageRecord { end_user: Some("bob".into()), ..record(id, &keys[0], now, cost) };
        let others = [record("x", &keys[1], now, 7), record("long ago", &keys[0], now - 400 * DAY, 1000)];
        store.insert_records(&[record("a", &keys[0], now, 5), of_bob("b", 20), of_bob("c", 1)]).await.unwrap();
        store.insert_records(&others).await.unwrap();
        let zone = BudgetZone::parse("Asia/Kathmandu").unwrap();
        let scopes = [BudgetScope::Owner, BudgetScope::EachEndUser, BudgetScope::EndUser("bob".into())];
        let each = scopes.map(|scope| BudgetTerms { scope, zone: zone.clone(), ..terms(BudgetPeriod::Month, 100) });
        let total = terms(BudgetPeriod::Total, 100);
        let budgets = store.set_budgets(owner, &[each.to_vec(), vec![total.clone()]].concat()).await.unwrap();
        let starts_at = BudgetPeriod::Month.window(&zone, now).starts_at;
        assert_eq!(spent(&store, &budgets[0]).await, by_start(&[(starts_at, 26)]));
        assert_eq!(spent(&store, &budgets[1]).await, BTreeMap::from([(("bob".into(), starts_at), 21)]));
        assert_eq!(spent(&store, &budgets[2]).await, by_start(&[(starts_at, 21)]));
        assert_eq!(spent(&store, &budgets[3]).await, by_start(&[(0, 1026)]));

        let states = &store.budget_states().await.unwrap()[&keys[0].id];
        let listed: Vec<_> = states.iter().map(|state| (state.window.starts_at, state.spent)).collect();
        assert_eq!(listed, [(starts_at, Some(26)), (starts_at, None), (starts_at, Some(21)), (0, Some(1026))]);
        assert_eq!(store.end_user_spend(&keys[0].id).await.unwrap()[0].spent, 21);

        // Another amount keeps what is spent, and a removed budget is read once more.
        let since = store::now_micros();
        let more = [BudgetTerms { amount: Some(200), warn_at: Some(0), ..total.clone() }];
        let changed = store.set_budgets(owner, &more).await.unwrap();
        assert_eq!((&changed[0].id, &changed[0].terms), (&budgets[3].id, &more[0]));
        assert_eq!(store.budgets(owner).await.unwrap(), changed);
        assert_eq!(spent(&store, &changed[0]).await, by_start(&[(0, 1026)]));
        let seen = store.budgets_changed(since).await.unwrap();
        assert_eq!(seen.iter().map(|budget| budget.is_removed).collect::<Vec<_>>(), [true, true, true, false]);
        store.set_budgets(owner, &[]).await.unwrap();
        assert!(store.insert_records(&[record("z", &keys[0], now, 5)]).await.unwrap().budgets.is_empty());
    })
    .await;
}

#[tokio::test]
async fn end_users_count_alone_unless_they_have_budgets_of_their_own() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let scopes = [BudgetScope::Owner, BudgetScope::EachEndUser, BudgetScope::EndUser("vip".into())];
        let budgets = scopes.map(|scope| BudgetTerms { scope, ..terms(BudgetPeriod::Day, 100) });
        let budgets = store.set_budgets(BudgetOwner::Key(&keys[0]), &budgets).await.unwrap();
        let of = |id, end_user: Option<&str>, cost| UsageRecord {
            end_user: end_user.map(Into::into),
            ..record(id, &keys[0], NOON, cost)
        };
        let records = [of("a", Some("vip"), 1), of("b", Some("bob"), 20), of("c", Some(""), 300), of("d", None, 4000)];
        store.insert_records(&records).await.unwrap();
        let midnight = NOON - 12 * HOUR;
        assert_eq!(spent(&store, &budgets[0]).await, by_start(&[(midnight, 4321)]));
        let each = BTreeMap::from([(("bob".into(), midnight), 20), ((String::new(), midnight), 300)]);
        assert_eq!(spent(&store, &budgets[1]).await, each);
        assert_eq!(spent(&store, &budgets[2]).await, by_start(&[(midnight, 1)]));
        let refund = UsageRecord { outcome: REFUNDED.into(), ..record("b:refund", &keys[0], NOON + 9 * DAY, -20) };
        store.insert_records(&[refund]).await.unwrap();
        assert_eq!(spent(&store, &budgets[1]).await[&("bob".to_owned(), midnight)], 0);
    })
    .await;
}

#[tokio::test]
async fn two_writers_and_a_new_budget_lose_nothing() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let user = store.user("olga").await.unwrap();
        let writer = |name: &'static str| {
            let (store, key) = (store.clone(), keys[0].clone());
            tokio::spawn(async move {
                for number in 0..30 {
                    let at = store::now_micros();
                    store.insert_records(&[record(&format!("{name}{number}"), &key, at, 1)]).await.unwrap();
                }
            })
        };
        let writers = [writer("a"), writer("b")];
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let total = [terms(BudgetPeriod::Total, 100)];
        let of_key = store.set_budgets(BudgetOwner::Key(&keys[0]), &total).await.unwrap();
        let of_user = store.set_budgets(BudgetOwner::User(&user), &total).await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        for budget in [&of_key[0], &of_user[0]] {
            assert_eq!(spent(&store, budget).await, by_start(&[(0, 60)]));
        }
    })
    .await;
}

#[tokio::test]
async fn sums_out_of_range_are_refused_and_change_nothing() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let user = store.user("olga").await.unwrap();
        let budgets = store.set_budgets(BudgetOwner::User(&user), &[terms(BudgetPeriod::Total, 0)]).await.unwrap();
        let most: Vec<_> = (0..9000).map(|number| record(&number.to_string(), &keys[0], NOON, MAX_COST)).collect();
        store.insert_records(&most).await.unwrap();
        assert_eq!(spent(&store, &budgets[0]).await, by_start(&[(0, store::MAX_SPENT)]));
        // Another key of the same user would fit alone.
        let project = store.project("team").await.unwrap();
        let limits = store::Limits::default();
        let new = store::NewKey { project: &project, user: Some(&user), name: "two", hash: "two", tail: "", limits };
        let two = UsageRecord { project_id: None, ..record("two", &store.add_key(new).await.unwrap(), NOON, 1) };
        assert!(matches!(store.insert_records(&[two]).await, Err(StoreError::Refused(_))));
        assert_eq!(store.key("two").await.unwrap().spent, 0);
    })
    .await;
}

#[test]
fn budgets_that_make_no_sense_are_refused_with_a_reason() {
    let day = terms(BudgetPeriod::Day, 1);
    let each = BudgetTerms { scope: BudgetScope::EachEndUser, ..day.clone() };
    let of = |name: &str| BudgetTerms { scope: BudgetScope::EndUser(name.into()), ..day.clone() };
    let fine = [
        day.clone(),
        each.clone(),
        of("a"),
        of("b"),
        terms(BudgetPeriod::Week, 0),
        terms(BudgetPeriod::Total, i64::MAX),
    ];
    assert_eq!(check_budgets(&fine, true), Ok(()));
    let many: Vec<_> = (0..=MAX_BUDGETS).map(|number| of(&number.to_string())).collect();
    let empty = BudgetTerms { amount: None, ..day.clone() };
    let late = BudgetTerms { warn_at: Some(2), ..day.clone() };
    for (bad, reason) in [
        (
            vec![day.clone(), BudgetTerms { zone: BudgetZone::parse("Asia/Tokyo").unwrap(), ..day.clone() }],
            "two budgets",
        ),
        (vec![empty], "neither"),
        (vec![late], "above its amount"),
        (vec![of("")], "1 to 256 bytes"),
        (vec![of("a\nb")], "control characters"),
        (vec![of(&"x".repeat(257))], "1 to 256 bytes"),
        (many, "at most 100"),
    ] {
        assert!(check_budgets(&bad, true).unwrap_err().contains(reason), "{reason}");
    }
    assert!(check_budgets(&[each], false).unwrap_err().contains("only keys"));
}
