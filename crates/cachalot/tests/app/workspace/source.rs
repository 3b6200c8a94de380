//! The source text of the workspace, for tests of its structure and style.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources of each crate: crate name, file name below `src`, text.
pub(crate) fn crates() -> BTreeMap<String, BTreeMap<String, String>> {
    let folders = std::fs::read_dir(root().join("crates")).expect("the folder of crates");
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| (name.clone(), texts(&format!("crates/{name}/src"), "rs"))).collect()
}

/// The files below `folder` (a path from the root) with this extension: name below `folder`, text.
/// Build outputs are left out.
pub(crate) fn texts(folder: &str, extension: &str) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    let top = root().join(folder);
    let mut open = vec![top.clone()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|end| end == extension) {
                let name = path.strip_prefix(&top).unwrap().to_str().unwrap().replace('\\', "/");
                let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                texts.insert(name, text);
            }
        }
    }
    texts
}
