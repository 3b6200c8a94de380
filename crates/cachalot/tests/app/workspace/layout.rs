//! Limits on the length of files and the width of comments.

use super::modules::Modules;
use super::rust_text::{Kind, pieces};
use super::source;

/// A longer file gives the reason in its head: `//! Over 350 lines because ...`.
const MOST_LINES: usize = 350;
const MOST_COLUMNS: usize = 100;

#[test]
fn no_file_of_logic_is_long_without_a_reason() {
    let mut found = Vec::new();
    for (name, sources) in source::crates() {
        // The module tree leaves out tests, and does not contain the main program.
        let mut logic = Modules::read(&sources).files();
        logic.extend(sources.contains_key("main.rs").then(|| "main.rs".to_owned()));
        for file in logic {
            let lines = lines_of_logic(&sources[&file]);
            if lines > MOST_LINES && !gives_a_reason(&sources[&file]) {
                found.push(format!("crates/{name}/src/{file}: {lines} lines"));
            }
        }
    }
    assert!(found.is_empty(), "over {MOST_LINES} lines without a reason in the head:\n{}", found.join("\n"));
}

/// The number of lines outside test modules.
fn lines_of_logic(text: &str) -> usize {
    let (mut lines, mut in_tests, mut after_mark) = (0, false, false);
    for line in text.lines() {
        if after_mark && line.starts_with("mod ") && line.ends_with('{') {
            in_tests = true;
        }
        after_mark = line == "#[cfg(test)]";
        if !in_tests {
            lines += 1;
        } else if line == "}" {
            in_tests = false;
        }
    }
    lines
}

fn gives_a_reason(text: &str) -> bool {
    let mut head = text.lines().take_while(|line| line.starts_with("//!"));
    let start = format!("//! Over {MOST_LINES} lines because ");
    head.any(|line| line.strip_prefix(&start).is_some_and(|reason| reason.len() > 10))
}

#[test]
fn no_comment_is_wider_than_100_columns() {
    let mut found = Vec::new();
    for folder in ["crates", "fuzz", "bench"] {
        for (file, text) in source::texts(folder, "rs") {
            let describe = |(line, width)| format!("{folder}/{file}:{line}: {width} columns");
            found.extend(wide_comments(&text).into_iter().map(describe));
        }
    }
    assert!(found.is_empty(), "{} comments over {MOST_COLUMNS} columns:\n{}", found.len(), found.join("\n"));
}

/// Line and width of each comment line over the limit, except those that cannot be broken: a row of
/// a table, a long URL.
fn wide_comments(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut wide = Vec::new();
    for piece in pieces(text).iter().filter(|piece| piece.kind == Kind::Comment) {
        for (number, comment) in piece.text.lines().enumerate() {
            let line = piece.line + number;
            let width = lines[line - 1].chars().count();
            let follows_code = number == 0 && !lines[line - 1].trim_start().starts_with('/');
            let words = comment.trim_start_matches(['/', '!', '*', ' ']).trim_end();
            let breaks = words.contains(' ') && !words.starts_with('|');
            if width > MOST_COLUMNS && (breaks || follows_code) {
                wide.push((line, width));
            }
        }
    }
    wide
}

#[test]
fn wide_comments_and_long_files_are_found() {
    let words = "word ".repeat(25);
    let address = "x".repeat(120);
    let text =
        format!("/// {words}\n// | {words} |\nlet a = \"// {words}\"; // short\nlet b = 1; // {words}\n// {address}\n");
    assert_eq!(wide_comments(&text).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);

    let logic = "//! Head.\nfn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
    assert_eq!(lines_of_logic(logic), 4);
    assert!(gives_a_reason("//! Head.\n//! Over 350 lines because the table is one.\n\nuse a;"));
    assert!(!gives_a_reason("//! Head.\n\n// Over 350 lines because it is.\n//! Over 350 lines because \n"));
}
