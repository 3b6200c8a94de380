//! Counts and amounts out of range: records that the store refuses, values of older databases, and
//! repairs; on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a server on which
//! databases may be created.

use sqlx::{AssertSqlSafe, Connection, Executor};
use store::{
    IMPLAUSIBLE, Limits, MAX_COST, MAX_SPENT, MAX_TOKENS, Mismatch, NewKey, REFUNDED, SPENT_OVERFLOWED, Store,
    StoreError, UsageGroupBy, UsageRecord,
};

use crate::databases::on_each_database;

/// Executes SQL without the checks of the store, as an older version could.
pub(crate) async fn execute_sql(url: &str, sql: &str) {
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

async fn add_key(store: &Store, name: &str) -> store::Key {
    let project = match store.project("team").await {
        Ok(project) => project,
        Err(_) => store.add_project("team", None).await.unwrap(),
    };
    let limits = Limits { budget: Some(1_000_000_000), ..Limits::default() };
    store.add_key(NewKey { project: &project, user: None, name, hash: name, tail: "last", limits }).await.unwrap()
}

fn record(id: &str, key: &store::Key, cost: i64) -> UsageRecord {
    UsageRecord {
        id: id.into(),
        at: 5,
        key_id: Some(key.id.as_str().into()),
        key_name: key.name.as_str().into(),
        project_id: Some(key.project_id.as_str().into()),
        prompt_tokens: 10,
        completion_tokens: 5,
        cost,
        outcome: "stop".into(),
        ..UsageRecord::default()
    }
}

async fn spent(store: &Store) -> (Vec<i64>, i64) {
    (store.keys().await.unwrap().iter().map(|key| key.spent).collect(), store.project("team").await.unwrap().spent)
}

#[tokio::test]
async fn a_record_out_of_range_is_refused_and_nothing_of_its_batch_is_written() {
    on_each_database(async |store, _| {
        let alice = add_key(&store, "alice").await;
        let changed = |change: fn(&mut UsageRecord)| {
            let mut record = record("changed", &alice, 7);
            change(&mut record);
            record
        };
        for bad in [
            changed(|record| record.cost = MAX_COST + 1),
            changed(|record| record.cost = i64::MAX),
            changed(|record| record.cost = i64::MIN),
            changed(|record| record.prompt_tokens = i64::MAX),
            changed(|record| record.prompt_tokens = -1),
            changed(|record| record.completion_tokens = MAX_TOKENS + 1),
            changed(|record| record.cached_tokens = i64::MIN),
            changed(|record| record.cache_write_tokens = -1),
            changed(|record| record.cache_write_1h_tokens = MAX_TOKENS + 1),
            changed(|record| record.reasoning_tokens = i64::MAX),
        ] {
            let error = store.insert_records(&[record("good", &alice, 1), bad]).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused(_)) && error.is_refusal(), "{error}");
        }
        assert_eq!((store.latest_records(9).await.unwrap().len(), spent(&store).await), (0, (vec![0], 0)));
        let most = UsageRecord { prompt_tokens: MAX_TOKENS, ..record("most", &alice, MAX_COST) };
        let refund = UsageRecord { outcome: REFUNDED.into(), ..record("least", &alice, -MAX_COST) };
        store.insert_records(&[most, refund]).await.unwrap();
        assert_eq!(spent(&store).await, (vec![0], 0));
    })
    .await;
}

#[tokio::test]
async fn spent_amounts_never_leave_their_range() {
    on_each_database(async |store, url| {
        let (alice, bob) = (add_key(&store, "alice").await, add_key(&store, "bob").await);
        for (spent_before, cost, fits) in [
            (MAX_SPENT - 5, 5, true),
            (MAX_SPENT - 5, 6, false),
            (-MAX_COST + 5, -5, true),
            (-MAX_COST + 5, -6, false),
            (i64::MAX, 1, false),
            (i64::MIN, -1, false),
            // A sum that has wrapped around in an older version.
            (-9_223_372_036_854_535_809, 1, false),
        ] {
            execute_sql(url, &format!("update keys set spent = {spent_before} where name = 'alice'")).await;
            let id = format!("{spent_before}{cost}");
            let inserted = store.insert_records(&[record(&id, &alice, cost)]).await;
            match inserted {
                Ok(updates) => assert!(fits && updates.keys[0].spent == spent_before + cost, "{spent_before} + {cost}"),
                Err(error) => assert!(!fits && error.is_refusal(), "{spent_before} + {cost}: {error}"),
            }
            // The records of other keys are not affected.
            store.insert_records(&[record(&format!("b{id}"), &bob, 1)]).await.unwrap();
        }
        assert_eq!(spent(&store).await.0[1], 7);
    })
    .await;
}

