//! Databases that were lost, replaced or restored, on SQLite, and on PostgreSQL when
//! `CACHALOT_TEST_POSTGRES` names a server.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection, Executor};
use store::{Limits, NewKey, OpenedStore, RestorePolicy, Role, Store, StoreError, StoreOptions};
use tempfile::TempDir;

use crate::databases::{self, Postgres};

struct TestStore {
    folder: TempDir,
    url: String,
}

impl TestStore {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = databases::sqlite_url(folder.path());
        Self { folder, url }
    }

    async fn postgres() -> Option<Self> {
        let url = Postgres::create().await?.url;
        Some(Self { folder: tempfile::tempdir().unwrap(), url })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn id_file_text(&self) -> String {
        std::fs::read_to_string(self.file("store-id")).unwrap()
    }

    async fn open_as(&self, restore_policy: RestorePolicy) -> Result<OpenedStore, StoreError> {
        let folder = Some(self.folder.path());
        Store::open_verified(StoreOptions {
            url: &self.url,
            data_folder: folder,
            previously_used: false,
            restore_policy,
            for_serving: true,
        })
        .await
    }

    async fn open(&self) -> Result<Store, StoreError> {
        self.open_as(RestorePolicy::Refuse).await.map(|opened| opened.store)
    }
}

async fn add_key(store: &Store, name: &str) -> Result<store::Key, StoreError> {
    let project = match store.project("team").await {
        Ok(project) => project,
        Err(_) => store.add_project("team", None).await.unwrap(),
    };
    store
        .add_key(NewKey { project: &project, user: None, name, hash: name, tail: "last", limits: Limits::default() })
        .await
}

