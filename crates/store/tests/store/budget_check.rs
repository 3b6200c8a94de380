//! The integrity check of budgets that renew, on SQLite, and on PostgreSQL when
//! `CACHALOT_TEST_POSTGRES` names a server on which databases may be created.

use store::{
    BudgetOwner, BudgetPeriod, BudgetScope, BudgetTerms, BudgetZone, Key, REFUNDED, Store, StoreError, UsageRecord,
    now_micros,
};

use crate::amounts::execute_sql;
use crate::databases::on_each_database;
use crate::usage_sums::{DAY, add_keys};

fn terms(period: BudgetPeriod, scope: BudgetScope) -> BudgetTerms {
    BudgetTerms { scope, period, zone: BudgetZone::default(), amount: Some(9), warn_at: None }
}

fn record(id: &str, key: &Key, at: i64, end_user: Option<&str>, cost: i64) -> UsageRecord {
    UsageRecord {
        id: id.into(),
        at,
        key_id: Some(key.id.as_str().into()),
        project_id: Some(key.project_id.as_str().into()),
        end_user: end_user.map(Into::into),
        cost,
        outcome: "stop".into(),
        ..UsageRecord::default()
    }
}

fn refund(id: &str, key: &Key, at: i64, cost: i64) -> UsageRecord {
    UsageRecord { outcome: REFUNDED.into(), ..record(id, key, at, None, cost) }
}

/// The mismatches: the name, the value and the expected one.
async fn differences(store: &Store) -> Vec<(String, String, i64)> {
    let found = store.check_integrity(&[]).await.unwrap().mismatches.into_iter();
    found.map(|mismatch| (mismatch.name, mismatch.actual, mismatch.expected)).collect()
}

#[tokio::test]
async fn budgets_are_compared_with_the_records_of_their_windows_and_repaired() {
    on_each_database(async |store, url| {
        let keys = add_keys(&store).await;
        let (alice, team, olga) = (&keys[0], store.project("team").await.unwrap(), store.user("olga").await.unwrap());
        let now = now_micros();
        let before = now - 40 * DAY;
        let each = [terms(BudgetPeriod::Day, BudgetScope::EachEndUser), terms(BudgetPeriod::Month, BudgetScope::Owner)];
        store.set_budgets(BudgetOwner::Key(alice), &each).await.unwrap();
        let records = [
            record("old", alice, before, None, 1000),
            record("a", alice, now, Some("bob"), 20),
            record("b", alice, now, Some("eve"), 7),
            record("c", alice, now, None, 300),
            record("d", &keys[1], now, None, 50_000),
        ];
        store.insert_records(&records).await.unwrap();
        let refunds = [refund("old:refund", alice, now, -1000), refund("a:refund", alice, now, -15)];
        store.insert_records(&refunds).await.unwrap();
        // These begin with what the records of their windows cost.
        let total = terms(BudgetPeriod::Total, BudgetScope::Owner);
        let week = terms(BudgetPeriod::Week, BudgetScope::Owner);
        store.set_budgets(BudgetOwner::Project(&team), &[week.clone(), total]).await.unwrap();
        let olgas = store.set_budgets(BudgetOwner::User(&olga), &[week]).await.unwrap();
        let bobs = terms(BudgetPeriod::Total, BudgetScope::EndUser("bob".into()));
        store.set_budgets(BudgetOwner::Key(alice), &[&each[..], &[bobs]].concat()).await.unwrap();
        assert_eq!(store.budget_states_of(&olgas[0].owner_id).await.unwrap()[0].spent, Some(312));
        let report = store.check_integrity(&[]).await.unwrap();
        assert_eq!((report.budgets, report.mismatches), (6, vec![]));
        // Bob has a budget of his own now, and no longer counts in the one for each.
        store.insert_records(&[record("e", alice, now, Some("bob"), 4)]).await.unwrap();
        assert_eq!(differences(&store).await, []);

        let of_alice = format!("budget_id in (select id from budgets where owner_id = '{}'", alice.id);
        for statement in [
            "delete from budget_spend where budget_id in (select id from budgets where owner_kind = 'user')".to_owned(),
            format!("update budget_spend set spent = 8 where {of_alice} and scope = 'each') and end_user = 'eve'"),
            format!("update budget_spend set spent = spent + 1 where {of_alice} and scope = 'one')"),
            "update budget_spend set spent = -5 where budget_id in
                 (select id from budgets where owner_kind = 'project' and period = 'total')"
                .into(),
        ] {
            execute_sql(url, &statement).await;
        }
        let mut expected = [
            ("day of key olga, end user eve", "8", 7),
            ("total of key olga, end user bob", "10", 9),
            ("total of project team", "-5", 50_316),
            ("week of user olga", "0", 316),
        ]
        .map(|(name, actual, expected)| (name.to_owned(), actual.to_owned(), expected));
        let mut found = differences(&store).await;
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let since = now_micros();
        let repaired = store.repair_integrity(|_| Ok::<_, StoreError>(())).await.unwrap();
        assert_eq!(repaired.mismatches.len(), 4);
        assert_eq!(differences(&store).await, []);
        // Running servers read what has changed.
        assert_eq!(store.budget_spend_changed(since, now).await.unwrap().len(), 4);
        store.insert_records(&[record("f", alice, now, Some("eve"), 1)]).await.unwrap();
        assert_eq!(differences(&store).await, []);
    })
    .await;
}
