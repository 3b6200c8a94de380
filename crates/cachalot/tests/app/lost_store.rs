//! A database that is lost, damaged or restored: keys that were refused before stay refused.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Server, TestHome};

/// A home whose server has had a key and was shut down. Returns the key.
fn home_with_key() -> (TestHome, String) {
    let home = TestHome::new();
    home.serve(&[]).stop();
    let key = home.run_ok(&["key", "add", "alice"]).trim().to_owned();
    (home, key)
}

fn admin_token(home: &TestHome) -> String {
    std::fs::read_to_string(home.data_path("admin-token")).unwrap().trim().to_owned()
}

/// Whether the server refuses requests without a key.
fn requires_key(server: &Server) -> bool {
    let (models, admin) = (server.get("/v1/models", &[]).0, server.get("/admin/keys", &[]).0);
    assert_eq!(models, admin);
    models == 401
}

/// The files that were set aside.
fn set_aside_files(home: &TestHome, prefix: &str) -> Vec<PathBuf> {
    let names = std::fs::read_dir(home.data_path("")).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

fn remove_database(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        // Not all of them are always there.
        let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
    }
}

#[test]
fn a_server_whose_database_is_lost_or_damaged_does_not_serve_without_keys() {
    let (home, _) = home_with_key();
    let database = home.data_path("cachalot.db");
    let whole = std::fs::read(&database).unwrap();
    assert!(requires_key(&home.serve(&[])));
    let damaged: [(&str, Option<Vec<u8>>); 6] = [
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("one byte", Some(vec![0])),
        ("one page", Some(whole[..4096].to_vec())),
        ("truncated", Some(whole[..whole.len() - 1000].to_vec())),
        ("garbage", Some(b"a text of some length ".repeat(400))),
    ];
    for (name, bytes) in damaged {
        remove_database(&database);
        if let Some(bytes) = &bytes {
            std::fs::write(&database, bytes).unwrap();
        }
        for refused in [
            home.serve_fails(&[]),
            home.run_fails(&["key", "list"]),
            home.run_fails(&["key", "add", "bob"]),
            home.run_fails(&["usage"]),
            home.run_fails(&["user", "list"]),
        ] {
            assert!(refused.contains("--new-store") && refused.contains("cachalot.db"), "{name}: {refused}");
        }
        let accepted = home.serve_fails(&["--accept-restored-store"]);
        assert!(accepted.contains("cachalot.db"), "{name}: there is nothing to accept: {accepted}");
        assert_eq!(std::fs::read(&database).ok(), bytes, "{name}: nothing is created or changed");
    }
    // A write-ahead log without its database is not a database.
    remove_database(&database);
    std::fs::write(home.data_path("cachalot.db-wal"), "log").unwrap();
    assert!(home.serve_fails(&[]).contains("missing or empty"));
    // The original database is used as before.
    remove_database(&database);
    std::fs::write(&database, &whole).unwrap();
    assert!(requires_key(&home.serve(&[])));
}

#[test]
fn a_folder_that_was_used_before_there_was_a_store_id_is_not_taken_for_a_new_one() {
    let home = TestHome::new();
    home.serve(&[]).stop();
    assert!(!home.data_path("store-id").exists(), "there was no key");
    remove_database(&home.data_path("cachalot.db"));
    assert!(home.serve_fails(&[]).contains("missing or empty"));
    assert!(home.run_fails(&["key", "add", "alice"]).contains("missing or empty"));
    home.serve(&["--new-store"]).stop();
    home.serve(&[]).stop();
}

