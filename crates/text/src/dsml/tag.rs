//! One DSML tag, letter by letter.

const MOST_TAG_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    FunctionCalls,
    Invoke,
    Parameter,
}

const WORDS: [(&str, Word); 3] =
    [("function_calls", Word::FunctionCalls), ("invoke", Word::Invoke), ("parameter", Word::Parameter)];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Growing,
    Complete,
    /// It is no tag, and the letter is not part of it.
    NoTag,
}

/// A tag, from its `<` on.
pub(super) struct Tag {
    pub(super) closing: bool,
    /// What stood before the marker, and the marker.
    lead: String,
    /// What came after the marker.
    text: String,
    /// A quote is open.
    inside: bool,
}

impl Tag {
    pub(super) fn new(closing: bool, lead: String) -> Self {
        Self { closing, lead, text: String::new(), inside: false }
    }

    pub(super) fn push(&mut self, letter: char) -> Step {
        let before = self.text.len();
        self.text.push(letter);
        let (word, whole) = self.split();
        let possible = WORDS.iter().any(|(known, _)| if whole { *known == word } else { known.starts_with(word) });
        if !possible || self.text.len() > MOST_TAG_BYTES {
            self.text.truncate(before);
            return Step::NoTag;
        }
        // A `>` inside of quotes belongs to a name, unless a quote stands right before it: names may hold quotes too.
        self.inside ^= letter == '"';
        let ends = letter == '>' && (!self.inside || self.text[..before].ends_with('"'));
        if ends { Step::Complete } else { Step::Growing }
    }

    /// The tag as it came.
    pub(super) fn literal(&self) -> String {
        format!("{}{}", self.lead, self.text)
    }

    pub(super) fn word(&self) -> Word {
        let word = self.split().0;
        let found = WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, word)| *word).expect("a complete tag has a known word")
    }

    /// The `name` attribute, as it came: nothing is escaped in DSML.
    pub(super) fn name(&self) -> Option<String> {
        let (_, after) = self.text.split_once("name=\"")?;
        let end = after.rfind("\" string=").or_else(|| after.rfind('"'))?;
        Some(after[..end].to_owned())
    }

    /// The `string` attribute.
    pub(super) fn string(&self) -> Option<bool> {
        let (_, value) = self.text.rsplit_once(" string=")?;
        match value.trim_matches(|c: char| c == '"' || c == '>' || c.is_whitespace()) {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The first word, and whether it is complete.
    fn split(&self) -> (&str, bool) {
        let text = self.text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        (&text[..end.unwrap_or(text.len())], end.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Tag, Step) {
        let mut tag = Tag::new(false, "<｜DSML｜".into());
        let mut letters = text.chars();
        let step = letters.find_map(|letter| Some(tag.push(letter)).filter(|step| *step != Step::Growing));
        assert_eq!(letters.as_str(), "", "the tag ended early");
        (tag, step.unwrap_or(Step::Growing))
    }

    #[test]
    fn names_may_hold_what_looks_like_the_end_of_the_tag() {
        for name in ["a", "a>b", "a\"b", "a b", ""] {
            let (tag, step) = read(&format!("parameter name=\"{name}\" string=\"false\">"));
            assert_eq!((step, tag.name().as_deref(), tag.string()), (Step::Complete, Some(name), Some(false)));
            assert_eq!(tag.word(), Word::Parameter);
        }
    }

    #[test]
    fn a_word_nobody_knows_is_no_tag() {
        assert_eq!(read("paramx").1, Step::NoTag);
        assert_eq!(read("invoke2").1, Step::NoTag);
        assert_eq!(read("param").1, Step::Growing);
        assert_eq!(read("function_calls>").1, Step::Complete);
    }
}
