//! Encoding and decoding of text.

use std::collections::HashSet;

use proptest::prelude::*;
use text::{Encoding, EncodingName};

use crate::data::{encoding, ids, json, sha256, text, tokenizer_json};

const RELEASES: [(&str, EncodingName); 4] = [
    ("deepseek-v3", EncodingName::V3),
    ("deepseek-r1", EncodingName::R1),
    ("deepseek-v3.1", EncodingName::V31),
    ("deepseek-v3.2", EncodingName::V32),
];

#[test]
fn the_rebuilt_tokenizers_are_the_released_files_byte_for_byte() {
    for (name, hash) in [
        (EncodingName::V3, "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41"),
        (EncodingName::R1, "ecb6f9fc369894346f0511f4074ca75cee5cd5f3b06d02f1ba35fcd39f8e121d"),
        (EncodingName::V31, "32b34a41212e92f62e859cbbea121ae705a1fabbf157d9acf22d134ecd8dcf70"),
        (EncodingName::V32, "cd050be35cae877f8f0aa847f45aa87e23835a56ca32b29b28545597852784e5"),
    ] {
        assert_eq!(sha256(&tokenizer_json(name)), hash, "{name}");
    }
}

#[test]
fn texts_have_the_ids_of_the_releases() {
    let golden = json("tests/golden/chat/tokenizer.json.gz");
    let mut checked = 0;
    for case in golden["cases"].as_array().unwrap() {
        for (_, name) in
            RELEASES.iter().filter(|(model, _)| case["models"].as_array().unwrap().contains(&(*model).into()))
        {
            let tokenizer = encoding(*name).tokenizer();
            let tokens = tokenizer.encode_with_added_tokens(text(&case["text"]));
            assert_eq!(tokens, ids(&case["ids"]), "{name}: {case}");
            assert_eq!(tokenizer.decode(&tokens), text(&case["decoded"]), "{name}");
            checked += 1;
        }
    }
    assert_eq!(checked, 40 * 4, "44 cases, four of which come in two versions");

    let vectors = json("tests/golden/chat/tokenizer_vectors.json");
    let vectors = vectors.as_array().unwrap();
    assert_eq!(vectors.len(), 32);
    for case in vectors {
        for (_, name) in RELEASES {
            let expected = case.get("ids").unwrap_or_else(|| &case["ids_by_version"][name.as_str()]);
            assert_eq!(
                encoding(name).tokenizer().encode_with_added_tokens(text(&case["text"])),
                ids(expected),
                "{name}: {case}"
            );
        }
    }
}

#[test]
fn ids_cut_inside_a_character_decode_with_replacement_characters() {
    let golden = json("tests/golden/chat/tokenizer.json.gz");
    let cases = golden["decode_v3.2"].as_array().unwrap();
    assert_eq!(cases.len(), 46);
    for case in cases {
        assert_eq!(encoding(EncodingName::V32).tokenizer().decode(&ids(&case["ids"])), text(&case["text"]), "{case}");
    }
}

#[test]
fn the_spot_checks_of_the_specification_hold() {
    let tokenizer = encoding(EncodingName::V32).tokenizer();
    for (text, ids) in [
        ("Hello world", &[19923, 2058][..]),
        (" hello world ", &[44388, 2058, 223]),
        ("你好世界", &[30594, 3427]),
        ("Hello 🌍 World!", &[19923, 73369, 238, 4495, 3]),
        ("1234567 12 3", &[6895, 18009, 25, 223, 736, 223, 21]),
        ("a  b\n\n c", &[67, 223, 291, 271, 274]),
        ("it's I'LL don't", &[279, 734, 342, 9, 3699, 2090, 1664]),
        ("😀", &[28927, 225]),
        ("\r\n\t x", &[204, 201, 200, 1527]),
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
            &[128806, 128808, 72, 128814, 24313, 67, 3362, 223, 19, 95, 128809, 128807, 1],
        ),
        (
            "<｜fim▁begin｜>def f(<｜fim▁hole｜>\n    return x<｜fim▁end｜>",
            &[128801, 3465, 285, 10, 128800, 201, 361, 1354, 1527, 128802],
        ),
    ] {
        assert_eq!(tokenizer.encode_with_added_tokens(text), ids, "{text}");
    }
}

#[test]
fn contents_never_become_control_tokens() {
    for (_, name) in RELEASES {
        let tokenizer = encoding(name).tokenizer();
        let added: Vec<u32> = (0..tokenizer.len() as u32).filter(|&id| tokenizer.is_added_token(id)).collect();
        assert_eq!(added.len(), 818, "{name}");
        for id in added {
            let marker = tokenizer.decode(&[id]);
            assert_eq!(tokenizer.token_id(&marker), Some(id));
            let ids = tokenizer.encode(&marker);
            assert!(ids.iter().all(|&id| !tokenizer.is_added_token(id)), "{name}: {marker}");
            assert_eq!(tokenizer.decode(&ids), marker);
        }
        assert_eq!(tokenizer.len(), 128_815);
    }
}

