//! Every statement of the store, on SQLite, and on PostgreSQL when `CACHALOT_TEST_POSTGRES` names a
//! server on which databases may be created.

use store::{
    Limits, NewKey, REFUNDED, RecordOwner, RecordQuery, Role, Setting, Store, StoreError, Task, TaskId, TaskOwner,
    UsageGroupBy, UsageRecord,
};

use crate::databases::{self, Postgres};

/// Runs `test` on a new database of each kind.
pub(crate) async fn on_each_database(test: impl AsyncFn(Store)) {
    let folder = tempfile::tempdir().unwrap();
    let url = databases::sqlite_url(&folder.path().join("deep/er"));
    test(Store::open(&url).await.unwrap()).await;
    // A second start finds the tables.
    Store::open(&url).await.unwrap().keys().await.unwrap();

    let Some(postgres) = Postgres::create().await else { return };
    let store = Store::open(&postgres.url).await.unwrap();
    test(store.clone()).await;
    store.close().await;
    postgres.remove().await;
}

pub(crate) async fn add_key(store: &Store, name: &str, hash: &str, limits: Limits) -> Result<store::Key, StoreError> {
    let project = match store.project("team").await {
        Ok(project) => project,
        Err(_) => store.add_project("team", None).await.unwrap(),
    };
    store.add_key(NewKey { project: &project, user: None, name, hash, tail: "last", limits }).await
}

pub(crate) fn record(id: &str, key: &store::Key, cost: i64) -> UsageRecord {
    UsageRecord {
        id: id.into(),
        at: 86_400_000_000 * 3 + 5,
        key_id: Some(key.id.as_str().into()),
        key_name: key.name.as_str().into(),
        project_id: Some(key.project_id.as_str().into()),
        model: "m".into(),
        upstream: "u".into(),
        prompt_tokens: 10,
        cached_tokens: 4,
        cache_write_tokens: 2,
        cache_write_1h_tokens: 1,
        completion_tokens: 5,
        reasoning_tokens: 2,
        estimated: true,
        cost,
        price: "u/m@d".into(),
        first_token_us: Some(7),
        total_us: 9,
        outcome: "stop".into(),
        ..UsageRecord::default()
    }
}

#[tokio::test]
async fn a_key_is_read_as_it_was_written() {
    on_each_database(async |store| {
        let limits = Limits {
            models: Some(vec!["a".into(), "b/c".into()]),
            networks: Some(vec!["10.0.0.0/8".into()]),
            budget: Some(5_000_000_000),
            requests_per_minute: Some(60),
            tokens_per_minute: Some(1000),
            concurrency: Some(3),
            expires_at: Some(77),
        };
        let key = add_key(&store, "alice", "h1", limits.clone()).await.unwrap();
        assert_eq!((key.limits.clone(), key.spent, key.revoked_at, key.tail.as_str()), (limits, 0, None, "last"));
        let free = add_key(&store, "bob", "h2", Limits::default()).await.unwrap();
        assert_eq!(free.limits, Limits::default());
        assert_eq!(store.keys().await.unwrap(), [key, free]);
    })
    .await;
}

#[tokio::test]
async fn a_name_is_free_again_once_its_key_is_revoked() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let taken = add_key(&store, "alice", "h2", Limits::default()).await.unwrap_err();
        assert!(matches!(taken, StoreError::Conflict(_)) && taken.to_string().contains("`alice`"), "{taken}");
        let since = store::now_micros();
        store.revoke_key("alice").await.unwrap();
        assert!(matches!(store.revoke_key("alice").await, Err(StoreError::NotFound(_))));
        add_key(&store, "alice", "h2", Limits::default()).await.unwrap();
        store.revoke_key(&store.keys().await.unwrap()[1].id).await.unwrap();
        let changed = store.keys_changed(since).await.unwrap();
        assert!(changed.len() == 2 && changed.iter().all(|key| key.revoked_at.is_some()));
        assert_eq!(changed[0].id, key.id);
    })
    .await;
}

