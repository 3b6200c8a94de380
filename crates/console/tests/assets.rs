//! The files of the console: their sizes, their names, and what they may not contain.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use console::Asset;

/// The most bytes of all files together.
const MAX_BYTES: usize = 600_000;

/// The most bytes, compressed, that a browser loads to show a page for the first time.
const MAX_FIRST_PAGE_BYTES: usize = 120_000;

fn asset(name: &str) -> std::sync::Arc<Asset> {
    console::find(name).unwrap_or_else(|| panic!("`{name}` is not a file of the console"))
}

fn text(name: &str) -> String {
    String::from_utf8(asset(name).bytes.to_vec()).unwrap_or_else(|error| panic!("`{name}`: {error}"))
}

fn scripts() -> impl Iterator<Item = String> {
    console::names().map(|name| name.to_string()).filter(|name| name.ends_with(".js") && !name.starts_with("vendor/"))
}

/// The modules that a module imports before it runs, and theirs, itself included.
fn with_imports(name: &str, found: &mut BTreeSet<String>) {
    if !found.insert(name.to_owned()) {
        return;
    }
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    for line in text(name).lines().filter(|line| line.contains("from \"./") || line.contains("from \"../")) {
        let path = line.rsplit('"').nth(1).expect("a quoted path");
        let mut parts: Vec<_> = folder.iter().map(|part| part.to_str().unwrap()).collect();
        for part in path.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        with_imports(&parts.join("/"), found);
    }
}

fn sent_bytes(name: &str) -> usize {
    let asset = asset(name);
    asset.gzip.as_ref().map_or(asset.bytes.len(), Vec::len)
}

#[test]
fn all_files_together_are_small() {
    let total: usize = console::names().map(|name| asset(&name).bytes.len()).sum();
    assert!(total < MAX_BYTES, "{total} bytes");
}

#[test]
fn a_first_visit_loads_little() {
    let load = |page: &str| {
        let mut files =
            BTreeSet::from(["index.html", "tokens.css", "style.css", "theme.js", "icon.svg"].map(String::from));
        with_imports("app.js", &mut files);
        with_imports(page, &mut files);
        files.iter().map(|name| sent_bytes(name)).sum::<usize>()
    };
    // The login has no code on it, so that its browser asks for one font.
    let font = console::names().find(|name| name.contains("sans") && name.ends_with(".woff2")).expect("a font");
    let login = load("pages/gate.js") + sent_bytes(&font);
    assert!(login < MAX_FIRST_PAGE_BYTES, "the login: {login} bytes");
    // Fonts stay in the browser's cache for good.
    let overview = load("pages/overview.js");
    assert!(overview < MAX_FIRST_PAGE_BYTES, "the overview: {overview} bytes without fonts");
}

#[test]
fn a_hash_in_a_name_is_that_of_the_contents() {
    for name in console::names() {
        let hash = name.split('.').find(|part| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_typed = name.ends_with(".d.ts");
        if let Some(hash) = hash.filter(|_| !is_typed) {
            assert!(asset(&name).sha256.starts_with(hash), "{name}");
            assert!(asset(&name).cache_control.contains("immutable"), "{name}");
        } else {
            assert_eq!(asset(&name).cache_control, "no-cache", "{name}");
        }
    }
}

#[test]
fn the_vendored_files_are_those_of_their_table() {
    let readme = include_str!("../vendor/README.md");
    let vendored: Vec<_> =
        console::names().filter(|name| name.starts_with("vendor/") && name.ends_with(".js")).collect();
    assert_eq!(vendored.len(), 3);
    for name in vendored {
        let file = name.trim_start_matches("vendor/");
        let row = readme.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("no row for {file}"));
        assert!(row.contains(&asset(&name).sha256), "{row}");
    }
}

#[test]
fn no_script_makes_html_from_text() {
    for name in scripts() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "dangerouslySetInnerHTML",
            "createContextualFragment",
            "DOMParser",
            "eval(",
            "new Function",
            "srcdoc",
            "sessionStorage",
        ] {
            assert!(!text(&name).contains(way), "`{name}` uses `{way}`");
        }
    }
}

/// Scripts and styles inside the page would be refused by the policy of the console.
#[test]
fn the_page_holds_no_script_and_no_style() {
    let page = text("index.html");
    assert!(!page.contains("style=") && !page.contains("<style") && !page.contains(" on"), "{page}");
    assert!(
        page.lines().filter(|line| line.contains("<script")).all(|line| line.contains("src=\"/console/")),
        "{page}"
    );
    for name in scripts() {
        assert!(!text(&name).contains("style="), "{name}");
    }
}

#[test]
fn pages_and_files_are_told_apart() {
    for page in ["", "keys", "guide/chat", "no/such/page"] {
        assert_eq!(asset(page).content_type, "text/html; charset=utf-8", "{page}");
    }
    assert_eq!(asset("app.js").content_type, "text/javascript; charset=utf-8");
    for missing in ["x.js", "../Cargo.toml", "guide/x.md", "..", "%2e%2e/Cargo.toml", "fonts/../../Cargo.toml"] {
        assert!(console::find(missing).is_none(), "{missing}");
    }
    assert!(fs::exists(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap());
}

#[test]
fn every_topic_of_the_guide_is_listed() {
    let (list, page) = (text("llms.txt"), text("pages/guide.js"));
    let topics: Vec<_> = console::names().filter(|name| name.starts_with("guide/")).collect();
    assert_eq!(topics.len(), 12);
    for name in topics {
        assert!(list.contains(&format!("({name})")), "llms.txt: {name}");
        let topic = name.trim_start_matches("guide/").trim_end_matches(".md");
        assert!(page.contains(&format!("[\"{topic}\"")), "pages/guide.js: {topic}");
    }
}
