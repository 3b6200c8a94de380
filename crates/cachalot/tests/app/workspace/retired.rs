//! Retired names and phrases do not come back: `docs/retired.txt` lists them with replacements.

use std::collections::{BTreeMap, BTreeSet};

use super::prose::{Paragraph, is_word, paragraphs, prose_of_rust, words};
use super::rust_text::{Kind, pieces};
use super::source;

/// The parsed list. Each entry maps to its replacement.
#[derive(Default)]
struct Retired {
    /// Crate and name of a type, function, constant or module.
    identifiers: BTreeMap<(String, String), String>,
    files: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    metrics: BTreeMap<String, String>,
    phrases: Vec<Phrase>,
    allowed: Vec<Allowed>,
}

struct Phrase {
    /// The phrase as written in the list. `^` anchors it to the beginning of a doc paragraph.
    entry: String,
    replacement: String,
    /// Longer phrases that contain this one and are fine.
    except: Vec<String>,
}

struct Allowed {
    /// A path pattern, in which `*` matches any text.
    path: String,
    entry: String,
}

/// A use of a retired word: path, line, entry, replacement.
type Finding<'a> = (String, usize, &'a str, &'a str);

#[test]
fn retired_words_do_not_come_back() {
    let list = source::root().join("docs/retired.txt");
    let retired = Retired::parse(&std::fs::read_to_string(list).unwrap()).unwrap();
    let mut texts = BTreeMap::new();
    for folder in ["crates", "docs", "deploy", "fuzz", "bench", "tests"] {
        for extension in ["rs", "md", "toml", "py", "yaml", "yml"] {
            let found = source::texts(folder, extension);
            texts.extend(found.into_iter().map(|(name, text)| (format!("{folder}/{name}"), text)));
        }
    }
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "cachalot.example.toml",
        "models.toml",
        "providers.toml",
    ] {
        texts.insert(name.to_owned(), std::fs::read_to_string(source::root().join(name)).unwrap());
    }
    // The glossary may mention former names.
    texts.remove("docs/glossary.md");
    let problems = retired.problems(&texts);
    assert!(problems.is_empty(), "{} retired words:\n{}", problems.len(), problems.join("\n"));
}

