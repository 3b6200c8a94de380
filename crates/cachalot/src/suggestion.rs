//! Suggestions for words that were probably mistyped.

/// The candidate that `word` most likely means, of which at most a third of the letters differ.
/// `None` without such a candidate.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    // The distance takes time in proportion to both lengths.
    let short = |text: &str| text.chars().take(64).collect::<String>();
    let rated = candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&short(&word), &short(&candidate.to_lowercase())), candidate));
    let (distance, nearest) = rated.min_by_key(|(distance, _)| *distance)?;
    (distance <= (word.chars().count() / 3).max(1) && distance < nearest.chars().count()).then_some(nearest)
}

/// `: did you mean ...?` for the candidate that `word` most likely means; nothing without one.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or(String::new(), |near| format!(": did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_others_not() {
        let providers = ["openai", "deepseek", "anthropic", "vllm"];
        for (word, near) in [
            ("opanai", Some("openai")),
            ("DeepSeek", Some("deepseek")),
            ("depseek", Some("deepseek")),
            ("antropic", Some("anthropic")),
            ("vlm", Some("vllm")),
            ("mistral", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, providers), near, "{word}");
        }
        assert_eq!(nearest("x", []), None);
        assert_eq!(did_you_mean("opanai", providers), ": did you mean `openai`?");
    }
}
