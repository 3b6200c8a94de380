//! Words for the effort of reasoning, and the token budgets that they stand for.

/// The words of all APIs, from the least effort to the most.
pub(crate) const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// The effort that stands for a number of tokens of thinking.
pub(crate) fn effort_of_budget(tokens: i64) -> &'static str {
    match tokens {
        ..=4096 => "low",
        4097..=16384 => "medium",
        _ => "high",
    }
}

/// The word among `supported` that is nearest to `effort`, and of two the greater. `effort` itself
/// if it is unknown, or if nothing is supported.
pub(crate) fn nearest_effort<'a>(effort: &'a str, supported: &'a [String]) -> &'a str {
    let rank = |word: &str| EFFORTS.iter().position(|known| *known == word);
    let Some(wanted) = rank(effort) else { return effort };
    let distance = |word: &&String| {
        let rank = rank(word).unwrap_or(usize::MAX);
        (rank.abs_diff(wanted), rank < wanted)
    };
    supported.iter().min_by_key(distance).map_or(effort, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_effort_is_the_greater_of_two() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let claude = words(&["low", "medium", "high"]);
        for (effort, nearest) in
            [("none", "low"), ("minimal", "low"), ("medium", "medium"), ("max", "high"), ("huge", "huge")]
        {
            assert_eq!(nearest_effort(effort, &claude), nearest);
        }
        assert_eq!(nearest_effort("minimal", &words(&["none", "low"])), "low");
        assert_eq!(nearest_effort("xhigh", &[]), "xhigh");
    }
}