impl Retired {
    /// # Errors
    /// A description of the first line that is not an entry.
    fn parse(text: &str) -> Result<Self, String> {
        let mut retired = Self::default();
        let mut section = "";
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fault = |what: &str| format!("line {}: {what}: {line}", number + 1);
            if line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
                continue;
            }
            if section == "allow" {
                let parts: Vec<&str> = line.splitn(3, " | ").map(str::trim).collect();
                let [path, entry, reason] = parts[..] else { return Err(fault("not `path | entry | reason`")) };
                if reason.len() < 10 {
                    return Err(fault("no reason"));
                }
                retired.allowed.push(Allowed { path: path.to_owned(), entry: entry.to_owned() });
                continue;
            }
            let Some((entry, replacement)) = line.split_once(" -> ") else { return Err(fault("no ` -> `")) };
            let (entry, replacement) = (entry.trim().to_owned(), replacement.trim().to_owned());
            let (kind, crate_name) = section.split_once(' ').unwrap_or((section, ""));
            match kind {
                "identifiers" => drop(retired.identifiers.insert((crate_name.to_owned(), entry), replacement)),
                "files" => drop(retired.files.insert(entry, replacement)),
                "settings" => drop(retired.settings.insert(entry, replacement)),
                "metrics" => drop(retired.metrics.insert(entry, replacement)),
                "phrases" => {
                    let (entry, except) = entry.split_once(" except ").unwrap_or((&entry, ""));
                    let except = except.split(',').map(|phrase| phrase.trim().to_owned());
                    let except = except.filter(|phrase| !phrase.is_empty()).collect();
                    retired.phrases.push(Phrase { entry: entry.trim().to_owned(), replacement, except });
                }
                _ => return Err(fault("in no section")),
            }
        }
        Ok(retired)
    }

    /// Describes each use of a retired word that is not allowed, and each allowance without a use.
    fn problems(&self, texts: &BTreeMap<String, String>) -> Vec<String> {
        let mut findings = self.old_files(texts);
        for (path, text) in texts {
            self.check_file(path, text, &mut findings);
        }
        let mut used = BTreeSet::new();
        findings.retain(|(path, _, entry, _)| {
            let allows = |allowed: &Allowed| allowed.entry == *entry && matches(&allowed.path, path);
            let at = self.allowed.iter().position(allows);
            used.extend(at);
            at.is_none()
        });
        findings.sort();
        let describe = |(path, line, entry, new): &Finding<'_>| format!("{path}:{line}: {entry} -> {new}");
        let mut problems: Vec<String> = findings.iter().map(describe).collect();
        let unused = self.allowed.iter().enumerate().filter(|(at, _)| !used.contains(at));
        problems.extend(unused.map(|(_, a)| format!("[allow] {} | {}: allows nothing", a.path, a.entry)));
        problems
    }

    fn old_files<'a>(&'a self, texts: &BTreeMap<String, String>) -> Vec<Finding<'a>> {
        let old = self.files.iter().filter(|(path, _)| texts.contains_key(*path));
        old.map(|(path, new)| (path.clone(), 1, path.as_str(), new.as_str())).collect()
    }

    fn check_file<'a>(&'a self, path: &str, text: &str, findings: &mut Vec<Finding<'a>>) {
        let extension = path.rsplit('.').next().unwrap_or("");
        let crate_name = path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/"));
        let mut add = |line, entry: &'a str, new: &'a str| findings.push((path.to_owned(), line, entry, new));
        if let Some((crate_name, _)) = crate_name {
            for (line, name) in declarations(text) {
                if let Some(((_, old), new)) = self.identifiers.get_key_value(&(crate_name.to_owned(), name)) {
                    add(line, old, new);
                }
            }
        }
        let prose = match extension {
            "rs" => prose_of_rust(text),
            "md" => paragraphs(text.lines().enumerate().map(|(at, line)| (at + 1, line)), false),
            _ => Vec::new(),
        };
        for paragraph in &prose {
            for phrase in &self.phrases {
                phrase.lines_in(paragraph).into_iter().for_each(|line| add(line, &phrase.entry, &phrase.replacement));
            }
        }
        for (at, line) in text.lines().enumerate() {
            let metrics = self.metrics.iter().filter(|(old, _)| words(line, old).next().is_some());
            metrics.for_each(|(old, new)| add(at + 1, old, new));
            if extension == "md" {
                let named = self.files.iter().filter(|(old, _)| line.contains(old.as_str()));
                named.for_each(|(old, new)| add(at + 1, old, new));
            }
            let settings = self.settings.iter().filter(|(old, _)| {
                let sets = line.trim_start_matches(['#', ' ']).strip_prefix(old.as_str());
                let sets = sets.is_some_and(|rest| rest.trim_start().starts_with('='));
                // In a program, `old = ` may assign a variable.
                (sets && extension != "rs" && extension != "py")
                    || (extension == "md" && line.contains(&format!("`{old}`")))
            });
            settings.for_each(|(old, new)| add(at + 1, old, new));
        }
        // Messages of the program that name a setting, and configurations in tests.
        for piece in pieces(text).iter().filter(|piece| extension == "rs" && piece.kind == Kind::Text) {
            for (old, new) in &self.settings {
                let sets = words(piece.text, old).any(|at| {
                    let rest = &piece.text[at + old.len()..];
                    rest.starts_with(" = ") || rest.starts_with("='") || rest.starts_with("=\\\"")
                });
                if sets || piece.text.contains(&format!("`{old}`")) {
                    add(piece.line, old, new);
                }
            }
        }
    }
}

/// Line and name of each type, function, constant and module that a source declares.
fn declarations(text: &str) -> Vec<(usize, String)> {
    const KEYWORDS: [&str; 9] = ["struct", "enum", "union", "trait", "fn", "type", "const", "static", "mod"];
    let mut found = Vec::new();
    for piece in pieces(text).iter().filter(|piece| piece.kind == Kind::Code) {
        for (at, line) in piece.text.lines().enumerate() {
            let mut tokens = line.split_whitespace();
            while let Some(token) = tokens.next() {
                if KEYWORDS.contains(&token) {
                    let mut rest = tokens.clone().skip_while(|token| *token == "mut");
                    let name = rest.next().unwrap_or("").split(|c: char| !is_word(c)).next().unwrap_or("");
                    found.push((piece.line + at, name.to_owned()));
                }
            }
        }
    }
    found
}

