//! Files at providers, and lists of tasks.

use store::{FilePage, Limits, StoredFile, Task, TaskId, TaskOwner, UsageRecord};

use crate::statements::{add_key, on_each_database, record};

const ALICE: TaskOwner<'static> = TaskOwner { project_id: Some("alice"), key_name: "k" };
const BOB: TaskOwner<'static> = TaskOwner { project_id: None, key_name: "alice" };

fn file(id: &str, owner: TaskOwner<'_>, created_at: i64) -> StoredFile {
    StoredFile {
        id: id.into(),
        provider_id: format!("theirs-{id}"),
        upstream: "openai".into(),
        owner: owner.to_text(),
        purpose: if created_at % 2 == 0 { "batch" } else { "vision" }.into(),
        filename: "a.jsonl".into(),
        bytes: 7,
        batch_input: (created_at % 2 == 0).then(|| "{}".into()),
        created_at,
    }
}

fn page<'a>(purpose: Option<&'a str>, after: Option<&'a StoredFile>, is_ascending: bool) -> FilePage<'a> {
    FilePage { purpose, after, is_ascending, limit: 2 }
}

#[tokio::test]
async fn a_file_is_found_by_its_owner_alone() {
    on_each_database(async |store| {
        let known = file("a", ALICE, 2);
        assert_eq!(store.add_file(&known).await.unwrap(), known);
        assert_eq!(store.file(ALICE, "a").await.unwrap(), Some(known.clone()));
        assert_eq!(store.file(BOB, "a").await.unwrap(), None, "a key with the name of the project");
        let same = StoredFile { id: "b".into(), ..known.clone() };
        assert_eq!(store.add_file(&same).await.unwrap(), known, "the owner has this file of the provider");
        assert!(!store.is_file_shared(&known).await.unwrap());
        let shared = StoredFile { id: "c".into(), owner: BOB.to_text(), batch_input: None, ..known.clone() };
        assert_eq!(store.add_file(&shared).await.unwrap(), shared);
        assert!(store.is_file_shared(&known).await.unwrap() && store.is_file_shared(&shared).await.unwrap());
        let found = store.file_of_provider(&known.owner, "openai", "theirs-a").await.unwrap();
        assert_eq!(found, Some(known.clone()));
        store.delete_file(&known).await.unwrap();
        assert_eq!(store.file(ALICE, "a").await.unwrap(), None);
        assert_eq!(store.file(BOB, "c").await.unwrap(), Some(shared));
    })
    .await;
}

#[tokio::test]
async fn files_are_listed_in_pages() {
    on_each_database(async |store| {
        for (id, time) in [("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", 4)] {
            store.add_file(&file(id, ALICE, time)).await.unwrap();
        }
        store.add_file(&file("f", BOB, 2)).await.unwrap();
        let ids = async |page: FilePage<'_>| {
            let files = store.files(ALICE, page).await.unwrap();
            files.into_iter().map(|file| file.id).collect::<String>()
        };
        assert_eq!(ids(page(None, None, false)).await, "ed");
        assert_eq!(ids(page(None, Some(&file("d", ALICE, 3)), false)).await, "cb", "both have one time");
        assert_eq!(ids(page(None, Some(&file("b", ALICE, 2)), false)).await, "a");
        assert_eq!(ids(page(None, None, true)).await, "ab");
        assert_eq!(ids(page(None, Some(&file("b", ALICE, 2)), true)).await, "cd");
        assert_eq!(ids(page(Some("vision"), None, false)).await, "da");
    })
    .await;
}

#[tokio::test]
async fn tasks_of_an_owner_are_listed_with_their_end_users() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let task = |id: &str, project: Option<&str>, at: i64| UsageRecord {
            job: Some(TaskId { kind: "batch".into(), id: id.into() }),
            project_id: project.map(Into::into),
            key_name: "k".into(),
            end_user: Some("eve".into()),
            at,
            ..record(id, &key, 5)
        };
        let video = TaskId { kind: "video".into(), id: "v".into() };
        let records = [
            task("a", Some("alice"), 1),
            task("b", Some("alice"), 2),
            task("c", Some("alice"), 3),
            task("d", None, 3),
            UsageRecord { job: Some(video), ..task("v", Some("alice"), 3) },
        ];
        store.insert_records(&records).await.unwrap();
        let list = async |since: i64, before: (i64, &str), limit: i64| {
            let tasks = store.tasks_of("batch", ALICE, since, before, limit).await.unwrap();
            tasks.into_iter().map(|task| task.id.id).collect::<String>()
        };
        assert_eq!(list(0, (i64::MAX, ""), 9).await, "cba");
        assert_eq!(list(0, (i64::MAX, ""), 2).await, "cb");
        assert_eq!(list(0, (3, "c"), 9).await, "ba");
        assert_eq!(list(2, (3, "c"), 9).await, "b");
        let own = store.tasks_of("batch", ALICE, 3, (i64::MAX, ""), 9).await.unwrap();
        assert_eq!(own, [Task::from_record(&records[2]).unwrap()]);
        assert_eq!(own[0].end_user.as_deref(), Some("eve"));
    })
    .await;
}
