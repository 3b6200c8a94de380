//! A lexer that splits Rust source into code, comments and string literals.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Code,
    Comment,
    Text,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) kind: Kind,
    /// The line it begins on, counted from 1.
    pub(crate) line: usize,
    /// With its delimiters. A line comment ends before the line's end.
    pub(crate) text: &'a str,
}

/// Splits `source` into pieces, which together are the whole source.
pub(crate) fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut at, mut code, mut line) = (0, 0, 1);
    let mut push = |kind, text: &'_ str, from: usize| {
        if !text.is_empty() {
            pieces.push(Piece { kind, line, text: &source[from..from + text.len()] });
            line += text.matches('\n').count();
        }
    };
    while let Some(next) = source[at..].chars().next() {
        let in_word = source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (kind, length) = token(&source[at..], next, in_word);
        if kind == Kind::Code {
            at += length;
            continue;
        }
        push(Kind::Code, &source[code..at], code);
        push(kind, &source[at..at + length], at);
        at += length;
        code = at;
    }
    push(Kind::Code, &source[code..], code);
    pieces
}

/// The kind and length of the token at the start of `rest`. Code is returned in small parts.
fn token(rest: &str, next: char, in_word: bool) -> (Kind, usize) {
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment(rest));
    }
    if next == '"' {
        return (Kind::Text, 1 + end_of_string(&rest[1..], '"'));
    }
    if next == '\'' {
        // A character literal, or else a lifetime.
        let mut characters = rest[1..].chars();
        let first = characters.next();
        let is_character = first == Some('\\') || characters.next() == Some('\'');
        return (Kind::Code, if is_character { 1 + end_of_string(&rest[1..], '\'') } else { 1 });
    }
    if !in_word && let Some(raw) = rest.strip_prefix('r').or_else(|| rest.strip_prefix("br")) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let opening = rest.len() - raw.len() + hashes + 1;
            let length = rest[opening..].find(&end).map_or(rest.len(), |at| opening + at + end.len());
            return (Kind::Text, length);
        }
    }
    (Kind::Code, next.len_utf8())
}

/// The length including the closing `quote`.
fn end_of_string(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        let Some(found) = rest[at..].find(['*', '/']) else { return rest.len() };
        at += found;
        let (step, change) = match &rest[at..] {
            end if end.starts_with("*/") => (2, -1),
            begin if begin.starts_with("/*") => (2, 1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
    }
    at
}

#[test]
fn comments_and_strings_are_separated_from_code() {
    let source =
        "let a = \"// no\"; // yes \"no\n/* a /* b */ c */ let b = r#\"x\"y\"#; 'a: loop { '\"'; b'\\'' } \"\\\"z\"";
    let found: Vec<_> = pieces(source).into_iter().filter(|piece| piece.kind != Kind::Code).collect();
    let piece = |kind, line, text| Piece { kind, line, text };
    let expected = [
        piece(Kind::Text, 1, "\"// no\""),
        piece(Kind::Comment, 1, "// yes \"no"),
        piece(Kind::Comment, 2, "/* a /* b */ c */"),
        piece(Kind::Text, 2, "r#\"x\"y\"#"),
        piece(Kind::Text, 2, "\"\\\"z\""),
    ];
    assert_eq!(found, expected);
    assert_eq!(pieces(source).iter().map(|piece| piece.text).collect::<String>(), source);
}