impl Phrase {
    /// The lines of `paragraph` on which the phrase begins.
    fn lines_in(&self, paragraph: &Paragraph) -> Vec<usize> {
        let text = &paragraph.text;
        let anchored = self.entry.starts_with('^');
        let phrase = self.entry.trim_start_matches('^').to_lowercase();
        let is_excepted = |at: usize| {
            let contains = |(from, longer): (usize, &String)| from <= at && at + phrase.len() <= from + longer.len();
            self.except.iter().flat_map(|longer| words(text, longer).map(move |from| (from, longer))).any(contains)
        };
        words(text, &phrase)
            .filter(|at| !anchored || (*at == 0 && paragraph.documents))
            .filter(|at| !is_excepted(*at))
            .map(|at| paragraph.line_at(at))
            .collect()
    }
}

/// Whether `path` matches `pattern`, in which `*` matches any text.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == path };
    let Some(tail) = path.strip_prefix(start) else { return false };
    tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| matches(rest, &tail[at..]))
}

#[test]
fn retired_words_are_found_where_they_are_used() {
    let retired = Retired::parse(
        "# Names.\n[identifiers gateway]\nZurse -> Budget\nask -> request\n[files]\ncrates/gateway/src/zurse.rs -> budget.rs\n\
         [settings]\nzow -> preset\n[metrics]\nzold_total -> new\n[phrases]\nis zold -> is returned\n^zhat -> a noun\n\
         is zo except there is zo, is zo longer -> is not a\n[allow]\ndocs/*.md | is zold | quotes a provider\n\
         README.md | zold_total | nothing to allow\n",
    )
    .unwrap();
    let gateway = "//! Zhat is here.\n//!\n//! Who asked is\n//! zold so. There is zo other.\nstruct Zurse;\n\
                   pub(crate) const fn ask(zurse: Zurse) {\n    let zow = \"it is zold; `zow` \\\n    is zo number\"; // Zhat: is zo longer\n}\n";
    let texts = [
        ("crates/gateway/src/zurse.rs", gateway),
        ("crates/store/src/lib.rs", "struct Zurse; // zold_total2\nconst A: &str = \"zow = 1, zold_total\";"),
        ("docs/a.md", "It is zold.\nSee `zow` and\ncrates/gateway/src/zurse.rs\n"),
        ("cachalot.example.toml", "# zow = 1\nzows = 2\n"),
    ];
    let texts = texts.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    let expected = [
        "cachalot.example.toml:1: zow -> preset",
        "crates/gateway/src/zurse.rs:1: ^zhat -> a noun",
        "crates/gateway/src/zurse.rs:1: crates/gateway/src/zurse.rs -> budget.rs",
        "crates/gateway/src/zurse.rs:3: is zold -> is returned",
        "crates/gateway/src/zurse.rs:5: Zurse -> Budget",
        "crates/gateway/src/zurse.rs:6: ask -> request",
        "crates/gateway/src/zurse.rs:7: is zold -> is returned",
        "crates/gateway/src/zurse.rs:7: zow -> preset",
        "crates/gateway/src/zurse.rs:8: is zo -> is not a",
        "crates/store/src/lib.rs:2: zold_total -> new",
        "crates/store/src/lib.rs:2: zow -> preset",
        "docs/a.md:2: zow -> preset",
        "docs/a.md:3: crates/gateway/src/zurse.rs -> budget.rs",
        "[allow] README.md | zold_total: allows nothing",
    ];
    assert_eq!(retired.problems(&texts), expected);
    for bad in ["[allow]\na | b\n", "[allow]\na | b | why\n", "[phrases]\nis zold\n", "is zold -> is returned\n"] {
        assert!(Retired::parse(bad).is_err(), "{bad:?}");
    }
}
