//! The text at the edges of the reasoning that belongs to neither reasoning nor answer: line breaks
//! around that of R1, and what may begin a block of calls in DSML.

/// Drops line breaks around the reasoning of R1, and holds back the end of any reasoning that may
/// turn out to be no part of it.
pub(crate) struct ReasoningTrimmer {
    /// Whether the answer follows R1's convention.
    pub(crate) is_r1: bool,
    /// Whether a call begins with line breaks and `<`, which are held back.
    pub(crate) holds_tag_start: bool,
    /// Number of leading line breaks that may still be dropped.
    pub(crate) leading_to_drop: usize,
    /// The end of the reasoning so far.
    pub(crate) pending: String,
}

impl ReasoningTrimmer {
    /// Returns `text` without the leading line breaks that are dropped.
    pub(crate) fn strip_leading<'a>(&mut self, mut text: &'a str) -> &'a str {
        while self.leading_to_drop > 0 && !text.is_empty() {
            let Some(rest) = text.strip_prefix('\n') else {
                self.leading_to_drop = 0;
                break;
            };
            self.leading_to_drop -= 1;
            text = rest;
        }
        text
    }

    /// Returns `text` without the end that is held back until more text follows.
    pub(crate) fn hold_trailing(&mut self, text: &str) -> String {
        if self.holds_tag_start {
            // At most two line breaks and `<` are held.
            let mut text = std::mem::take(&mut self.pending) + text;
            self.pending = text.split_off(tag_start(&text));
            return text;
        }
        if !self.is_r1 {
            return text.to_owned();
        }
        // The held text consists of line breaks, so only the new text is examined.
        let (sure, breaks) = text.split_at(text.trim_end_matches('\n').len());
        if sure.is_empty() {
            self.pending.push_str(breaks);
            return String::new();
        }
        let mut out = std::mem::replace(&mut self.pending, breaks.to_owned());
        out.push_str(sure);
        out
    }

    /// Ends the reasoning. Returns the held text that belongs to it.
    pub(crate) fn end(&mut self) -> String {
        let held = std::mem::take(&mut self.pending);
        if self.is_r1 { String::new() } else { held }
    }

    /// Whether the marker of a call may come next.
    pub(crate) fn may_begin_call(&self) -> bool {
        !self.holds_tag_start || self.pending.ends_with('<')
    }

    /// Ends the reasoning if a call may begin here. Returns the text that begins the call.
    pub(crate) fn end_with_call(&mut self) -> Option<&'static str> {
        if !self.may_begin_call() {
            return None;
        }
        self.pending.clear();
        Some(if self.holds_tag_start { "<" } else { "" })
    }
}

/// The byte offset of what may begin a tag: at most two line breaks, then `<` or the end.
fn tag_start(text: &str) -> usize {
    let mut start = text.strip_suffix('<').unwrap_or(text);
    for _ in 0..2 {
        start = start.strip_suffix('\n').unwrap_or(start);
    }
    start.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_begin_a_tag_is_held() {
        for (text, held) in [
            ("a", ""),
            ("a<", "<"),
            ("a\n<", "\n<"),
            ("a\n\n<", "\n\n<"),
            ("a\n\n\n<", "\n\n<"),
            ("a\n\n\n", "\n\n"),
            ("a<\n", "\n"),
            ("a<<", "<"),
            ("<b", ""),
        ] {
            assert_eq!(&text[tag_start(text)..], held, "{text:?}");
        }
    }

    #[test]
    fn held_text_of_a_tag_returns_when_none_begins() {
        let mut trimmer =
            ReasoningTrimmer { is_r1: false, holds_tag_start: true, leading_to_drop: 0, pending: String::new() };
        let pieces = ["1 ", "<", " 2\n", "\n", "<", "b>", "\n\n"].map(|text| trimmer.hold_trailing(text));
        assert_eq!(pieces, ["1 ", "", "< 2", "", "", "\n\n<b>", ""]);
        assert_eq!((trimmer.end_with_call(), trimmer.end()), (None, "\n\n".into()));
        trimmer.hold_trailing("\n\n<");
        assert_eq!((trimmer.end_with_call(), trimmer.end()), (Some("<"), String::new()));
    }
}
