//! Series, and pages of records, on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a
//! server on which databases may be created.

use std::collections::BTreeMap;

use store::{
    Attempt, OutcomeClass, RecordCursor, RecordOwner, RecordQuery, SeriesPoint, SeriesQuery, SeriesStep, Store,
    UsageFilter, UsageGroupBy, UsageRecord, UsageSums, UsageTimes,
};

use crate::databases::on_each_database;
use crate::usage_sums::{DAY, HOUR, add_keys, records};

/// Whether a filter lets a record pass.
type Test = fn(&UsageRecord) -> bool;

/// The sums of the records that `matches`, by step and group.
fn expected_series(
    records: &[UsageRecord],
    step: SeriesStep,
    group: impl Fn(&UsageRecord) -> String,
    matches: impl Fn(&UsageRecord) -> bool,
) -> BTreeMap<(i64, String), (i64, i128)> {
    let mut sums = BTreeMap::<_, (i64, i128)>::new();
    for record in records.iter().filter(|record| matches(record)) {
        let sum = sums.entry((record.at / step.micros() * step.micros(), group(record))).or_default();
        *sum = (sum.0 + record.requests(), sum.1 + i128::from(record.cost));
    }
    sums
}

/// Asserts that a series of the most expensive group has it by name, and the others in one sum.
async fn assert_top_groups_and_the_rest(store: &Store, query: &SeriesQuery, all: &BTreeMap<SeriesPoint, UsageSums>) {
    let mut totals = BTreeMap::<&str, UsageSums>::new();
    for ((_, name), sums) in all {
        *totals.entry(name).or_default() += sums;
    }
    let first = totals.iter().min_by_key(|(name, sums)| (-sums.cost, -sums.requests, **name)).map(|(name, _)| *name);
    let mut expected = BTreeMap::<_, UsageSums>::new();
    for ((at, name), sums) in all {
        let listed = Some(name.clone()).filter(|name| query.by.is_some() && Some(&**name) == first);
        *expected.entry((*at, listed)).or_default() += sums;
    }
    assert_eq!(store.usage_series(query, 1).await.unwrap().sums, expected);
}

#[tokio::test]
async fn a_series_is_the_sum_of_the_records_of_each_step_and_group() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let records = records(&keys, 500);
        store.insert_records(&records).await.unwrap();
        let (from, until) = (20_000 * DAY, 20_003 * DAY);
        let inside = |record: &UsageRecord| (from..until).contains(&record.at);
        let read = async |step, by, filter: &UsageFilter| {
            let query = SeriesQuery { from, until, step, by, filter: filter.clone() };
            let series = store.usage_series(&query, 100).await.unwrap();
            let times = store.usage_times(&query).await.unwrap();
            let sums = store.usage_sums(&query).await.unwrap();
            assert_eq!(sums.keys().collect::<Vec<_>>(), times.keys().collect::<Vec<_>>());
            let named = sums.iter().map(|((at, name), sums)| ((*at, by.map(|_| name.clone())), sums.clone()));
            assert_eq!(series.sums, named.collect());
            assert_top_groups_and_the_rest(&store, &query, &sums).await;
            let mut of_steps = BTreeMap::<i64, UsageTimes>::new();
            let mut of_groups = BTreeMap::<String, UsageTimes>::new();
            for ((at, group), times) in times {
                *of_steps.entry(at).or_default() += &times;
                *of_groups.entry(group).or_default() += &times;
            }
            assert_eq!(series.times_of_steps, of_steps);
            assert_eq!(series.times_of_groups, if by.is_some() { of_groups } else { BTreeMap::new() });
            let numbers = |(group, sums): (SeriesPoint, UsageSums)| (group, (sums.requests, sums.cost));
            sums.into_iter().map(numbers).collect::<BTreeMap<_, _>>()
        };
        let everyone = UsageFilter::from(RecordOwner::Everyone);
        for step in [SeriesStep::Minute, SeriesStep::Hour, SeriesStep::Day] {
            let by_model = expected_series(&records, step, |record| record.model.to_string(), inside);
            assert_eq!(read(step, Some(UsageGroupBy::Model), &everyone).await, by_model, "{step:?}");
            let class = |record: &UsageRecord| OutcomeClass::of(&record.outcome).as_str().to_owned();
            assert_eq!(
                read(step, Some(UsageGroupBy::Outcome), &everyone).await,
                expected_series(&records, step, class, inside)
            );
            assert_eq!(read(step, None, &everyone).await, expected_series(&records, step, |_| String::new(), inside));
        }
        let filter = UsageFilter {
            owner: RecordOwner::User(keys[2].user_id.clone().unwrap()),
            keys: vec!["it's".into(), keys[0].id.clone()],
            projects: vec!["other".into(), "team".into()],
            models: vec!["m".into()],
            providers: vec!["u".into(), "v".into()],
            classes: vec![OutcomeClass::Answered, OutcomeClass::RateLimited],
        };
        let matches = |record: &UsageRecord| {
            let class = ["stop", "length", "rate_limited"].contains(&&*record.outcome);
            inside(record) && class && &*record.key_name == "it's" && &*record.model == "m"
        };
        let of_project = expected_series(&records, SeriesStep::Day, |_| "other".into(), matches);
        assert!(!of_project.is_empty());
        assert_eq!(read(SeriesStep::Day, Some(UsageGroupBy::Project), &filter).await, of_project);
        let of_key = expected_series(&records, SeriesStep::Minute, |_| "it's".into(), matches);
        assert_eq!(read(SeriesStep::Minute, Some(UsageGroupBy::Key), &filter).await, of_key);

        // Percentiles come from all requests of a group.
        let query = SeriesQuery { from, until, step: SeriesStep::Day, by: None, filter: everyone };
        let series = store.usage_series(&query, 5).await.unwrap();
        let (mut all, mut all_times) = (UsageSums::default(), UsageTimes::default());
        series.sums.values().for_each(|sums| all += sums);
        series.times_of_steps.values().for_each(|times| all_times += times);
        let mut times: Vec<_> =
            records.iter().filter(|record| inside(record)).filter_map(|record| record.first_token_us).collect();
        times.sort_unstable();
        let median = times[times.len() / 2] as f64 / 1000.0;
        let estimated = all_times.first_token.percentile(0.5).unwrap();
        assert!((estimated / median - 1.0).abs() < 0.2, "{estimated} {median}");
        for (outcome, sum) in [("timeout", all.failures), ("rate_limited", all.refusals)] {
            let found = records.iter().filter(|record| inside(record) && record.outcome == outcome);
            assert_eq!(sum, found.map(UsageRecord::requests).sum::<i64>(), "{outcome}");
        }
    })
    .await;
}

