//! Stop strings in the content of an answer, found across token borders.

/// Returns content up to the first stop string, and holds back text that may begin one. Stop
/// strings are not empty.
pub(crate) struct StopMatcher {
    strings: Vec<String>,
    pending: String,
}

impl StopMatcher {
    pub(crate) fn new(strings: &[String]) -> Self {
        Self { strings: strings.to_vec(), pending: String::new() }
    }

    /// Adds content. Returns the text that is certain, and the index of a complete stop string.
    ///
    /// The stop string that is complete first ends the answer, regardless of how the text is split
    /// into tokens.
    pub(crate) fn push(&mut self, text: &str) -> (String, Option<usize>) {
        self.pending.push_str(text);
        let find = |(index, stop): (usize, &String)| self.pending.find(stop).map(|at| (at + stop.len(), at, index));
        if let Some((_, at, index)) = self.strings.iter().enumerate().filter_map(find).min() {
            self.pending.truncate(at);
            return (std::mem::take(&mut self.pending), Some(index));
        }
        let certain = self.pending.len() - self.partial_match_len();
        let remainder = self.pending.split_off(certain);
        (std::mem::replace(&mut self.pending, remainder), None)
    }

    /// Ends the content and returns the text that was held back.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.pending)
    }

    /// The length of the longest suffix of `pending` that begins a stop string.
    fn partial_match_len(&self) -> usize {
        let longest = |stop: &String| {
            let starts = stop.char_indices().map(|(at, _)| at).filter(|&at| at > 0);
            starts.rev().find(|&at| self.pending.ends_with(&stop[..at])).unwrap_or(0)
        };
        self.strings.iter().map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(strings: &[&str]) -> StopMatcher {
        StopMatcher::new(&strings.iter().map(|string| string.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn a_stop_string_is_found_across_pieces_and_what_only_looked_like_it_is_released() {
        let mut stop = stop(&["END", "\n\n"]);
        assert_eq!(stop.push("a E"), ("a ".into(), None));
        assert_eq!(stop.push("N"), ("".into(), None));
        assert_eq!(stop.push("Ter\n"), ("ENTer".into(), None));
        assert_eq!(stop.push("\nrest"), ("".into(), Some(1)));
    }

    #[test]
    fn the_stop_string_that_ends_first_wins_however_the_text_is_cut() {
        for pieces in [vec!["abcd"], vec!["abc", "d"], vec!["a", "b", "c", "d"]] {
            let mut stop = stop(&["abcd", "bc"]);
            let mut output = String::new();
            let ended = pieces.iter().any(|piece| {
                let (text, hit) = stop.push(piece);
                output.push_str(&text);
                assert!(hit.is_none_or(|index| index == 1));
                hit.is_some()
            });
            assert!(ended);
            assert_eq!(output, "a");
        }
    }

    #[test]
    fn without_stop_strings_nothing_is_held() {
        let mut stop = stop(&[]);
        assert_eq!(stop.push("all"), ("all".into(), None));
        assert_eq!(stop.finish(), "");
    }
}
