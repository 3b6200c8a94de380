//! Names that are safe to show in logs, lists and terminals.

/// The rule for names, for error messages.
pub const NAME_RULE: &str = "1 to 64 characters, none of them a control or an invisible one";

/// Whether a text may be the name of a key, a user, a project, a provider or an alias.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.trim().is_empty() && is_printable(text)
}

/// Whether a text has only visible characters and spaces.
pub fn is_printable(text: &str) -> bool {
    !text.chars().any(is_invisible)
}

/// Whether a text may be the id of a model. Providers choose these ids, which may be
/// longer than names.
pub fn is_model_id(text: &str) -> bool {
    (1..=256).contains(&text.chars().count()) && is_printable(text)
}

/// Whether a character controls a terminal, changes the direction of text, or is invisible.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_it_is() {
        for good in ["a", "olga's", "Zoë", "名前", "\u{5d0}\u{5d1}", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "a\u{202e}b",
            "\u{2066}a",
            "\u{200f}",
            "\u{61c}",
            "a\nb",
            "a\u{2028}b",
            "\u{1b}[1m",
            "\u{9b}1m",
            "\u{feff}a",
            &"x".repeat(65),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn names_have_1_to_64_visible_characters() {
        for good in ["a", "olga's", "Команда 7", "名前", "a/b:c", &"x".repeat(64), &"é".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        let long = "x".repeat(65);
        for bad in [
            "",
            " ",
            &long,
            "a\nb",
            "a\0",
            "\u{1b}[31m",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}",
            "\u{feff}a",
            "a\u{7f}",
            "a\u{85}",
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_model_id(&long) && !is_model_id(&"x".repeat(257)) && !is_model_id("a\u{202e}") && !is_model_id(""));
    }
}
