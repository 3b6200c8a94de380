//! The log-probabilities of a candidate (`logprobsResult`).

use chat::{TokenLogprob, TopLogprob};
use serde::Deserialize;
use serde_json::Value;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogprobsResult {
    chosen_candidates: Vec<TokenCandidate>,
    /// For each chosen token, the likeliest ones.
    top_candidates: Vec<TopCandidates>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TopCandidates {
    candidates: Vec<TokenCandidate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenCandidate {
    token: String,
    /// 0 is left out.
    #[serde(default)]
    log_probability: f32,
}

/// The log-probabilities of the tokens of an event. What has another form has none.
pub(super) fn parse_logprobs(result: Value) -> Vec<TokenLogprob> {
    let LogprobsResult { chosen_candidates, top_candidates } = serde_json::from_value(result).unwrap_or_default();
    let mut tops = top_candidates.into_iter().map(|top| top.candidates);
    let token = |chosen: TokenCandidate| {
        let top = tops.next().unwrap_or_default().into_iter().map(|top| TopLogprob {
            bytes: Some(top.token.clone().into_bytes()),
            token: top.token,
            logprob: top.log_probability,
        });
        TokenLogprob {
            bytes: Some(chosen.token.clone().into_bytes()),
            token: chosen.token,
            logprob: chosen.log_probability,
            top: top.collect(),
        }
    };
    chosen_candidates.into_iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_have_their_alternatives() {
        let result = json!({"chosenCandidates": [{"token": "a", "tokenId": 7, "logProbability": -0.5}, {"token": "b"}],
            "topCandidates": [{"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "c", "logProbability": -2}]}]});
        let tokens = parse_logprobs(result);
        assert_eq!((tokens[0].token.as_str(), tokens[0].logprob, tokens[0].top.len()), ("a", -0.5, 2));
        assert_eq!((tokens[1].token.as_str(), tokens[1].logprob, tokens[1].top.len()), ("b", 0.0, 0));
        assert!(parse_logprobs(json!({"chosenCandidates": 5})).is_empty());
    }
}
