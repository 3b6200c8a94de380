//! Properties of all answers, whatever the model generates and however it is split into tokens.

use std::sync::LazyLock;

use chat::{Chat, FinishReason, Input, Message, Role};
use proptest::prelude::*;
use text::{EncodingName, Tokenizer, parse_completion};

use crate::answers::{answer, streamed};
use crate::data::encoding;

const ENCODINGS: [EncodingName; 4] = [EncodingName::V3, EncodingName::R1, EncodingName::V31, EncodingName::V32];

/// Pieces of answers: valid and invalid markup of both families, and text.
fn completion() -> impl Strategy<Value = String> {
    let markup = prop::sample::select(vec![
        "<think>",
        "</think>",
        "\n",
        "\n\n",
        "<",
        "</",
        ">",
        "｜DSML｜",
        "function_calls",
        "invoke",
        "parameter",
        "<｜DSML｜function_calls>\n",
        "</｜DSML｜function_calls>",
        "<｜DSML｜invoke name=\"f\">\n",
        "</｜DSML｜invoke>\n",
        "<｜DSML｜parameter name=\"k\" string=\"true\">",
        "<｜DSML｜parameter name=\"n\" string=\"false\">",
        "</｜DSML｜parameter>\n",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "function",
        "f\n",
        "```json\n",
        "\n```",
        "`",
        "{\"a\": 1}",
        "{",
        "12",
        "\"",
        "<｜User｜>",
    ]);
    let piece = prop_oneof![3 => markup.prop_map(String::from), 1 => "[a-c 😀é日\n]{1,6}"];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

/// The id of every single byte.
static BYTES: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let tokenizer = encoding(EncodingName::V32).tokenizer();
    let id = |byte: u8| (0..300).find(|&id| tokenizer.bytes(id) == [byte]).unwrap();
    (0..=255).map(id).collect()
});

/// Other tokens for the same bytes: `cuts` selects tokens that are split into their bytes. Control
/// tokens stay whole.
fn retokenized(tokenizer: &Tokenizer, tokens: &[u32], cuts: &[bool]) -> Vec<u32> {
    let falls = |index: usize, token: u32| cuts[index % cuts.len()] && !tokenizer.is_added_token(token);
    let cut = tokens.iter().enumerate().flat_map(|(index, &token)| match falls(index, token) {
        true => tokenizer.bytes(token).iter().map(|&byte| BYTES[byte as usize]).collect(),
        false => vec![token],
    });
    cut.collect()
}

fn chat(thinking: bool) -> Chat {
    let input = Input::Messages(vec![Message::new(Role::User, "q")]);
    Chat { input, thinking: Some(thinking), ..Chat::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_cut_into_tokens_gives_the_answer_of_the_whole(
        completion in completion(), cuts in prop::collection::vec(any::<bool>(), 1..9), thinking: bool, which in 0..4_usize,
    ) {
        let encoding = encoding(ENCODINGS[which]);
        // R1 always thinks and V3 never does, regardless of the request.
        let thinking = encoding.supports_thinking() && (thinking || !encoding.supports_non_thinking());
        let whole = answer(parse_completion(encoding, thinking, &completion, &[]).unwrap());
        let tokens = encoding.tokenizer().encode_with_added_tokens(&completion);
        let tokens = retokenized(encoding.tokenizer(), &tokens, &cuts);
        prop_assert_eq!(&streamed(encoding, &chat(thinking), &tokens, false), &whole);
        prop_assert!(!format!("{whole:?}").contains('\u{fffd}'), "broken characters");
    }

    #[test]
    fn a_call_of_v32_that_ended_by_itself_has_an_object_as_arguments(completion in completion()) {
        let (_, _, calls, finish) = answer(parse_completion(encoding(EncodingName::V32), false, &completion, &[]).unwrap());
        let whole = if finish == Some(FinishReason::ToolCalls) { calls.len() } else { calls.len().saturating_sub(1) };
        for call in &calls[..whole] {
            let arguments = call.strip_prefix("f ").unwrap();
            let object = serde_json::from_str::<serde_json::Map<_, _>>(arguments);
            prop_assert!(object.is_ok(), "{arguments}");
        }
    }

    #[test]
    fn a_stop_string_ends_the_content_where_it_is_complete_first(
        content in "[ab\n😀]{0,12}", stops in prop::collection::vec("[ab\n]{1,4}", 1..4),
        cuts in prop::collection::vec(any::<bool>(), 1..9),
    ) {
        let encoding = encoding(EncodingName::V32);
        let tokens = retokenized(encoding.tokenizer(), &encoding.tokenizer().encode(&content), &cuts);
        let chat = Chat { stop: stops.clone(), ..chat(false) };
        let (_, text, _, finish) = streamed(encoding, &chat, &tokens, true);
        let first = stops.iter().filter_map(|stop| content.find(stop.as_str()).map(|at| (at + stop.len(), at))).min();
        let expected = first.map_or((content.as_str(), "length"), |(_, at)| (&content[..at], "stop"));
        prop_assert_eq!((text.as_str(), finish.unwrap().as_str()), expected);
    }

    #[test]
    fn any_tokens_at_all_are_survived(tokens in prop::collection::vec(0..130_000_u32, 0..40), thinking: bool) {
        let encoding = encoding(EncodingName::V32);
        let (reasoning, content, ..) = streamed(encoding, &chat(thinking), &tokens, true);
        let bytes: usize = tokens.iter().map(|&token| encoding.tokenizer().bytes(token).len()).sum();
        // Invalid bytes become a character of three bytes.
        prop_assert!(reasoning.len() + content.len() <= 3 * bytes);
    }
}
