//! Pipes, devices and folders in the place of files are errors that name the path.

#![cfg(unix)]

use std::path::Path;
use std::process::Command;

use crate::process::{SERVE_ARGS, Server, TestHome, run_to_end};

fn make_pipe(path: &Path) {
    // The file may exist.
    let _ = std::fs::remove_file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_pipe_or_a_device_in_the_place_of_a_file_is_an_error_that_names_it() {
    let home = TestHome::new();
    let pipe = home.path("pipe");
    make_pipe(&pipe);
    let config = home.path("with-prices.toml");
    std::fs::write(&config, format!("[gateway]\nprices = \"{}\"\n", pipe.display())).unwrap();
    let config = config.to_str().unwrap();
    let paths = [
        (pipe.to_str().unwrap(), "a pipe (FIFO)"),
        ("/dev/zero", "a device"),
        (home.path("").to_str().unwrap(), "a folder"),
    ]
    .map(|(path, kind)| (path.to_owned(), kind));
    for (path, kind) in &paths {
        let store = format!("sqlite:{path}");
        for arguments in [
            [&SERVE_ARGS[..], &["--store", "off", "--config", path]].concat(),
            [&SERVE_ARGS[..], &["--store", &store]].concat(),
            vec!["key", "list", "--store", &store],
            vec!["score", "--model", "fixture", "--tokens", path],
            vec!["render", "--model", "fixture", path],
            vec!["provider", "import", path],
            vec!["price", "import", path, "--date", "2026-11-27"],
        ] {
            let refused = home.run_fails(&arguments);
            assert!(refused.contains(kind) && refused.contains(path.trim_end_matches('/')), "{arguments:?}: {refused}");
        }
    }
    assert!(home.serve_fails(&["--store", "off", "--config", config]).contains("a pipe (FIFO)"));
    // The default configuration file.
    make_pipe(&home.path("cachalot.toml"));
    assert!(home.serve_fails(&["--store", "off"]).contains("cachalot.toml"));
    std::fs::remove_file(home.path("cachalot.toml")).unwrap();
    // Files of the data folder.
    home.serve(&[]).stop();
    for name in ["admin-token", "cachalot.db-wal", "cachalot.db-shm", "server.lock", "journal/1.alone.journal"] {
        let path = home.data_path(name);
        let kept = home.path("kept");
        let existed = std::fs::rename(&path, &kept).is_ok();
        make_pipe(&path);
        let refused = home.serve_fails(&[]);
        assert!(refused.contains("a pipe (FIFO)") && refused.contains(name), "{name}: {refused}");
        std::fs::remove_file(&path).unwrap();
        if existed {
            std::fs::rename(&kept, &path).unwrap();
        }
    }
    let refused = run_to_end({
        let mut command = home.command(&SERVE_ARGS);
        command.env("SSL_CERT_FILE", &pipe);
        command
    });
    assert!(!refused.status.success() && refused.stderr.contains("SSL_CERT_FILE"), "{}", refused.stderr);
    home.serve(&["--config", "/dev/null"]).stop();
}

#[test]
fn a_pipe_in_a_checkpoint_is_an_error_that_names_it() {
    let home = TestHome::new();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/v32-fp8");
    let folder = home.path("model");
    std::fs::create_dir(&folder).unwrap();
    let files: Vec<_> = std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["config.json", "model-00001-of-000003.safetensors", "model.safetensors.index.json"] {
        for file in files.iter().filter(|file| file.is_file()) {
            std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
        }
        make_pipe(&folder.join(name));
        let inspected = home.run(&["inspect", folder.to_str().unwrap()]);
        let output = inspected.stdout + &inspected.stderr;
        assert!(output.contains("a pipe (FIFO)") && output.contains(name), "{name}: {output}");
        let serve = ["serve", "--store", "off", "--listen", "127.0.0.1:0", "--model", folder.to_str().unwrap()];
        assert!(home.run_fails(&serve).contains(name));
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    for file in files.iter().filter(|file| file.is_file()) {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    make_pipe(&folder.join("tokenizer.json"));
    let refused = home.run_fails(&["render", "--model", folder.to_str().unwrap(), "/dev/null"]);
    assert!(refused.contains("a pipe (FIFO)") && refused.contains("tokenizer.json"), "{refused}");
}

#[test]
fn a_pipe_in_the_disk_cache_is_ignored() {
    let home = TestHome::new();
    let cache = home.path("prefix");
    for name in [format!("{}.page", "ab".repeat(32)), "lock".into()] {
        make_pipe(&cache.join(name));
        let disk_cache = ["--disk-cache", cache.to_str().unwrap()];
        let arguments = [&["serve", "--model", "fixture", "--listen", "127.0.0.1:0"][..], &disk_cache].concat();
        Server::start(home.command(&arguments)).stop();
    }
}
