//! Prose of sources and Markdown as paragraphs, in which phrases are found across line breaks.

use super::rust_text::{Kind, pieces};

/// Lower-case text with single spaces between words, and the lines that it comes from.
pub(crate) struct Paragraph {
    pub(crate) text: String,
    /// Offset in the text and number of each line.
    lines: Vec<(usize, usize)>,
    /// It is a paragraph of a doc comment.
    pub(crate) documents: bool,
}

impl Paragraph {
    /// The number of the line at an offset of the text.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        self.lines.iter().rev().find(|(from, _)| *from <= offset).map_or(0, |(_, line)| *line)
    }
}

/// Joins lines into paragraphs, which end at an empty line.
pub(crate) fn paragraphs<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>, documents: bool) -> Vec<Paragraph> {
    let mut found = Vec::new();
    let mut open: Option<Paragraph> = None;
    for (number, line) in lines {
        if line.trim().is_empty() {
            found.extend(open.take());
            continue;
        }
        let paragraph = open.get_or_insert_with(|| Paragraph { text: String::new(), lines: Vec::new(), documents });
        for word in line.split_whitespace() {
            if !paragraph.text.is_empty() {
                paragraph.text.push(' ');
            }
            if paragraph.lines.last().is_none_or(|(_, last)| *last != number) {
                paragraph.lines.push((paragraph.text.len(), number));
            }
            paragraph.text += &word.to_lowercase();
        }
        // A heading is a paragraph.
        if line.trim_start().starts_with("# ") {
            found.extend(open.take());
        }
    }
    found.extend(open);
    found
}

/// Comments and strings. Consecutive comment lines of one kind belong together.
pub(crate) fn prose_of_rust(text: &str) -> Vec<Paragraph> {
    let mut prose = Vec::new();
    let mut comment: Vec<(usize, &str)> = Vec::new();
    let mut marker = "";
    let close = |comment: &mut Vec<(usize, &str)>, marker: &str, prose: &mut Vec<Paragraph>| {
        prose.extend(paragraphs(comment.drain(..), marker.len() > 2));
    };
    for piece in pieces(text) {
        match piece.kind {
            Kind::Comment => {
                let words = piece.text.trim_start_matches(['/', '!', '*']);
                let own = &piece.text[..piece.text.len() - words.len()];
                let follows = comment.last().is_some_and(|(line, _)| line + 1 == piece.line) && own == marker;
                if !follows {
                    close(&mut comment, marker, &mut prose);
                }
                marker = own;
                comment.extend(words.lines().enumerate().map(|(at, line)| (piece.line + at, line)));
                if words.is_empty() {
                    comment.push((piece.line, ""));
                }
            }
            Kind::Text => {
                let unescaped = piece.text.replace("\\n", "  ").replace("\\\n", " \n");
                prose
                    .extend(paragraphs(unescaped.lines().enumerate().map(|(at, line)| (piece.line + at, line)), false));
            }
            Kind::Code => {}
        }
    }
    close(&mut comment, marker, &mut prose);
    prose
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The offsets at which `text` contains `phrase` as whole words.
pub(crate) fn words<'a>(text: &'a str, phrase: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(phrase)
        .map(|(at, _)| at)
        .filter(move |at| !text[..*at].ends_with(is_word) && !text[at + phrase.len()..].starts_with(is_word))
}