#[tokio::test]
async fn a_project_has_one_name_and_a_budget_that_can_change() {
    on_each_database(async |store| {
        let project = store.add_project("team", Some(7)).await.unwrap();
        assert!(matches!(store.add_project("team", None).await, Err(StoreError::Conflict(_))));
        assert_eq!(store.set_budget("team", None).await.unwrap().budget, None);
        assert!(matches!(store.set_budget("other", None).await, Err(StoreError::NotFound(_))));
        assert_eq!(store.projects().await.unwrap().len(), 1);
        assert_eq!(store.projects_changed(project.created_at).await.unwrap()[0].name, "team");
        assert!(store.projects_changed(store::now_micros() + 1).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_record_is_counted_once_however_often_it_is_inserted() {
    on_each_database(async |store| {
        let (alice, bob) = (
            add_key(&store, "alice", "h1", Limits::default()).await.unwrap(),
            add_key(&store, "bob", "h2", Limits::default()).await.unwrap(),
        );
        let first = record("1", &alice, 100);
        store.insert_records(&[first.clone(), record("2", &bob, 30)]).await.unwrap();
        // Again, together with a new one, and twice in one batch.
        let third = record("3", &alice, 7);
        store.insert_records(&[first.clone(), third.clone(), third, record("2", &bob, 99)]).await.unwrap();
        let spent: Vec<_> = store.keys().await.unwrap().iter().map(|key| key.spent).collect();
        assert_eq!((spent.as_slice(), store.project("team").await.unwrap().spent), ([107, 30].as_slice(), 137));
        let records = store.latest_records(10).await.unwrap();
        assert_eq!((records.len(), records.last()), (3, Some(&first)));
    })
    .await;
}

#[tokio::test]
async fn a_large_batch_is_inserted_completely() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let records: Vec<_> = (0..205).map(|number| record(&number.to_string(), &key, number)).collect();
        store.insert_records(&[records.as_slice(), &records[100..]].concat()).await.unwrap();
        assert_eq!(store.keys().await.unwrap()[0].spent, (0..205).sum::<i64>());
        assert_eq!(store.usage(0, UsageGroupBy::Key).await.unwrap()[0].requests, 205);
    })
    .await;
}

#[tokio::test]
async fn a_task_is_inserted_with_its_record_and_refunded_once() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let id = TaskId { kind: "suno".into(), id: "t1".into() };
        let submitted = UsageRecord { job: Some(id.clone()), ..record("1", &key, 100) };
        for _ in 0..2 {
            store.insert_records(std::slice::from_ref(&submitted)).await.unwrap();
        }
        let owner = TaskOwner { project_id: submitted.project_id.as_deref(), key_name: "" };
        let task = store.find_task(&id, owner, 0).await.unwrap().unwrap();
        assert_eq!((&task, task.cost), (&Task::from_record(&submitted).unwrap(), 100));
        assert_eq!(store.find_task(&id, owner, task.created_at + 1).await.unwrap(), None, "too old");
        assert_eq!(store.open_tasks(0, task.created_at + 1, 9).await.unwrap(), std::slice::from_ref(&task));
        let refund = UsageRecord { id: "1:refund".into(), outcome: REFUNDED.into(), cost: -100, ..record("", &key, 0) };
        for _ in 0..2 {
            store.insert_records(std::slice::from_ref(&refund)).await.unwrap();
        }
        store.end_task(&id, "failed").await.unwrap();
        assert!(store.open_tasks(0, i64::MAX, 9).await.unwrap().is_empty());
        assert_eq!(store.keys().await.unwrap()[0].spent, 0);
        let total = &store.usage(0, UsageGroupBy::Key).await.unwrap()[0];
        assert_eq!((total.requests, total.cost), (1, 0));
        store.delete_tasks_before(i64::MAX).await.unwrap();
        assert_eq!(store.find_task(&id, owner, 0).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn tasks_with_the_same_provider_id_belong_to_those_who_submitted_them() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let id = |id: &str| TaskId { kind: "suno".into(), id: id.into() };
        let task = |number: &str, id_of_caller: &str, project: Option<&str>, key_name: &str| UsageRecord {
            job: Some(id(id_of_caller)),
            provider_job: Some("same".into()),
            project_id: project.map(Into::into),
            key_name: key_name.into(),
            ..record(number, &key, 0)
        };
        // A record of an earlier version has only the provider's id.
        let old = UsageRecord { provider_job: None, ..task("4", "same", Some("old"), "o") };
        let tasks = [task("1", "a", Some("p"), "x"), task("2", "b", Some("q"), "x"), task("3", "c", None, "x"), old];
        store.insert_records(&tasks).await.unwrap();
        let find = async |requested: &str, project_id, key_name| {
            let found = store.find_task(&id(requested), TaskOwner { project_id, key_name }, 0).await.unwrap();
            found.map(|task| (task.id.id, task.provider_id))
        };
        let same = |id_of_caller: &str| Some((id_of_caller.to_owned(), "same".to_owned()));
        for (project, key, id_of_caller) in
            [(Some("p"), "y", "a"), (Some("q"), "x", "b"), (None, "x", "c"), (Some("old"), "", "same")]
        {
            assert_eq!(find(id_of_caller, project, key).await, same(id_of_caller));
            assert_eq!(find("same", project, key).await, same(id_of_caller), "the owner may use the provider's id");
        }
        for (requested, project, key) in
            [("a", Some("q"), "x"), ("a", None, "x"), ("c", None, "y"), ("c", Some("p"), "x"), ("same", None, "y")]
        {
            assert_eq!(find(requested, project, key).await, None);
        }
    })
    .await;
}