#[tokio::test]
async fn pages_of_records_are_complete_and_in_order_with_every_filter() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let mut records = records(&keys, 400);
        // Many at the same time.
        records[100..150].iter_mut().for_each(|record| record.at = 20_001 * DAY + 5);
        store.insert_records(&records).await.unwrap();
        records.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        let everyone = UsageFilter::from(RecordOwner::Everyone);
        let filters: [(UsageFilter, Test); 4] = [
            (everyone.clone(), |_| true),
            (UsageFilter { keys: vec!["bob".into()], ..everyone.clone() }, |record| &*record.key_name == "bob"),
            (UsageFilter { classes: vec![OutcomeClass::Failed], ..everyone.clone() }, |record| {
                record.outcome == "timeout"
            }),
            (UsageFilter { models: vec!["x".into()], ..everyone }, |_| false),
        ];
        for (filter, matches) in filters {
            for (from, until) in [(0, i64::MAX), (20_000 * DAY + 7 * HOUR + 1, 20_002 * DAY + 5)] {
                let mut found = Vec::new();
                let mut before = None;
                loop {
                    let query = RecordQuery { from, until, filter: filter.clone(), before, limit: 17 };
                    let page = store.records(&query).await.unwrap();
                    before = page.last().map(|last| RecordCursor { at: last.at, id: last.id.clone() });
                    let is_last = page.len() < 17;
                    found.extend(page.into_iter().map(|record| record.id));
                    if is_last {
                        break;
                    }
                }
                let expected = records.iter().filter(|record| matches(record) && (from..until).contains(&record.at));
                assert_eq!(found, expected.map(|record| record.id.clone()).collect::<Vec<_>>(), "{filter:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_record_is_found_by_its_own_id_and_by_that_of_its_request() {
    on_each_database(async |store, _| {
        let keys = add_keys(&store).await;
        let base =
            UsageRecord { key_id: Some(keys[0].id.as_str().into()), outcome: "stop".into(), ..UsageRecord::default() };
        let attempt = Attempt {
            provider: "u".into(),
            model: "org/m".into(),
            started_at: 5,
            first_byte_at: None,
            ended_at: Some(9),
            status: Some(429),
            fault: Some("slow down".into()),
        };
        let attempts = vec![attempt.clone(), Attempt { started_at: 9, fault: None, status: Some(200), ..attempt }];
        let first = UsageRecord {
            id: "a".into(),
            at: 5,
            request_id: Some("mine".into()),
            attempts: attempts.clone(),
            ..base.clone()
        };
        let second = UsageRecord { id: "b".into(), at: 6, request_id: Some("mine".into()), ..base };
        store.insert_records(&[first, second]).await.unwrap();
        store
            .insert_records(&[UsageRecord { id: "a".into(), attempts: attempts.clone(), ..UsageRecord::default() }])
            .await
            .unwrap();
        let find =
            async |owner: RecordOwner, id: &str| store.record(&owner, id, id).await.unwrap().map(|record| record.id);
        assert_eq!(find(RecordOwner::Everyone, "a").await.as_deref(), Some("a"));
        assert_eq!(find(RecordOwner::Everyone, "mine").await.as_deref(), Some("b"), "the latest");
        assert_eq!(find(RecordOwner::Key(keys[0].id.clone()), "a").await.as_deref(), Some("a"));
        assert_eq!(find(RecordOwner::Key(keys[1].id.clone()), "a").await, None);
        assert_eq!(find(RecordOwner::Everyone, "c").await, None);
        assert_eq!(store.attempts("a").await.unwrap(), attempts);
        assert!(store.attempts("b").await.unwrap().is_empty());
        assert_eq!(store.superseded_attempts(0).await.unwrap(), [((0, "u".to_owned()), 1)]);
        assert!(store.superseded_attempts(6).await.unwrap().is_empty());
        store.delete_attempts_before(9).await.unwrap();
        assert_eq!(store.attempts("a").await.unwrap(), attempts[1..]);
    })
    .await;
}
