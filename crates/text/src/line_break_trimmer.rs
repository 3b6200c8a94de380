//! The line breaks around the reasoning of R1, which belong to neither reasoning nor answer.

/// Removes the line breaks that R1 writes around its reasoning.
pub(crate) struct LineBreakTrimmer {
    /// Whether the answer follows R1's convention.
    pub(crate) is_r1: bool,
    /// Number of leading line breaks that may still be dropped.
    pub(crate) leading_to_drop: usize,
    /// Line breaks at the end of the reasoning so far, dropped if it ends here.
    pub(crate) pending: String,
}

impl LineBreakTrimmer {
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

    /// Returns `text` without trailing line breaks, which are held back until more text follows.
    pub(crate) fn hold_trailing(&mut self, text: &str) -> String {
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
}