#[tokio::test]
async fn usage_is_summed_by_the_requested_group() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let without_key = UsageRecord { key_id: None, project_id: None, key_name: "".into(), ..record("2", &key, 5) };
        let later = UsageRecord { at: 86_400_000_000 * 4, model: "n".into(), ..record("3", &key, 1) };
        store.insert_records(&[record("1", &key, 10), without_key, later]).await.unwrap();
        let sums = async |since, by| {
            let totals = store.usage(since, by).await.unwrap();
            totals.into_iter().map(|total| (total.group, total.requests, total.cost)).collect::<Vec<_>>()
        };
        assert_eq!(sums(0, UsageGroupBy::Key).await, [("alice".into(), 2, 11), (String::new(), 1, 5)]);
        assert_eq!(sums(0, UsageGroupBy::Project).await, [("team".into(), 2, 11), (String::new(), 1, 5)]);
        assert_eq!(sums(0, UsageGroupBy::Model).await, [("m".into(), 2, 15), ("n".into(), 1, 1)]);
        assert_eq!(sums(0, UsageGroupBy::Upstream).await, [("u".into(), 3, 16)]);
        assert_eq!(sums(0, UsageGroupBy::Day).await, [("3".into(), 2, 15), ("4".into(), 1, 1)]);
        assert_eq!(sums(86_400_000_000 * 4, UsageGroupBy::Day).await, [("4".into(), 1, 1)]);
        let all = &store.usage(0, UsageGroupBy::Upstream).await.unwrap()[0];
        assert_eq!((all.prompt_tokens, all.cached_tokens, all.completion_tokens), (30, 12, 15));
    })
    .await;
}

