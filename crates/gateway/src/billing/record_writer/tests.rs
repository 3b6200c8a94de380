use std::sync::Arc;

use sqlx::{AssertSqlSafe, Connection, Executor};
use store::{Limits, MAX_COST, NewKey};
use tempfile::TempDir;

use super::*;

struct Fixture {
    _folder: TempDir,
    url: String,
    writer: RecordWriter,
    key: store::Key,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("db").display());
        let store = Store::open(&url).await.unwrap();
        let project = store.add_project("p", None).await.unwrap();
        let new = NewKey { project: &project, user: None, name: "k", hash: "h", tail: "", limits: Limits::default() };
        let key = store.add_key(new).await.unwrap();
        let writer = RecordWriter { store, quarantine: Quarantine::in_folder(folder.path()), waits_for_store: true };
        Self { _folder: folder, url, writer, key }
    }

    fn record(&self, number: usize, cost: i64) -> UsageRecord {
        UsageRecord {
            id: format!("{number:04}"),
            key_id: Some(Arc::from(&*self.key.id)),
            cost,
            ..UsageRecord::default()
        }
    }

    async fn execute_sql(&self, sql: &str) {
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.unwrap();
        connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// Writes all records. Returns the ids in the order in which they were written, and those that
    /// were quarantined.
    async fn write(&self, records: &[UsageRecord]) -> (Vec<String>, Vec<String>) {
        let mut all = Vec::new();
        let mut quarantined = Vec::new();
        let on_written = |batch: &[UsageRecord], updates: Option<&SpendUpdates>| {
            all.extend(batch.iter().map(|record| record.id.clone()));
            if updates.is_none() {
                quarantined.extend(batch.iter().map(|record| record.id.clone()));
            }
        };
        self.writer.write(records, on_written).await.unwrap();
        (all, quarantined)
    }

    async fn spent(&self) -> i64 {
        self.writer.store.key("k").await.unwrap().spent
    }
}

#[tokio::test]
async fn a_refused_record_is_quarantined_alone_and_all_others_are_committed() {
    let fixture = Fixture::new().await;
    fixture
        .execute_sql("create trigger refuse before insert on usage_records when new.id = '0007' begin select raise(abort, 'no'); end")
        .await;
    let mut records: Vec<_> = (0..300).map(|number| fixture.record(number, 1)).collect();
    records[100].cost = i64::MAX;
    records[299].prompt_tokens = -1;
    let (all, quarantined) = fixture.write(&records).await;
    assert_eq!(all, records.iter().map(|record| record.id.clone()).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(quarantined, ["0007", "0100", "0299"]);
    assert_eq!(fixture.spent().await, 297);
    let kept = fixture.writer.quarantine.records().unwrap();
    assert_eq!(kept.iter().map(|(record, _)| record).collect::<Vec<_>>(), [&records[7], &records[100], &records[299]]);
    assert!(kept[0].1.contains("no") && kept[1].1.contains("`cost` of 9223372036854775807"), "{kept:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(fixture.writer.quarantine.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_key_whose_sum_would_leave_its_range_does_not_block_the_others() {
    let fixture = Fixture::new().await;
    fixture.execute_sql("update keys set spent = 9223372036854775807").await;
    let other = UsageRecord { key_id: None, ..fixture.record(2, 5) };
    let (all, quarantined) = fixture.write(&[fixture.record(1, 5), other]).await;
    assert_eq!((all.len(), &*quarantined), (2, &["0001".to_owned()][..]));
    // After the repair the quarantined record is committed, and the file is removed.
    fixture.writer.store.repair_integrity(|_| Ok::<_, StoreError>(())).await.unwrap();
    let inserted = fixture.writer.quarantine.retry_inserts(&fixture.writer.store).await.unwrap();
    assert_eq!((inserted.len(), fixture.spent().await), (1, 5));
    assert!(!fixture.writer.quarantine.path().exists() && fixture.writer.quarantine.records().unwrap().is_empty());
}

#[tokio::test]
async fn a_record_that_is_still_refused_stays_in_quarantine() {
    let fixture = Fixture::new().await;
    let (_, quarantined) = fixture.write(&[fixture.record(1, MAX_COST + 1)]).await;
    assert_eq!(quarantined.len(), 1);
    // A line that a full disk has truncated.
    let path = fixture.writer.quarantine.path();
    std::fs::write(path, [std::fs::read(path).unwrap().as_slice(), b"\n{\"at\":1,\"err"].concat()).unwrap();
    let (_, quarantined) = fixture.write(&[fixture.record(2, -MAX_COST - 1)]).await;
    assert_eq!(quarantined.len(), 1);
    assert!(fixture.writer.quarantine.retry_inserts(&fixture.writer.store).await.unwrap().is_empty());
    assert_eq!(fixture.writer.quarantine.records().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_not_quarantined_while_the_database_is_away() {
    let fixture = Arc::new(Fixture::new().await);
    // Without the table every record is refused.
    fixture.execute_sql("alter table usage_records rename to renamed").await;
    let settling = tokio::spawn({
        let fixture = fixture.clone();
        async move { fixture.write(&[fixture.record(1, 1), fixture.record(2, i64::MIN)]).await }
    });
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!settling.is_finished() && fixture.writer.quarantine.records().unwrap().is_empty());
    fixture.execute_sql("alter table renamed rename to usage_records").await;
    let (all, quarantined) = settling.await.unwrap();
    assert_eq!((all.len(), &*quarantined), (2, &["0002".to_owned()][..]));
    assert_eq!(fixture.spent().await, 1);
    // A closed store is away too.
    fixture.writer.store.close().await;
    let mut writer = RecordWriter {
        store: fixture.writer.store.clone(),
        quarantine: fixture.writer.quarantine.clone(),
        waits_for_store: false,
    };
    let error = writer.write(&[fixture.record(3, 1)], |_, _| ()).await.unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    writer.store = Store::open(&fixture.url).await.unwrap();
    writer.write(&[fixture.record(3, 1)], |_, _| ()).await.unwrap();
    assert_eq!(fixture.writer.quarantine.records().unwrap().len(), 1);
}
