//! The arrows between the crates: which crate may import which, use `unsafe`, or
//! use HTTP libraries.
//! ARCHITECTURE.md has the reasons.

use std::collections::BTreeSet;

use serde_json::Value;

use super::source::root;

/// The crates of the workspace that each crate may import. `cachalot` may import all of them.
const ARROWS: [(&str, &[&str]); 14] = [
    ("chat", &[]),
    ("files", &[]),
    ("wire", &["chat"]),
    ("kernels", &[]),
    ("weights", &["files", "kernels"]),
    ("model", &["kernels", "weights"]),
    ("text", &["chat"]),
    ("engine", &["chat", "files", "text", "model"]),
    ("store", &["files"]),
    ("gateway", &["chat", "files", "wire", "store"]),
    ("console", &[]),
    ("hub", &["files"]),
    ("server", &["chat", "wire", "store", "gateway", "console"]),
    ("testkit", &["chat"]),
];

fn packages() -> Vec<Value> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

/// Names of a package's normal dependencies. Dev-dependencies are not restricted.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let normal = |d: &&Value| d["kind"].is_null();
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(normal)
        .map(|d| d["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn crates_import_only_along_the_arrows() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        if name == "cachalot" {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(crate_name, _)| *crate_name == name)
            .unwrap_or_else(|| panic!("`{name}` has no row in ARROWS"));
        for dependency in dependencies(package).iter().filter(|d| ours.contains(d.as_str())) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "`{name}` imports `{dependency}`, which its arrows do not allow"
            );
        }
    }
}

#[test]
fn only_crates_that_speak_http_import_its_libraries() {
    for package in packages() {
        let name = package["name"].as_str().unwrap().to_owned();
        for library in dependencies(&package) {
            let http = ["axum", "hyper", "hyper-rustls", "hyper-util", "http", "reqwest", "tower-http"]
                .contains(&library.as_str());
            assert!(
                !http || ["server", "gateway", "hub", "testkit"].contains(&name.as_str()),
                "`{name}` imports `{library}`"
            );
        }
    }
}

#[test]
fn only_kernels_and_weights_use_unsafe() {
    for package in packages() {
        let name = package["name"].as_str().unwrap().to_owned();
        let lib = root().join("crates").join(&name).join("src/lib.rs");
        let text = std::fs::read_to_string(&lib).unwrap_or_else(|error| panic!("{}: {error}", lib.display()));
        let forbidden = text.contains("#![forbid(unsafe_code)]");
        assert_eq!(
            forbidden,
            !["kernels", "weights"].contains(&name.as_str()),
            "`#![forbid(unsafe_code)]` in {}",
            lib.display()
        );
    }
}
