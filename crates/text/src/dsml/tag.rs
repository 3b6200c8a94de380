//! A DSML tag, parsed character by character.

const MAX_TAG_BYTES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TagName {
    FunctionCalls,
    Invoke,
    Parameter,
}

const TAG_NAMES: [(&str, TagName); 3] =
    [("function_calls", TagName::FunctionCalls), ("invoke", TagName::Invoke), ("parameter", TagName::Parameter)];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum TagStep {
    Incomplete,
    Complete,
    /// The text is not a tag, and the character is not part of it.
    NotATag,
}

/// A tag, from its `<`.
pub(super) struct Tag {
    pub(super) closing: bool,
    /// The text up to and including the marker.
    lead: String,
    /// The text after the marker.
    text: String,
    /// Whether a quote is open.
    in_quotes: bool,
}

impl Tag {
    pub(super) fn new(closing: bool, lead: String) -> Self {
        Self { closing, lead, text: String::new(), in_quotes: false }
    }

    pub(super) fn push(&mut self, letter: char) -> TagStep {
        let before = self.text.len();
        self.text.push(letter);
        let (name, is_complete) = self.split_tag_name();
        let possible =
            TAG_NAMES.iter().any(|(known, _)| if is_complete { *known == name } else { known.starts_with(name) });
        if !possible || self.text.len() > MAX_TAG_BYTES {
            self.text.truncate(before);
            return TagStep::NotATag;
        }
        // A `>` inside quotes belongs to a name, unless it follows a quote directly: names may
        // contain quotes too.
        self.in_quotes ^= letter == '"';
        let ends = letter == '>' && (!self.in_quotes || self.text[..before].ends_with('"'));
        if ends { TagStep::Complete } else { TagStep::Incomplete }
    }

    /// The tag as it was generated.
    pub(super) fn raw_text(&self) -> String {
        format!("{}{}", self.lead, self.text)
    }

    pub(super) fn tag_name(&self) -> TagName {
        let name = self.split_tag_name().0;
        let found = TAG_NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, tag_name)| *tag_name).expect("a complete tag has a known name")
    }

    /// The `name` attribute. DSML has no escapes.
    pub(super) fn name_attribute(&self) -> Option<String> {
        let (_, after) = self.text.split_once("name=\"")?;
        let end = after.rfind("\" string=").or_else(|| after.rfind('"'))?;
        Some(after[..end].to_owned())
    }

    /// The `string` attribute.
    pub(super) fn string_attribute(&self) -> Option<bool> {
        let (_, value) = self.text.rsplit_once(" string=")?;
        match value.trim_matches(|c: char| c == '"' || c == '>' || c.is_whitespace()) {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The name of the tag so far, and whether it is complete.
    fn split_tag_name(&self) -> (&str, bool) {
        let text = self.text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        (&text[..end.unwrap_or(text.len())], end.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Tag, TagStep) {
        let mut tag = Tag::new(false, "<｜DSML｜".into());
        let mut letters = text.chars();
        let step = letters.find_map(|letter| Some(tag.push(letter)).filter(|step| *step != TagStep::Incomplete));
        assert_eq!(letters.as_str(), "", "the tag ended early");
        (tag, step.unwrap_or(TagStep::Incomplete))
    }

    #[test]
    fn names_may_hold_what_looks_like_the_end_of_the_tag() {
        for name in ["a", "a>b", "a\"b", "a b", ""] {
            let (tag, step) = read(&format!("parameter name=\"{name}\" string=\"false\">"));
            assert_eq!(
                (step, tag.name_attribute().as_deref(), tag.string_attribute()),
                (TagStep::Complete, Some(name), Some(false))
            );
            assert_eq!(tag.tag_name(), TagName::Parameter);
        }
    }

    #[test]
    fn an_unknown_name_is_not_a_tag() {
        assert_eq!(read("paramx").1, TagStep::NotATag);
        assert_eq!(read("invoke2").1, TagStep::NotATag);
        assert_eq!(read("param").1, TagStep::Incomplete);
        assert_eq!(read("function_calls>").1, TagStep::Complete);
    }
}