#[tokio::test]
async fn a_database_with_overflowed_values_is_read_summed_and_repaired() {
    on_each_database(async |store, url| {
        let (alice, bob) = (add_key(&store, "alice").await, add_key(&store, "bob").await);
        let large = UsageRecord { id: "large".into(), ..record("", &alice, 0) };
        store.insert_records(&[record("1", &alice, 100), record("2", &bob, 30), large]).await.unwrap();
        assert!(store.check_integrity(&[]).await.unwrap().mismatches.is_empty());
        // An older version could write costs and counts of `i64::MAX`, and sums that have
        // overflowed (floats in SQLite).
        let update = "update usage_records set cost = 9223372036854775807, prompt_tokens = 9223372036854775807 where id = 'large'";
        execute_sql(url, update).await;
        let overflowed = if url.starts_with("sqlite") { "9223372036854775807 + 100" } else { "9223372036854775807" };
        execute_sql(url, &format!("update keys set spent = {overflowed} where name = 'alice'")).await;
        execute_sql(url, "update projects set spent = -9223372036854535809").await;

        let store = Store::open(url).await.unwrap();
        let keys = store.keys_changed(0).await.unwrap();
        assert_eq!(keys.iter().map(|key| key.spent).collect::<Vec<_>>(), [SPENT_OVERFLOWED, 30]);
        assert_eq!(store.projects_changed(0).await.unwrap()[0].spent, SPENT_OVERFLOWED);
        for by in [UsageGroupBy::Key, UsageGroupBy::Project, UsageGroupBy::Model, UsageGroupBy::Upstream, UsageGroupBy::Day] {
            let totals = store.usage(0, by).await.unwrap();
            assert_eq!(totals.iter().map(|total| total.cost).sum::<i64>(), 130, "{by:?}");
        }
        assert_eq!(store.latest_records(9).await.unwrap().len(), 3);
        // Other records are inserted meanwhile, but not those of the project whose
        // sum has overflowed.
        let lone = UsageRecord { project_id: None, ..record("3", &bob, 5) };
        store.insert_records(&[lone]).await.unwrap();
        assert!(store.insert_records(&[record("4", &alice, 1)]).await.unwrap_err().is_refusal());

        let found = store.check_integrity(&["1".into(), "4".into()]).await.unwrap();
        assert_eq!((found.records, found.keys, found.projects, &*found.missing_records), (4, 2, 1, &[1][..]));
        let mismatches: Vec<_> = found.mismatches.iter().map(|mismatch| (mismatch.table, mismatch.column, mismatch.name.as_str(), mismatch.expected)).collect();
        let want = [
            ("record", "prompt_tokens", "alice", 0),
            ("record", "cost", "alice", 0),
            ("key", "spent", "alice", 100),
            ("project", "spent", "team", 130),
            ("hour", "wrong sums", "1970-01-01T00:00:00Z", 0),
            ("day", "wrong sums", "1970-01-01T00:00:00Z", 0),
        ];
        assert_eq!(mismatches, want);

        let stopped = store.repair_integrity(|_| Err(StoreError::Refused("stopped".into()))).await;
        assert!(stopped.is_err());
        assert_eq!(store.check_integrity(&[]).await.unwrap().mismatches, found.mismatches, "nothing was changed");
        let mut saved = Vec::new();
        let repaired = store.repair_integrity(|mismatches: &[Mismatch]| {
            saved = mismatches.to_vec();
            Ok::<_, StoreError>(())
        });
        assert_eq!(repaired.await.unwrap().mismatches, saved);
        assert_eq!(saved, found.mismatches);
        assert!(store.check_integrity(&[]).await.unwrap().mismatches.is_empty());
        assert_eq!(spent(&store).await, (vec![100, 35], 130));
        let repaired = store.latest_records(9).await.unwrap().into_iter().find(|record| record.id == "large").unwrap();
        assert_eq!((&*repaired.outcome, repaired.estimated, repaired.cost), (IMPLAUSIBLE, true, 0));
        store.insert_records(&[record("4", &alice, 1)]).await.unwrap();
        assert_eq!(spent(&store).await, (vec![101, 35], 131));
    })
    .await;
}

#[tokio::test]
async fn refunds_belong_to_the_sums_and_a_task_with_a_cost_out_of_range_is_found() {
    on_each_database(async |store, url| {
        let alice = add_key(&store, "alice").await;
        let job = Some(store::TaskId { kind: "suno".into(), id: "t".into() });
        let submitted = UsageRecord { job, ..record("1", &alice, 100) };
        let refund = UsageRecord { outcome: REFUNDED.into(), ..record("1:refund", &alice, -100) };
        store.insert_records(&[submitted, refund]).await.unwrap();
        assert!(store.check_integrity(&[]).await.unwrap().mismatches.is_empty());
        execute_sql(url, "update jobs set cost = 9223372036854775807").await;
        let found = store.check_integrity(&[]).await.unwrap().mismatches;
        assert_eq!(
            found.iter().map(|mismatch| (mismatch.table, mismatch.column, &*mismatch.id)).collect::<Vec<_>>(),
            [("task", "cost", "1")]
        );
    })
    .await;
}

#[tokio::test]
async fn a_refusal_differs_from_a_database_that_is_away() {
    on_each_database(async |store, url| {
        let alice = add_key(&store, "alice").await;
        let trigger = if url.starts_with("sqlite") {
            "create trigger refuse before insert on usage_records when new.id = 'bad' begin select raise(abort, 'no'); end"
        } else {
            "create function refuse() returns trigger as $$ begin if new.id = 'bad' then raise 'no'; end if; return new; end $$ language plpgsql;
             create trigger refuse before insert on usage_records for each row execute function refuse()"
        };
        for statement in if url.starts_with("sqlite") { vec![trigger] } else { trigger.split_inclusive("plpgsql;").collect() } {
            execute_sql(url, statement).await;
        }
        assert!(store.insert_records(&[record("bad", &alice, 1)]).await.unwrap_err().is_refusal());
        store.check_accepts_records().await.unwrap();
        execute_sql(url, "alter table usage_records rename to renamed").await;
        assert!(store.check_accepts_records().await.is_err());
        execute_sql(url, "alter table renamed rename to usage_records").await;
        assert_eq!(store.latest_records(9).await.unwrap().len(), 0, "the check leaves no record");
    })
    .await;
}
