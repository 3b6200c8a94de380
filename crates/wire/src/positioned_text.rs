//! A text whose positions in bytes and in characters are converted to each other.

/// The characters between two marks.
const STEP: usize = 256;

/// A text that grows. A conversion looks at a part of constant length.
#[derive(Clone, Debug, Default)]
pub(crate) struct PositionedText {
    text: String,
    chars: usize,
    /// The offsets in bytes of every [`STEP`]th character.
    marks: Vec<usize>,
}

impl PositionedText {
    pub(crate) fn push(&mut self, text: &str) {
        for (offset, _) in text.char_indices() {
            if self.chars.is_multiple_of(STEP) {
                self.marks.push(self.text.len() + offset);
            }
            self.chars += 1;
        }
        self.text.push_str(text);
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The number of characters before this byte, at most those of the text.
    pub(crate) fn char_at(&self, byte: usize) -> usize {
        let byte = self.text.floor_char_boundary(byte);
        let mark = self.marks.partition_point(|at| *at <= byte).saturating_sub(1);
        let from = self.marks.get(mark).copied().unwrap_or_default();
        mark * STEP + self.text[from..byte].chars().count()
    }

    /// The offset in bytes of this character, at most the length of the text.
    pub(crate) fn byte_at(&self, char: usize) -> usize {
        let Some(from) = self.marks.get(char / STEP) else { return self.text.len() };
        let rest = &self.text[*from..];
        from + rest.char_indices().nth(char % STEP).map_or(rest.len(), |(offset, _)| offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_those_of_the_text() {
        let mut text = PositionedText::default();
        assert_eq!((text.char_at(5), text.byte_at(5)), (0, 0));
        let whole: String = "aé漢🐋".repeat(300);
        for piece in whole.as_bytes().chunks(10 * 7) {
            text.push(std::str::from_utf8(piece).unwrap());
        }
        assert_eq!(text.as_str(), whole);
        for (char, (byte, _)) in whole.char_indices().enumerate() {
            assert_eq!((text.char_at(byte), text.byte_at(char)), (char, byte));
        }
        // Within a character, and behind the end.
        assert_eq!((text.char_at(2), text.char_at(usize::MAX), text.byte_at(1200)), (1, 1200, whole.len()));
        assert_eq!(text.byte_at(usize::MAX), whole.len());
    }
}
