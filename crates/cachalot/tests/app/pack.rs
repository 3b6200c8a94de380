//! `cachalot pack` as a process: killed and continued, refused, planned.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use testkit::{Head, TinyCheckpoint};

use crate::process::TestHome;

/// Writes a tiny checkpoint, with a licence, to the folder `source`.
fn write_source(home: &TestHome, tiny: &TinyCheckpoint) -> String {
    let folder = home.path("source");
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in tiny.files() {
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::write(folder.join("LICENSE"), "a licence\n").unwrap();
    folder.to_str().unwrap().to_owned()
}

/// Every file of a folder.
fn read_folder(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// The finished weights files of a folder, with their times of modification.
fn finished_shards(folder: &Path) -> BTreeMap<String, SystemTime> {
    let Ok(state) = fs::read(folder.join("cachalot-pack.json")) else { return BTreeMap::new() };
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let names = state["shards"].as_object().unwrap().keys();
    names.map(|name| (name.clone(), fs::metadata(folder.join(name)).unwrap().modified().unwrap())).collect()
}

/// Starts packing into `destination` and kills the process when two files are finished. Returns
/// them; `None` if the process was quicker.
fn start_and_kill(home: &TestHome, arguments: &[&str], destination: &Path) -> Option<BTreeMap<String, SystemTime>> {
    let mut process = home.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline && process.try_wait().unwrap().is_none() {
        if finished_shards(destination).len() >= 2 {
            break;
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let finished = finished_shards(destination);
    (!finished.is_empty()).then_some(finished)
}

#[test]
fn a_killed_run_continues_and_keeps_what_was_finished() {
    let home = TestHome::new();
    let source = write_source(&home, &TinyCheckpoint { head: Head::Copied { own_rows: 3 }, ..Default::default() });
    let pack = |destination: &str| {
        let options = ["--weights", "int4", "--embedding", "int8", "--shard-size", "100k"];
        [&["pack", &source, destination][..], &options].concat().iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()
    };
    let run = |destination: &str| {
        let arguments = pack(destination);
        home.run_ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    run("whole");
    let mut kills = 0;
    for attempt in 0..8 {
        let destination = format!("killed-{attempt}");
        let folder = home.path(&destination);
        let arguments = pack(&destination);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let Some(finished) = start_and_kill(&home, &arguments, &folder) else { continue };
        if folder.join("config.json").exists() {
            // Killed between the last file and the end: nothing is missing.
            continue;
        }
        kills += 1;
        let error = home.run_fails(&["inspect", &destination]);
        assert!(error.contains("run the same `cachalot pack` command again"), "{error}");

        // A damaged file is written again, the others are kept.
        let (damaged, kept) = (finished.keys().next().unwrap(), finished.keys().last().unwrap());
        let mut bytes = fs::read(folder.join(damaged)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(folder.join(damaged), bytes).unwrap();

        let other = home.run_fails(&["pack", &source, &destination, "--weights", "int8"]);
        assert!(other.contains("--weights int4 --embedding int8 --shard-size 102400"), "{other}");

        run(&destination);
        let modified = fs::metadata(folder.join(kept)).unwrap().modified().unwrap();
        assert!(kept == damaged || modified == finished[kept], "`{kept}` was finished");
        assert!(read_folder(&folder) == read_folder(&home.path("whole")), "the result is that of a whole run");
    }
    assert!(kills > 0, "every run was quicker than the kill");
    assert!(run("whole").contains("complete already"));
}

#[test]
fn a_packed_folder_is_described_verified_and_scored() {
    let home = TestHome::new();
    let source = write_source(&home, &TinyCheckpoint { head: Head::Tied, ..TinyCheckpoint::default() });
    let plan = home.run_ok(&["pack", &source, "--weights", "int4", "--attention", "int8", "--dry-run"]);
    assert!(plan.contains("the output head is the embedding") && plan.contains("attention"), "{plan}");
    assert!(!home.path("packed").exists());
    let printed = home.run_ok(&["pack", &source, "packed", "--weights", "int4", "--attention", "int8"]);
    assert!(printed.starts_with(&plan), "the plan is what is done: {printed}");

    let report = home.run_ok(&["inspect", "packed", "--verify"]);
    for words in ["int4", "int8", "attention int8", "tokens/s", "all checksums are right (files: 1)"] {
        assert!(report.contains(words), "{report} lacks {words}");
    }
    assert!(home.run_fails(&["inspect", &source, "--verify"]).contains("records no checksums"));
    assert_eq!(fs::read(home.path("packed/LICENSE")).unwrap(), b"a licence\n");
    assert_eq!(fs::read(home.path("packed/tokenizer.json")).unwrap(), testkit::tokenizer_json());
    fs::write(home.path("tokens.json"), "[[0, 17, 4, 99]]").unwrap();
    let scored = home.run_ok(&["score", "--model", "packed", "--tokens", "tokens.json", "--top", "1"]);
    assert_eq!(scored.lines().count(), 4);

    let shard = home.path("packed/model-00001-of-00001.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&shard, bytes).unwrap();
    home.run_ok(&["inspect", "packed"]);
    assert!(home.run_fails(&["inspect", "packed", "--verify"]).contains("model-00001-of-00001.safetensors"));
    // As a source, a packed folder is verified first.
    let error = home.run_fails(&["pack", "packed", "again", "--weights", "int8"]);
    assert!(error.contains("is damaged"), "{error}");
}

#[test]
fn other_peoples_folders_are_left_alone() {
    let home = TestHome::new();
    let source = write_source(&home, &TinyCheckpoint::default());
    let refused = |destination: &str, words: &str| {
        let error = home.run_fails(&["pack", &source, destination, "--weights", "int8"]);
        assert!(error.contains(words), "{error}");
    };
    refused(&source, "same folder");
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/notes.txt"), "mine").unwrap();
    refused("full", "notes.txt");
    assert_eq!(read_folder(&home.path("full")).len(), 1);

    home.run_ok(&["pack", &source, "packed", "--weights", "int4"]);
    let before = read_folder(&home.path("packed"));
    refused("packed", "other options");
    assert!(before == read_folder(&home.path("packed")));

    let error = home.run_fails(&["pack", "nothing", "new", "--weights", "int8"]);
    assert!(error.contains("nothing"), "{error}");
    let error = home.run_fails(&["pack", &source, "new", "--weights", "int8", "--shard-size", "10k"]);
    assert!(error.contains("larger shards"), "{error}");
}
