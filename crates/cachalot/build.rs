//! Lists the files of `models/minnow/` for the program, which embeds them if the feature
//! `embedded-model` is on: `config.json`, the tokenizer, and any number of weight files. Sets the
//! cfg `has_minnow` if it did.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// The endings of the files that a checkpoint is read from.
const ENDINGS: [&str; 3] = ["json", "safetensors", "jinja"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(has_minnow)");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_EMBEDDED_MODEL").is_none() {
        return Ok(());
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
        return Ok(());
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
    Ok(())
}
