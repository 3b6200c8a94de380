//! Patterns of model names.

use std::fmt;
use std::ops::RangeInclusive;

/// A pattern such as `claude-*-4-[7-9]*`. `*` stands for any text, `?` for one character, `[7-9]`
/// for one of these and `[!7-9]` for one of the others. Letters match in either case.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Char(char),
    Class { ranges: Vec<RangeInclusive<char>>, negated: bool },
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The reason why it is none: empty, or a class that is empty, not closed or reversed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let error = |reason: &str| Err(format!("`{text:.128}` is not a pattern of model names: {reason}"));
        if text.is_empty() {
            return error("it is empty");
        }
        let mut tokens = Vec::new();
        let lower = text.to_lowercase();
        let mut chars = lower.chars();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' => Token::Any,
                '?' => Token::One,
                '[' => {
                    let rest = chars.as_str();
                    let Some((class, after)) = rest.split_once(']') else { return error("a `[` has no `]`") };
                    chars = after.chars();
                    match parse_class(class) {
                        Some(class) => class,
                        None => return error("a class is empty or its range is reversed"),
                    }
                }
                char => Token::Char(char),
            });
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    /// Whether the pattern is for this name, or for the part of it after the last slash, which
    /// follows the vendor in the names of resellers.
    pub fn matches(&self, name: &str) -> bool {
        let lower = name.to_lowercase();
        let own = lower.rsplit('/').next().unwrap_or(&lower);
        [own, &lower].into_iter().any(|name| self.matches_whole(&name.chars().collect::<Vec<_>>()))
    }

    /// Compares token by token. After a mismatch, the last `*` takes one more character: an earlier
    /// one need not, so that the time is at most the product of both lengths.
    fn matches_whole(&self, name: &[char]) -> bool {
        let (mut token, mut at) = (0, 0);
        let mut retry = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Any) => {
                    retry = Some((token, at));
                    token += 1;
                    continue;
                }
                Some(one) if name.get(at).is_some_and(|char| one.matches(*char)) => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                None if at == name.len() => return true,
                _ => {}
            }
            match retry {
                Some((star, from)) if from < name.len() => {
                    retry = Some((star, from + 1));
                    (token, at) = (star + 1, from + 1);
                }
                _ => return false,
            }
        }
    }
}

/// Parses what is between brackets.
fn parse_class(text: &str) -> Option<Token> {
    let (text, negated) = text.strip_prefix('!').map_or((text, false), |rest| (rest, true));
    let chars: Vec<char> = text.chars().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let is_range = chars.get(at + 1) == Some(&'-') && at + 2 < chars.len();
        let last = if is_range { chars[at + 2] } else { chars[at] };
        if last < chars[at] {
            return None;
        }
        ranges.push(chars[at]..=last);
        at += if is_range { 3 } else { 1 };
    }
    (!ranges.is_empty()).then_some(Token::Class { ranges, negated })
}

impl Token {
    fn matches(&self, char: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == char,
            Self::Class { ranges, negated } => ranges.iter().any(|range| range.contains(&char)) != *negated,
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_family_and_its_versions_match() {
        let pattern = Pattern::parse("claude-*-4-[7-9]*").unwrap();
        for name in ["claude-opus-4-7", "Claude-Opus-4-8-20260528", "anthropic/claude-sonnet-4-9"] {
            assert!(pattern.matches(name), "{name}");
        }
        for name in ["claude-opus-4-6", "claude-opus-4-20250514", "my-claude-opus-4-7", "claude-opus-4-", ""] {
            assert!(!pattern.matches(name), "{name}");
        }
        let matches = |pattern: &str, name: &str| Pattern::parse(pattern).unwrap().matches(name);
        assert!(matches("*", "") && matches("o?", "o3") && !matches("o?", "o") && !matches("o?", "o3-mini"));
        assert!(matches("gpt-[!4]*", "gpt-5") && !matches("gpt-[!4]*", "gpt-4o"));
        assert!(matches("a*b*c", "a-b-b-c") && !matches("a*b*c", "a-c-b"));
        assert!(matches("openai/*", "openai/gpt-5") && matches("[a-]x", "-x"));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        for (text, reason) in
            [("", "empty"), ("a[", "no `]`"), ("a[]", "class"), ("a[!]", "class"), ("[9-7]", "reversed")]
        {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(reason) && error.contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn many_stars_take_no_longer_than_their_length() {
        let pattern = Pattern::parse(&"*a".repeat(60)).unwrap();
        let began = testkit::growth::cpu_time();
        assert!(!pattern.matches(&"a".repeat(50)));
        assert!(pattern.matches(&"ba".repeat(60)));
        assert!(testkit::growth::cpu_time() - began < std::time::Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(text in "[a-c*?!\\[\\]-]{0,12}", name in "[a-c/-]{0,12}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&name);
            }
        }

        #[test]
        fn a_plain_name_matches_itself_alone(name in "[a-z0-9.-]{1,20}", other in "[a-z0-9.-]{1,20}") {
            let pattern = Pattern::parse(&name).unwrap();
            prop_assert!(pattern.matches(&name));
            prop_assert_eq!(pattern.matches(&other), name == other);
        }
    }
}