fn change_count(id_file: &str) -> i64 {
    id_file.lines().next().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

async fn every_change_is_counted_and_recorded(test_store: TestStore) {
    let store = test_store.open().await.unwrap();
    store.add_user("ada", Role::Admin).await.unwrap();
    store.add_user("olga", Role::Admin).await.unwrap();
    assert!(!test_store.file("store-id").exists(), "nothing is recorded before the first key");
    let before = store.identity().await.unwrap();
    add_key(&store, "alice").await.unwrap();
    let id_file = test_store.id_file_text();
    assert!(id_file.starts_with(&before.id) && change_count(&id_file) == before.changes + 1, "{id_file}");
    store.set_key_limits("alice", &Limits { expires_at: Some(1), ..Limits::default() }).await.unwrap();
    store.update_user("olga", Role::Member, true).await.unwrap();
    store.revoke_key("alice").await.unwrap();
    let id_file = test_store.id_file_text();
    assert_eq!(change_count(&id_file), before.changes + 4);
    for what in
        ["key `alice` added", "key `alice` changed", "user `olga` made member and disabled", "key `alice` revoked"]
    {
        assert!(id_file.contains(what), "{what}: {id_file}");
    }
    // A change that fails is not counted.
    assert!(store.revoke_key("alice").await.is_err() && add_key(&store, "bob").await.is_ok());
    assert!(matches!(add_key(&store, "bob").await, Err(StoreError::Conflict(_))));
    assert_eq!(store.identity().await.unwrap().changes, before.changes + 5);
    // Budgets do not decide about access.
    store.set_budget("team", Some(1)).await.unwrap();
    assert_eq!(store.identity().await.unwrap().changes, before.changes + 5);
    store.close().await;
    assert!(test_store.open().await.is_ok());
}

#[tokio::test]
async fn every_change_of_keys_and_users_is_counted_and_recorded() {
    every_change_is_counted_and_recorded(TestStore::sqlite()).await;
    if let Some(test_store) = TestStore::postgres().await {
        every_change_is_counted_and_recorded(test_store).await;
    }
}

async fn an_older_one_is_refused_until_it_is_accepted(test_store: TestStore) {
    let store = test_store.open().await.unwrap();
    add_key(&store, "alice").await.unwrap();
    add_key(&store, "bob").await.unwrap();
    let backup = store.identity().await.unwrap();
    store.revoke_key("bob").await.unwrap();
    add_key(&store, "carol").await.unwrap();
    store.close().await;
    // A backup has fewer changes.
    let mut connection = sqlx::AnyConnection::connect(&test_store.url).await.unwrap();
    let set = format!("update store_identity set changes = {}", backup.changes);
    connection.execute(AssertSqlSafe(set)).await.unwrap();
    connection.close().await.unwrap();
    let before = test_store.id_file_text();
    assert!(matches!(test_store.open().await, Err(StoreError::OlderDatabase { .. })));
    assert!(
        matches!(test_store.open_as(RestorePolicy::Refuse).await, Err(StoreError::OlderDatabase { .. })),
        "and again"
    );
    assert_eq!(test_store.id_file_text(), before);
    let opened = test_store.open_as(RestorePolicy::Accept).await.unwrap();
    let notes = opened.notes.join("\n");
    assert!(
        notes.contains("lacks 2 changes") && notes.contains("key `bob` revoked") && notes.contains("key `carol` added"),
        "{notes}"
    );
    assert!(!notes.contains("alice"), "{notes}");
    opened.store.close().await;
    // The count continues above everything that was recorded, so that the same backup is not
    // accepted for ever.
    assert!(change_count(&test_store.id_file_text()) > change_count(&before));
    assert_eq!(
        test_store.open().await.unwrap().identity().await.unwrap().changes,
        change_count(&test_store.id_file_text())
    );
    let again = test_store.open_as(RestorePolicy::Accept).await.unwrap();
    assert!(again.notes.join("\n").contains("nothing to accept"));
}

#[tokio::test]
async fn a_restored_backup_is_refused_until_it_is_accepted() {
    an_older_one_is_refused_until_it_is_accepted(TestStore::sqlite()).await;
    if let Some(test_store) = TestStore::postgres().await {
        an_older_one_is_refused_until_it_is_accepted(test_store).await;
    }
}

async fn another_one_is_refused_until_it_is_accepted(test_store: TestStore, other: TestStore) {
    add_key(&test_store.open().await.unwrap(), "alice").await.unwrap();
    let other_store = other.open().await.unwrap();
    for name in ["one", "two", "three"] {
        add_key(&other_store, name).await.unwrap();
    }
    other_store.close().await;
    let swapped = TestStore { url: other.url.clone(), folder: test_store.folder };
    assert!(matches!(swapped.open().await, Err(StoreError::OtherDatabase { known: true, .. })));
    let notes = swapped.open_as(RestorePolicy::Accept).await.unwrap().notes.join("\n");
    assert!(notes.contains("another database"), "{notes}");
    assert!(swapped.open().await.is_ok());
    // A backup of an early version, without an identity.
    let mut connection = sqlx::AnyConnection::connect(&swapped.url).await.unwrap();
    connection.execute("delete from store_identity").await.unwrap();
    connection.close().await.unwrap();
    assert!(matches!(swapped.open().await, Err(StoreError::OtherDatabase { known: false, .. })));
    assert!(swapped.open_as(RestorePolicy::Accept).await.is_ok() && swapped.open().await.is_ok());
    drop(other.folder);
}

#[tokio::test]
async fn another_database_is_refused_until_it_is_accepted() {
    another_one_is_refused_until_it_is_accepted(TestStore::sqlite(), TestStore::sqlite()).await;
    if let (Some(test_store), Some(other)) = (TestStore::postgres().await, TestStore::postgres().await) {
        another_one_is_refused_until_it_is_accepted(test_store, other).await;
    }
}

#[tokio::test]
async fn an_empty_postgresql_database_does_not_count_as_one_without_keys() {
    let (Some(test_store), Some(empty)) = (TestStore::postgres().await, TestStore::postgres().await) else { return };
    add_key(&test_store.open().await.unwrap(), "alice").await.unwrap();
    let swapped = TestStore { url: empty.url.clone(), folder: test_store.folder };
    assert!(matches!(swapped.open().await, Err(StoreError::DatabaseLost(_))));
    assert!(matches!(swapped.open_as(RestorePolicy::Accept).await, Err(StoreError::DatabaseLost(_))));
    let mut connection = sqlx::AnyConnection::connect(&swapped.url).await.unwrap();
    let query = "select cast(count(*) as bigint) as n from information_schema.tables where table_name = 'keys'";
    let row = connection.fetch_one(query).await.unwrap();
    assert_eq!(sqlx::Row::get::<i64, _>(&row, "n"), 0, "nothing was created");
    let opened = swapped.open_as(RestorePolicy::StartEmpty).await.unwrap();
    assert!(opened.store.keys().await.unwrap().is_empty() && !swapped.file("store-id").exists());
    // A PostgreSQL database with tables cannot be moved aside.
    add_key(&opened.store, "bob").await.unwrap();
    assert!(matches!(swapped.open_as(RestorePolicy::StartEmpty).await, Err(StoreError::DatabaseIntact)));
    let original = TestStore { url: test_store.url, folder: swapped.folder };
    assert!(matches!(original.open_as(RestorePolicy::StartEmpty).await, Err(StoreError::DatabaseNotEmpty)));
}

#[tokio::test]
async fn a_server_with_an_older_id_file_is_accepted_and_updates_it() {
    let test_store = TestStore::sqlite();
    let store = test_store.open().await.unwrap();
    add_key(&store, "alice").await.unwrap();
    let old = test_store.id_file_text();
    add_key(&store, "bob").await.unwrap();
    // A crash between the database and the file, or another server's change.
    std::fs::write(test_store.file("store-id"), old).unwrap();
    let other = test_store.open().await.unwrap();
    assert_eq!(change_count(&test_store.id_file_text()), other.identity().await.unwrap().changes);
    add_key(&store, "carol").await.unwrap();
    assert!(other.sync_id_file().await.unwrap());
    // A new replica without the file accepts the database.
    std::fs::remove_file(test_store.file("store-id")).unwrap();
    let new = test_store.open().await.unwrap();
    assert_eq!(change_count(&test_store.id_file_text()), new.identity().await.unwrap().changes);
}

#[tokio::test]
async fn a_key_that_cannot_be_recorded_is_not_added() {
    let test_store = TestStore::sqlite();
    let store = test_store.open().await.unwrap();
    std::fs::create_dir(test_store.file("store-id")).unwrap();
    let error = add_key(&store, "alice").await.unwrap_err();
    assert!(matches!(error, StoreError::IdFile(..)), "{error}");
    assert!(store.keys().await.unwrap().is_empty());
    std::fs::remove_dir(test_store.file("store-id")).unwrap();
    add_key(&store, "alice").await.unwrap();
    std::fs::remove_file(test_store.file("store-id")).unwrap();
    std::fs::create_dir(test_store.file("store-id")).unwrap();
    let error = store.revoke_key("alice").await.unwrap_err();
    assert!(error.to_string().contains("the change is made"), "{error}");
    assert!(store.keys().await.unwrap()[0].revoked_at.is_some());
}

#[tokio::test]
async fn a_database_of_another_program_is_neither_used_nor_changed() {
    let test_store = TestStore::sqlite();
    sqlx::any::install_default_drivers();
    let mut other = sqlx::AnyConnection::connect(&format!("{}?mode=rwc", test_store.url)).await.unwrap();
    other.execute("create table songs (name text); insert into songs values ('La Mer')").await.unwrap();
    other.close().await.unwrap();
    let path = test_store.file("cachalot.db");
    let bytes = std::fs::read(&path).unwrap();
    let error = test_store.open().await.unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let opened = test_store.open_as(RestorePolicy::StartEmpty).await.unwrap();
    let aside = moved_aside(test_store.folder.path(), "cachalot.db.old-");
    assert_eq!(std::fs::read(aside).unwrap(), bytes, "{:?}", opened.notes);
}

fn moved_aside(folder: &Path, prefix: &str) -> PathBuf {
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    names.find(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).expect("it is kept")
}

#[tokio::test]
async fn a_database_with_a_damaged_table_of_keys_is_refused() {
    let test_store = TestStore::sqlite();
    let store = test_store.open().await.unwrap();
    for number in 0..200 {
        add_key(&store, &format!("key-{number}")).await.unwrap();
    }
    store.close().await;
    let path = test_store.file("cachalot.db");
    let whole = std::fs::read(&path).unwrap();
    // Truncated at the end of a page and in the middle of one, and with a page of zeros.
    let mut damaged = vec![whole[..4096 * 3].to_vec(), whole[..whole.len() / 2 + 100].to_vec()];
    for page in 2..whole.len() / 4096 {
        let mut zeroed = whole.clone();
        zeroed[page * 4096..(page + 1) * 4096].fill(0);
        damaged.push(zeroed);
    }
    let mut refused = 0;
    for bytes in damaged {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(test_store.file(&format!("cachalot.db{suffix}")));
        }
        std::fs::write(&path, &bytes).unwrap();
        match test_store.open().await {
            // Damage that is not detected does not affect keys.
            Ok(store) => {
                assert_eq!(store.keys().await.unwrap().len(), 200);
                store.close().await;
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, StoreError::Unusable(..)), "{error}");
            }
        }
    }
    assert!(refused >= 5, "{refused}");
}
