//! Sums of hours and days, on SQLite, and on PostgreSQL when
//! `CACHALOT_TEST_POSTGRES` names a server on which databases may be created.

use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use store::{Key, Limits, NewKey, REFUNDED, Role, Store, UsageGroupBy, UsageRecord};

use crate::databases::on_each_database;

/// Takes the tables back to those of the version before sums.
const BEFORE_SUMS: &str = include_str!("before_sums.sql");

pub(crate) use store::{DAY_MICROS as DAY, HOUR_MICROS as HOUR};

async fn execute_sql(url: &str, statements: &[&str]) -> Result<(), sqlx::Error> {
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    for sql in statements {
        connection.execute(AssertSqlSafe((*sql).to_owned())).await?;
    }
    connection.close().await
}

/// Keys of two users in two projects.
pub(crate) async fn add_keys(store: &Store) -> Vec<Key> {
    let mut keys = Vec::new();
    for (name, project) in [("olga", "team"), ("bob", "team"), ("it's", "other")] {
        let project = match store.project(project).await {
            Ok(project) => project,
            Err(_) => store.add_project(project, None).await.unwrap(),
        };
        let user = store.add_user(name, Role::Member).await.unwrap();
        let limits = Limits::default();
        let new = NewKey { project: &project, user: Some(&user), name, hash: name, tail: "", limits };
        keys.push(store.add_key(new).await.unwrap());
    }
    keys
}

/// Records of four days, some of which share hours, keys, models, providers and outcomes.
pub(crate) fn records(keys: &[Key], count: usize) -> Vec<UsageRecord> {
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let outcomes = ["stop", "length", "cancelled", "rate_limited", "timeout", REFUNDED];
    let mut record = |number: usize| {
        let key = keys.get(random(keys.len() as u64 + 1) as usize);
        let outcome = outcomes[random(6) as usize];
        let answered = ["stop", "length"].contains(&outcome);
        UsageRecord {
            id: format!("{number:06}"),
            at: 20_000 * DAY + random(4 * 24 * 3600) as i64 * 1_000_000,
            key_id: key.map(|key| key.id.as_str().into()),
            key_name: key.map_or("", |key| key.name.as_str()).into(),
            project_id: key.map(|key| key.project_id.as_str().into()),
            model: ["m", "n"][random(2) as usize].into(),
            upstream: ["u", "v"][random(2) as usize].into(),
            prompt_tokens: random(1000) as i64,
            cached_tokens: random(100) as i64,
            completion_tokens: random(500) as i64,
            reasoning_tokens: random(50) as i64,
            cost: if outcome == REFUNDED { -5 } else { random(1_000_000) as i64 },
            first_token_us: answered.then(|| random(3_000_000) as i64),
            total_us: if outcome == REFUNDED { 0 } else { 1 + random(90_000_000) as i64 },
            outcome: outcome.into(),
            further_requests: if outcome == "rate_limited" { random(9) as i64 } else { 0 },
            ..UsageRecord::default()
        }
    };
    (0..count).map(&mut record).collect()
}

/// Requests, prompt tokens, cost, and the counts of both histograms, in a table of sums.
async fn table_sums(url: &str, table: &str) -> Vec<i64> {
    let histograms = |prefix: &str| (0..24).map(|bucket| format!("{prefix}_{bucket}")).collect::<Vec<_>>().join(" + ");
    let columns = ["requests", "prompt_tokens", "cost", &histograms("ttft"), &histograms("total")]
        .map(|column| format!("cast(coalesce(sum({column}), 0) as bigint)"));
    let mut connection = sqlx::AnyConnection::connect(url).await.unwrap();
    let select = AssertSqlSafe(format!("select {} from {table}", columns.join(", ")));
    let row = sqlx::query(select).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (0..5).map(|column| row.get(column)).collect()
}

/// The same of records.
fn record_sums(records: &[UsageRecord]) -> Vec<i64> {
    let sum = |of: fn(&UsageRecord) -> i64| records.iter().map(of).sum::<i64>();
    vec![
        sum(UsageRecord::requests),
        sum(|record| record.prompt_tokens),
        sum(|record| record.cost),
        sum(|record| i64::from(record.first_token_us.is_some())),
        sum(|record| i64::from(record.total_us > 0)),
    ]
}

async fn assert_sums(url: &str, records: &[UsageRecord]) {
    for table in ["usage_hours", "usage_days"] {
        assert_eq!(table_sums(url, table).await, record_sums(records), "{table}");
    }
}

async fn all_records(store: &Store) -> Vec<UsageRecord> {
    store.latest_records(100_000).await.unwrap()
}