#[test]
fn a_restored_backup_is_accepted_when_the_operator_says_so() {
    let (home, alice) = home_with_key();
    let bob = home.run_ok(&["key", "add", "bob"]).trim().to_owned();
    let backup = std::fs::read(home.data_path("cachalot.db")).unwrap();
    home.run_ok(&["key", "revoke", "bob"]);
    let carol = home.run_ok(&["key", "add", "carol"]).trim().to_owned();
    remove_database(&home.data_path("cachalot.db"));
    std::fs::write(home.data_path("cachalot.db"), &backup).unwrap();
    for refused in
        [home.serve_fails(&[]), home.run_fails(&["key", "list"]), home.run_fails(&["key", "revoke", "alice"])]
    {
        assert!(refused.contains("--accept-restored-store") && refused.contains("store-id"), "{refused}");
    }
    let server = home.serve(&["--accept-restored-store"]);
    let log = server.log();
    for words in ["lacks 2 changes", "key `bob` revoked", "key `carol` added", "revoke them once more"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(!log.contains("alice"), "{log}");
    let status_of = |key: &str| server.get("/v1/models", &[&format!("Authorization: Bearer {key}")]).0;
    assert_eq!((status_of(&alice), status_of(&bob), status_of(&carol)), (200, 200, 401));
    server.stop();
    // The switch is needed once.
    let server = home.serve(&[]);
    assert!(requires_key(&server));
    drop(server);
    home.run_ok(&["key", "revoke", "bob"]);
    // The same backup is older again.
    remove_database(&home.data_path("cachalot.db"));
    std::fs::write(home.data_path("cachalot.db"), &backup).unwrap();
    assert!(home.serve_fails(&[]).contains("--accept-restored-store"));
}

#[test]
fn a_new_store_is_started_and_the_old_files_are_kept() {
    let (home, key) = home_with_key();
    let refused = home.serve_fails(&["--new-store"]);
    assert!(refused.contains("in order"), "{refused}");
    let garbage = b"a text of some length ".repeat(400);
    remove_database(&home.data_path("cachalot.db"));
    std::fs::write(home.data_path("cachalot.db"), &garbage).unwrap();
    let server = home.serve(&["--new-store"]);
    assert!(server.log().contains("cachalot.db.old-") && server.log().contains("store-id.old-"), "{}", server.log());
    assert_eq!(server.get("/v1/models", &[]).0, 200, "there are no keys");
    server.stop();
    let databases = set_aside_files(&home, "cachalot.db.old-");
    assert_eq!((databases.len(), std::fs::read(&databases[0]).unwrap()), (1, garbage));
    assert_eq!(set_aside_files(&home, "store-id.old-").len(), 1);
    // Without keys, the switch has no effect at the next start.
    home.serve(&["--new-store"]).stop();
    home.run_ok(&["key", "add", "alice"]);
    assert!(home.serve_fails(&["--new-store"]).contains("in order"));
    let server = home.serve(&[]);
    assert_eq!(server.get("/v1/models", &[&format!("Authorization: Bearer {key}")]).0, 401);
}

#[test]
fn a_store_with_keys_cannot_be_switched_off() {
    let (home, _) = home_with_key();
    let refused = home.serve_fails(&["--store", "off"]);
    assert!(refused.contains("store-id") && refused.contains("off"), "{refused}");
    let config = home.path("off.toml");
    std::fs::write(&config, "[store]\nurl = \"off\"\n").unwrap();
    assert!(home.serve_fails(&["--config", config.to_str().unwrap()]).contains("store-id"));
    // Also where another configuration names that store.
    let other = TestHome::new();
    let url = format!("sqlite:{}", home.data_path("cachalot.db").display());
    std::fs::write(&config, format!("[store]\nurl = \"{url}\"\n")).unwrap();
    assert!(other.serve_fails(&["--config", config.to_str().unwrap(), "--store", "off"]).contains("store-id"));
    std::fs::rename(home.data_path("store-id"), home.data_path("store-id.old")).unwrap();
    other.run_fails(&["serve", "--model", "none", "--store", "off", "--listen", "127.0.0.1:0", "--new-store"]);
}

#[test]
fn the_first_key_is_recorded_in_store_id_before_it_is_shown() {
    // By a command,
    let home = TestHome::new();
    home.run_ok(&["user", "add", "olga"]);
    assert!(!home.data_path("store-id").exists());
    home.run_ok(&["key", "add", "alice"]);
    assert!(home.data_path("store-id").exists());
    // and by the admin API.
    let home = TestHome::new();
    let server = home.serve(&[]);
    let token = format!("Authorization: Bearer {}", admin_token(&home));
    assert!(!home.data_path("store-id").exists());
    let (status, answer) = server.request("POST", "/admin/keys", &[&token], r#"{"name": "bob"}"#);
    assert_eq!(status, 201, "{answer}");
    let recorded = std::fs::read_to_string(home.data_path("store-id")).unwrap();
    assert!(recorded.contains("key `bob` added"), "{recorded}");
    // A key that cannot be recorded is neither shown nor made.
    std::fs::remove_file(home.data_path("store-id")).unwrap();
    std::fs::create_dir(home.data_path("store-id")).unwrap();
    let (status, answer) = server.request("POST", "/admin/keys", &[&token], r#"{"name": "carol"}"#);
    assert!(status == 503 && !answer.contains("sk-"), "{answer}");
    std::fs::remove_dir(home.data_path("store-id")).unwrap();
    let body = server.get("/admin/keys", &[&token]).1;
    let keys: Value = serde_json::from_str(&body[body.find("\r\n\r\n").unwrap()..]).unwrap();
    assert_eq!(keys["data"].as_array().unwrap().len(), 1, "{keys}");
    // Changes by other processes are recorded, too.
    home.run_ok(&["key", "add", "dave"]);
    std::fs::remove_file(home.data_path("store-id")).unwrap();
    home.run_ok(&["key", "revoke", "dave"]);
    assert!(server.get("/healthz", &[]).0 == 200 && home.data_path("store-id").exists());
}

#[test]
fn a_database_without_a_store_id_gets_one_at_the_first_start() {
    let (home, _) = home_with_key();
    std::fs::remove_file(home.data_path("store-id")).unwrap();
    assert!(requires_key(&home.serve(&[])));
    assert!(home.data_path("store-id").exists());
    remove_database(&home.data_path("cachalot.db"));
    home.serve_fails(&[]);
}

#[test]
fn a_server_whose_keys_are_all_gone_stays_closed() {
    let (home, key) = home_with_key();
    home.run_ok(&["key", "revoke", "alice"]);
    let server = home.serve(&[]);
    assert!(requires_key(&server));
    let (status, _) = server.get("/admin/keys", &[&format!("Authorization: Bearer {}", admin_token(&home))]);
    assert_eq!((status, server.get("/v1/models", &[&format!("Authorization: Bearer {key}")]).0), (200, 401));
    server.stop();
    // Also when the rows were deleted by hand.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use sqlx::{Connection, Executor};
        sqlx::any::install_default_drivers();
        let url = format!("sqlite:{}", home.data_path("cachalot.db").display());
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        connection.execute("delete from keys").await.unwrap();
        connection.close().await.unwrap();
    });
    assert!(requires_key(&home.serve(&[])));
}

#[cfg(unix)]
#[test]
fn a_damaged_store_id_is_not_treated_as_a_missing_one() {
    let (home, _) = home_with_key();
    let store_id = home.data_path("store-id");
    let whole = std::fs::read(&store_id).unwrap();
    let damage: [(&str, &dyn Fn()); 5] = [
        ("empty", &|| std::fs::write(&store_id, "").unwrap()),
        ("cut", &|| std::fs::write(&store_id, &whole[..20]).unwrap()),
        ("a link to nowhere", &|| std::os::unix::fs::symlink("/no/such/file", &store_id).unwrap()),
        ("a folder", &|| std::fs::create_dir(&store_id).unwrap()),
        ("a pipe", &|| assert!(std::process::Command::new("mkfifo").arg(&store_id).status().unwrap().success())),
    ];
    for (name, damage) in damage {
        std::fs::remove_file(&store_id).unwrap();
        damage();
        for refused in [home.serve_fails(&[]), home.run_fails(&["key", "list"])] {
            assert!(refused.contains("store-id") && refused.contains("--accept-restored-store"), "{name}: {refused}");
        }
        assert!(home.serve_fails(&["--store", "off"]).contains("store-id"), "{name}");
        assert!(requires_key(&home.serve(&["--accept-restored-store"])), "{name}");
        assert!(requires_key(&home.serve(&[])), "{name}");
    }
}
