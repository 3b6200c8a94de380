//! Adds to the program the commit that `--version` prints, the settings of the allocator, and the
//! files of `models/minnow/`.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The endings of the files that a checkpoint is read from.
const ENDINGS: [&str; 3] = ["json", "safetensors", "jinja"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let has_minnow = embed_minnow()?;
    let commit = commit()?.unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=CACHALOT_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=CACHALOT_BUILD_TARGET={}", env::var("TARGET")?);
    println!("cargo::rustc-env=CACHALOT_BUILD_FEATURES={}", if has_minnow { "embedded-model" } else { "none" });
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        set_up_allocator();
    }
    Ok(())
}

/// The commit of the sources: from the variable `CACHALOT_COMMIT`, from a source archive, in which
/// `git archive` has written it to `commit.txt`, or from git.
fn commit() -> Result<Option<String>, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=CACHALOT_COMMIT");
    println!("cargo::rerun-if-changed=commit.txt");
    let named = env::var("CACHALOT_COMMIT").unwrap_or_default();
    let exported = fs::read_to_string("commit.txt")?;
    let is_commit = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(commit) = [named.trim(), exported.trim()].into_iter().find(is_commit) {
        return Ok(Some(commit.into()));
    }
    // In a repository that does not know this file, the sources have no commit.
    if git(&["ls-files", "--error-unmatch", "commit.txt"]).is_none() {
        return Ok(None);
    }
    // It has a line for each commit and each checkout.
    if let Some(path) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    Ok(git(&["rev-parse", "HEAD"]))
}

/// The output of a command of git that succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Links the settings of jemalloc into the program. Its own build takes them from the environment
/// only, which `cargo install --git` does not set.
fn set_up_allocator() {
    println!("cargo::rerun-if-changed=malloc_conf.c");
    // An object instead of a library, from which the linker would not take a symbol that jemalloc
    // defines too (weakly).
    for object in cc::Build::new().file("malloc_conf.c").compile_intermediates() {
        println!("cargo::rustc-link-arg-bins={}", object.display());
    }
}

/// Lists the files of `models/minnow/` for the program, which embeds them if the feature
/// `embedded-model` is on: `config.json`, the tokenizer, and any number of weight files. Sets the
/// cfg `has_minnow` and returns true if it did.
fn embed_minnow() -> Result<bool, Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(has_minnow)");
    if env::var_os("CARGO_FEATURE_EMBEDDED_MODEL").is_none() {
        return Ok(false);
    }
    let models = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../models");
    // The folder of all models, because Cargo would run this again at every build for a path that
    // does not exist.
    println!("cargo::rerun-if-changed={}", models.display());
    let folder = models.join("minnow");
    if !folder.join("config.json").exists() {
        println!(
            "cargo::warning=models/minnow/ is not in this tree: the program is built without it, and serves the fixture by default"
        );
        return Ok(false);
    }
    let mut files = String::new();
    let mut entries = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path().canonicalize()?;
        if path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
            let name = entry.file_name();
            let (Some(name), Some(path)) = (name.to_str(), path.to_str()) else {
                return Err(format!("the path `{}` is not UTF-8", path.display()).into());
            };
            files += &format!(
                "    ({name:?}, {{\n        static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!({path:?}));\n        &FILE.0\n    }}),\n"
            );
        }
    }
    let source = format!(
        "use cachalot::embedded_model::{{Aligned, EmbeddedFile}};\n\npub(crate) static FILES: &[EmbeddedFile] = &[\n{files}];\n"
    );
    fs::write(Path::new(&env::var("OUT_DIR")?).join("minnow.rs"), source)?;
    println!("cargo::rustc-cfg=has_minnow");
    Ok(true)
}