#[test]
fn no_text_is_too_monotonous() {
    let tokenizer = encoding(EncodingName::V32).tokenizer();
    for (piece, times) in [
        (" ", 2_500_000),
        ("\n ", 1_500_000),
        ("\u{3000}", 1_200_000),
        ("a", 1_100_000),
        ("<", 1_100_000),
        ("\0", 400_000),
        ("\u{200d}\u{e000}\u{378}", 200_000),
    ] {
        let text = piece.repeat(times) + "x";
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text, "{piece:?}");
    }
    // A run below the maximum length is not split.
    let text = format!("a{}b", " ".repeat(90_000));
    assert_eq!(tokenizer.encode(&text), reference().0.encode(text.as_str(), false).unwrap().get_ids());
}

#[test]
fn a_checkpoint_is_known_by_its_tokens() {
    let detect = |name: EncodingName, model_type| Encoding::detect(encoding(name).tokenizer(), model_type);
    assert_eq!(detect(EncodingName::V3, "deepseek_v3"), EncodingName::V3);
    assert_eq!(detect(EncodingName::R1, "deepseek_v3"), EncodingName::R1);
    assert_eq!(detect(EncodingName::V31, "deepseek_v3"), EncodingName::V31);
    assert_eq!(detect(EncodingName::V31, "deepseek_v32"), EncodingName::V32Exp);
    assert_eq!(detect(EncodingName::V32, "deepseek_v32"), EncodingName::V32);
}

#[test]
fn an_encoding_needs_its_control_tokens() {
    let tokenizer = text::Tokenizer::from_json(&tokenizer_json(EncodingName::R1)).unwrap();
    let error = Encoding::new(tokenizer, EncodingName::V32).err().unwrap().to_string();
    assert!(error.contains("`v3.2`") && error.contains("`｜DSML｜`"), "{error}");
    assert_eq!("v3.2-exp".parse::<EncodingName>().unwrap(), EncodingName::V32Exp);
    assert!("v4".parse::<EncodingName>().unwrap_err().to_string().contains("`v4`"));
}

/// Text with all character classes of the pre-tokenizer: digits, CJK, combining marks, spaces, line
/// ends, punctuation, emoji.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z']{1,12}",
        "[0-9٣Ⅷ]{1,9}",
        "[一-龥ぁ-ゟァ-ヿ가-힣]{1,6}",
        "[ \t\u{a0}\u{3000}]{1,5}",
        "[\r\n]{1,4}",
        "[!-/:-@\\[-`{-~«»€、。！]{1,5}",
        "[áéñ\u{300}-\u{36f}\u{200d}]{1,4}",
        "\\PC{1,8}",
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "😀",
            "👨‍👩‍👧",
            "<think>",
            "</think>",
            "<｜User｜>",
            "｜DSML｜",
            "<｜",
            "<|EOT|>",
            "\u{0}"
        ])
        .prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The reference implementation, with and without added tokens.
fn reference() -> &'static (tokenizers::Tokenizer, tokenizers::Tokenizer) {
    static REFERENCE: std::sync::LazyLock<(tokenizers::Tokenizer, tokenizers::Tokenizer)> =
        std::sync::LazyLock::new(|| {
            let bytes = tokenizer_json(EncodingName::V32);
            let mut bare: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            bare["added_tokens"] = serde_json::json!([]);
            let load = |bytes: &[u8]| tokenizers::Tokenizer::from_bytes(bytes).unwrap();
            (load(&bytes), load(bare.to_string().as_bytes()))
        });
    &REFERENCE
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ids_are_those_of_the_reference_implementation(text in any_text()) {
        let tokenizer = encoding(EncodingName::V32).tokenizer();
        let (marked, bare) = reference();
        let marked = marked.encode(text.as_str(), false).unwrap();
        prop_assert_eq!(tokenizer.encode_with_added_tokens(&text), marked.get_ids());
        let bare = bare.encode(text.as_str(), false).unwrap();
        prop_assert_eq!(tokenizer.encode(&text), bare.get_ids());
    }

    #[test]
    fn text_comes_back_from_its_ids(text in any_text()) {
        let tokenizer = encoding(EncodingName::V32).tokenizer();
        prop_assert_eq!(&tokenizer.decode(&tokenizer.encode(&text)), &text);
        prop_assert_eq!(&tokenizer.decode(&tokenizer.encode_with_added_tokens(&text)), &text);
        let special = tokenizer.encode(&text).into_iter().filter(|&id| tokenizer.is_added_token(id));
        prop_assert_eq!(special.collect::<HashSet<_>>(), HashSet::new());
    }
}
