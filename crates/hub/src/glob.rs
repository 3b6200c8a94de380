//! Patterns for names of files: `*` is any text, also across folders, and `?` one character, as in
//! other tools of the hub.

use std::str::FromStr;

/// A pattern that a whole name matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<char>);

impl Glob {
    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut from) = (0, 0);
        // The last `*`, and the end of the text that it stands for so far.
        let mut star: Option<(usize, usize)> = None;
        while from < name.len() {
            match (self.0.get(at), star) {
                (Some('*'), _) => {
                    star = Some((at, from));
                    at += 1;
                }
                (Some(&wanted), _) if wanted == '?' || wanted == name[from] => {
                    at += 1;
                    from += 1;
                }
                (_, Some((star_at, end))) => {
                    star = Some((star_at, end + 1));
                    at = star_at + 1;
                    from = end + 1;
                }
                _ => return false,
            }
        }
        self.0[at..].iter().all(|&rest| rest == '*')
    }
}

impl FromStr for Glob {
    type Err = std::convert::Infallible;

    fn from_str(pattern: &str) -> Result<Self, Self::Err> {
        Ok(Self(pattern.chars().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_a_question_mark_one_character() {
        let matches = |pattern: &str, name: &str| pattern.parse::<Glob>().unwrap().matches(name);
        for (pattern, name) in [
            ("*.json", "config.json"),
            ("*.json", "sub/config.json"),
            ("model-0000?-of-*", "model-00001-of-000163.safetensors"),
            ("*", ""),
            ("a*b*c", "a--b-b--c"),
            ("é?", "éü"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.json", "config.json5"), ("?", ""), ("a*b", "ac"), ("config", "config.json")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // Without exponential time.
        assert!(!matches(&"*a".repeat(40), &"a".repeat(4000).replace("aaaa", "aaab")));
    }
}