#[tokio::test]
async fn usage_is_summed_by_user_within_a_range() {
    on_each_database(async |store| {
        let olga = store.add_user("olga", Role::Member).await.unwrap();
        let project = store.add_project("team", None).await.unwrap();
        let limits = Limits::default();
        let new = NewKey { project: &project, user: Some(&olga), name: "o", hash: "h1", tail: "t", limits };
        let of_olga = store.add_key(new).await.unwrap();
        let day = |number: i64| 86_400_000_000 * number;
        let records = [(1, 10), (2, 5), (3, 1)]
            .map(|(number, cost)| UsageRecord { at: day(number), ..record(&number.to_string(), &of_olga, cost) });
        let without_key = UsageRecord { key_id: None, at: day(2), ..record("4", &of_olga, 7) };
        store.insert_records(&records).await.unwrap();
        store.insert_records(&[without_key]).await.unwrap();
        let sums = async |since, until| {
            let totals = store.usage_between(since, until, UsageGroupBy::User).await.unwrap();
            totals.into_iter().map(|total| (total.group, total.cost)).collect::<Vec<_>>()
        };
        assert_eq!(sums(0, i64::MAX).await, [("olga".into(), 16), (String::new(), 7)]);
        assert_eq!(sums(day(1), day(2)).await, [("olga".into(), 10)]);
        assert_eq!(sums(day(2), day(3)).await, [(String::new(), 7), ("olga".into(), 5)]);
        assert!(sums(day(4), i64::MAX).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn usage_and_records_are_those_of_their_owner() {
    on_each_database(async |store| {
        let olga = store.add_user("olga", Role::Member).await.unwrap();
        let project = store.add_project("team", None).await.unwrap();
        let limits = Limits::default();
        let new = NewKey { project: &project, user: Some(&olga), name: "o", hash: "h1", tail: "t", limits };
        let of_olga = store.add_key(new).await.unwrap();
        let bob = add_key(&store, "bob", "h2", Limits::default()).await.unwrap();
        let nobody = UsageRecord { key_id: None, ..record("3", &bob, 100) };
        store.insert_records(&[record("1", &of_olga, 1), record("2", &bob, 10), nobody]).await.unwrap();
        for (owner, ids, cost) in [
            (RecordOwner::Everyone, &["3", "2", "1"][..], 111),
            (RecordOwner::User(olga.id), &["1"], 1),
            (RecordOwner::Key(bob.id), &["2"], 10),
        ] {
            let page = RecordQuery { from: 0, until: i64::MAX, filter: owner.clone().into(), before: None, limit: 9 };
            let records = store.records(&page).await.unwrap();
            assert_eq!(records.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ids, "{owner:?}");
            assert_eq!(store.usage_of(owner.clone(), 0, UsageGroupBy::Model).await.unwrap()[0].cost, cost, "{owner:?}");
        }
        assert!(store.usage_of(RecordOwner::User("x".into()), 0, UsageGroupBy::Model).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_invalid_url_or_file_is_refused_without_its_secret() {
    let error = Store::open("mysql://me:secret@host/db").await.unwrap_err().to_string();
    assert!(error.contains("mysql") && !error.contains("secret"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Store::open(&format!("sqlite:{}", file.join("db").display())).await.unwrap_err();
    assert!(matches!(error, StoreError::Folder(..)), "{error}");
    std::fs::write(folder.path().join("text.db"), "this is not a database, but a text of some length").unwrap();
    let error = Store::open(&format!("sqlite:{}", folder.path().join("text.db").display())).await.unwrap_err();
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[tokio::test]
async fn a_user_has_a_role_and_can_be_disabled() {
    on_each_database(async |store| {
        let user = store.add_user("olga", Role::Viewer).await.unwrap();
        assert!(matches!(store.add_user("olga", Role::Admin).await, Err(StoreError::Conflict(_))));
        let project = store.add_project("team2", None).await.unwrap();
        let limits = Limits::default();
        let new = NewKey { project: &project, user: Some(&user), name: "k", hash: "h", tail: "t", limits };
        assert_eq!(store.add_key(new).await.unwrap().user_id, Some(user.id.clone()));
        let since = store::now_micros();
        let changed = store.update_user("olga", Role::Admin, true).await.unwrap();
        assert!(changed.role == Role::Admin && changed.disabled_at.is_some());
        assert_eq!(store.users_changed(since).await.unwrap(), [changed]);
        assert_eq!(store.update_user("olga", Role::Member, false).await.unwrap().disabled_at, None);
        assert!(matches!(store.update_user("nobody", Role::Admin, false).await, Err(StoreError::NotFound(_))));
        assert_eq!(store.users().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_limits_of_a_key_change_unless_it_is_revoked() {
    on_each_database(async |store| {
        let key = add_key(&store, "alice", "h1", Limits::default()).await.unwrap();
        let limits = Limits { models: Some(vec!["m".into()]), budget: Some(5), ..Limits::default() };
        let changed = store.set_key_limits("alice", &limits).await.unwrap();
        assert!(changed.limits == limits && changed.changed_at > key.changed_at);
        assert_eq!(store.key(&key.id).await.unwrap(), changed);
        store.revoke_key("alice").await.unwrap();
        assert!(matches!(store.set_key_limits("alice", &limits).await, Err(StoreError::NotFound(_))));
        assert!(store.key("alice").await.is_err() && store.key(&key.id).await.unwrap().revoked_at.is_some());
    })
    .await;
}

#[tokio::test]
async fn settings_are_counted_when_they_change() {
    on_each_database(async |store| {
        let setting = |value: &str| Setting { kind: "alias".into(), name: "a".into(), value: value.into() };
        assert_eq!(store.settings().await.unwrap(), (0, vec![]));
        store.put_setting(&setting("\"b\"")).await.unwrap();
        store.put_setting(&setting("\"c\"")).await.unwrap();
        assert_eq!(store.settings().await.unwrap(), (2, vec![setting("\"c\"")]));
        store.remove_setting("alias", "a").await.unwrap();
        assert!(matches!(store.remove_setting("alias", "a").await, Err(StoreError::NotFound(_))));
        assert_eq!((store.settings_version().await.unwrap(), store.settings().await.unwrap().1), (3, vec![]));
    })
    .await;
}
