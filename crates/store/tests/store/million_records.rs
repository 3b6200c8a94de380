//! Measurements with a million records of 30 days on SQLite: 40 keys, 6 models.
//!
//! `cargo test -p store --test store --release -- --ignored --nocapture million`

use std::time::{Duration, Instant};

use sqlx::Connection;
use store::{OutcomeClass, RecordOwner, RecordQuery, SeriesQuery, SeriesStep, Store, UsageFilter, UsageGroupBy};

use crate::databases;
use crate::usage_sums::{DAY, HOUR};

const FROM: i64 = 20_000 * DAY;
const UNTIL: i64 = FROM + 30 * DAY;

const INSERT: &str = include_str!("million_records.sql");

/// Prints the times of 50 calls.
#[expect(clippy::print_stdout, reason = "the result")]
async fn measure<T>(name: &str, call: impl AsyncFn() -> T) {
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        call().await;
        times.push(started.elapsed());
    }
    let first = times[0];
    times.sort_unstable();
    println!("{name}: first {first:.0?}, median {:.0?}, p95 {:.0?}", times[25], times[47]);
}

#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "the result")]
async fn a_million_records_are_summed_and_queried() {
    let folder = tempfile::tempdir().unwrap();
    let url = databases::sqlite_url(folder.path());
    Store::open(&url).await.unwrap().close().await;
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::query(INSERT).bind(FROM).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let store = Store::open(&url).await.unwrap();
    store.reset_usage_sums().await.unwrap();
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let day = Instant::now();
        let has_more = store.fill_usage_sums().await.unwrap();
        longest = longest.max(day.elapsed());
        if !has_more {
            break;
        }
    }
    println!("filling the sums: {:.1?}, the longest day {longest:.0?}", started.elapsed());

    let store = Store::open(&url).await.unwrap();
    let everyone = UsageFilter::from(RecordOwner::Everyone);
    let series = async |from, step, by, filter: &UsageFilter| {
        let query = SeriesQuery { from, until: UNTIL, step, by, filter: filter.clone() };
        store.usage_series(&query, 5).await.unwrap().sums.len()
    };
    let one_key = UsageFilter { keys: vec!["key-3".into()], ..everyone.clone() };
    let by_model = Some(UsageGroupBy::Model);
    measure("series, 1 hour by minute", async || series(UNTIL - HOUR, SeriesStep::Minute, by_model, &everyone).await)
        .await;
    measure("series, 1 day by hour", async || series(UNTIL - DAY, SeriesStep::Hour, by_model, &everyone).await).await;
    measure("series, 7 days by hour", async || series(UNTIL - 7 * DAY, SeriesStep::Hour, by_model, &everyone).await)
        .await;
    measure("series, 7 days by hour, one key", async || {
        series(UNTIL - 7 * DAY, SeriesStep::Hour, by_model, &one_key).await
    })
    .await;
    measure("series, 30 days by day", async || series(FROM, SeriesStep::Day, by_model, &everyone).await).await;
    measure("series, 30 days by hour", async || series(FROM, SeriesStep::Hour, by_model, &everyone).await).await;
    measure("usage, 30 days", async || store.usage(FROM + 5, UsageGroupBy::Key).await.unwrap().len()).await;
    let page = async |filter: &UsageFilter, limit| {
        let query = RecordQuery { from: 0, until: i64::MAX, filter: filter.clone(), before: None, limit };
        store.records(&query).await.unwrap().len()
    };
    let rare = UsageFilter { classes: vec![OutcomeClass::Refused], ..everyone.clone() };
    let nothing = UsageFilter { models: vec!["none".into()], ..everyone.clone() };
    measure("records, 100", async || page(&everyone, 100).await).await;
    measure("records, 100 of one key", async || page(&one_key, 100).await).await;
    measure("records, all 20 of a rare outcome", async || page(&rare, 100).await).await;
    measure("records, none", async || page(&nothing, 100).await).await;
}