#[tokio::test]
async fn the_sums_of_days_hours_and_records_are_equal() {
    on_each_database(async |store, url| {
        let keys = add_keys(&store).await;
        let records = records(&keys, 600);
        store.insert_records(&records[..200]).await.unwrap();
        // Some of these are known already.
        store.insert_records(&records[150..450]).await.unwrap();
        assert_sums(url, &records[..450]).await;
        // A batch that fails in the middle changes nothing; neither does a server that dies in it.
        let error = if url.starts_with("sqlite") {
            "create trigger refuse before insert on usage_days when new.at = 1728172800000000 begin select raise(abort, 'no'); end"
        } else {
            "alter table usage_days add constraint refuse check (at <> 1728172800000000) not valid"
        };
        execute_sql(url, &[error]).await.unwrap();
        assert!(store.insert_records(&records[400..]).await.unwrap_err().is_refusal());
        assert_sums(url, &records[..450]).await;
        let allow = if url.starts_with("sqlite") { "drop trigger refuse" } else { "alter table usage_days drop constraint refuse" };
        execute_sql(url, &[allow]).await.unwrap();
        let store = Store::open(url).await.unwrap();
        store.insert_records(&records[400..]).await.unwrap();
        assert_sums(url, &records).await;
        assert_eq!(record_sums(&all_records(&store).await), record_sums(&records));
    })
    .await;
}

#[tokio::test]
async fn the_check_finds_and_repairs_sums_that_are_not_those_of_the_records() {
    on_each_database(async |store, url| {
        let keys = add_keys(&store).await;
        let records = records(&keys, 300);
        store.insert_records(&records).await.unwrap();
        let wrong = async || {
            let found = store.check_integrity(&[]).await.unwrap().mismatches;
            found.into_iter().map(|found| (found.table, found.name, found.actual)).collect::<Vec<_>>()
        };
        assert_eq!(wrong().await, []);
        // One request is in another bucket, one hour has two keys mixed up, one day is missing.
        let day = 20_001 * DAY;
        for sql in [
            format!("update usage_days set total_3 = total_3 + 1, total_4 = total_4 - 1 where at = {day} and key_name = 'bob' and model = 'm' and upstream = 'u' and outcome_class = 'failed'"),
            format!("update usage_hours set key_name = case when key_name = 'bob' then 'olga' else key_name end where at = (select min(at) from usage_hours where key_name = 'bob' and at >= {day})"),
            format!("delete from usage_days where at = {}", day + DAY),
        ] {
            execute_sql(url, &[&sql]).await.unwrap();
        }
        let found = wrong().await;
        let of = |table| found.iter().filter(|(found, ..)| *found == table).map(|(_, name, _)| name.as_str()).collect::<Vec<_>>();
        assert_eq!(of("day"), ["2024-10-05T00:00:00Z", "2024-10-06T00:00:00Z"], "{found:?}");
        assert!(of("hour").len() == 1 && of("hour")[0].starts_with("2024-10-05T"), "{found:?}");
        store.repair_integrity(|_| Ok::<_, store::StoreError>(())).await.unwrap();
        while store.fill_usage_sums().await.unwrap() {}
        assert_eq!(wrong().await, []);
        assert_sums(url, &records).await;
    })
    .await;
}

#[tokio::test]
async fn a_migration_fills_the_sums_while_records_arrive() {
    on_each_database(async |store, url| {
        let keys = add_keys(&store).await;
        let records = records(&keys, 500);
        store.insert_records(&records[..400]).await.unwrap();
        let before = store.usage(0, UsageGroupBy::Model).await.unwrap();
        store.close().await;
        // The tables as the version before had them.
        let statements: Vec<_> = BEFORE_SUMS.split(';').map(str::trim).filter(|sql| !sql.is_empty()).collect();
        execute_sql(url, &statements).await.unwrap();
        let store = Store::open(url).await.unwrap();
        let migrated = all_records(&store).await;
        assert_eq!((migrated.len(), table_sums(url, "usage_days").await[0]), (400, 0));
        let migrated_sums = record_sums(&migrated);
        let cost = |totals: &[store::UsageTotal]| totals.iter().map(|total| total.cost).collect::<Vec<_>>();
        assert_eq!(
            cost(&store.usage(0, UsageGroupBy::Model).await.unwrap()),
            cost(&before),
            "sums are read from records"
        );
        // One day is filled in, then the server dies; records of all days arrive before it goes on.
        assert!(store.fill_usage_sums().await.unwrap());
        store.close().await;
        let store = Store::open(url).await.unwrap();
        store.insert_records(&records[400..]).await.unwrap();
        let between = store.usage(0, UsageGroupBy::Model).await.unwrap();
        while store.fill_usage_sums().await.unwrap() {}
        assert_eq!(store.usage(0, UsageGroupBy::Model).await.unwrap(), between);
        let all = all_records(&store).await;
        assert_eq!(record_sums(&all)[2], migrated_sums[2] + record_sums(&records[400..])[2]);
        assert_sums(url, &all).await;
        // Sums that are wrong are replaced, also those of days without records.
        execute_sql(url, &["update usage_hours set cost = cost + 1", "update usage_days set at = at + 864000000000"])
            .await
            .unwrap();
        store.reset_usage_sums().await.unwrap();
        while store.fill_usage_sums().await.unwrap() {}
        assert_sums(url, &all).await;
        assert!(!store.fill_usage_sums().await.unwrap());
    })
    .await;
}
