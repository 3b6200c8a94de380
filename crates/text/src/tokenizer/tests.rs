use serde_json::{Value, json};

use super::*;

/// A `tokenizer.json` with a token for every byte, in order, followed by `added`.
fn tokenizer_json(added: &[&str]) -> Value {
    let plain = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = 255;
    let mut letter = |byte: u32| {
        let code = if plain(byte) {
            byte
        } else {
            next += 1;
            next
        };
        char::from_u32(code).unwrap().to_string()
    };
    let vocab: serde_json::Map<_, _> = (0..256).map(|byte| (letter(byte), json!(byte))).collect();
    let added = added.iter().enumerate().map(|(index, content)| {
        json!({ "id": 256 + index, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": false })
    });
    json!({
        "added_tokens": added.collect::<Vec<_>>(),
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}

fn load(json: &Value) -> Result<Tokenizer, TextError> {
    Tokenizer::from_json(json.to_string().as_bytes())
}

/// A tokenizer of 256 bytes and these added tokens.
pub(crate) fn byte_tokenizer(added: &[&str]) -> Tokenizer {
    load(&tokenizer_json(added)).unwrap()
}

#[test]
fn added_tokens_are_found_only_when_asked_for_and_the_longest_wins() {
    let tokenizer = byte_tokenizer(&["<a>", "<a>b"]);
    assert_eq!(tokenizer.encode("<a>"), [60, 97, 62]);
    assert_eq!(tokenizer.encode_with_added_tokens("é<a>b<a>"), [0xc3, 0xa9, 257, 256]);
    assert_eq!(tokenizer.decode(&[0xc3, 0xa9, 257, 0xff, 9999]), "é<a>b\u{fffd}");
    assert_eq!(
        (tokenizer.token_id("<a>"), tokenizer.token_id("b"), tokenizer.token_id("bb")),
        (Some(256), Some(98), None)
    );
    assert_eq!((tokenizer.len(), tokenizer.is_added_token(257), tokenizer.is_added_token(98)), (258, true, false));
    assert!(tokenizer.bytes(258).is_empty() && !tokenizer.is_added_token(u32::MAX));
    assert_eq!(tokenizer.added_tokens(), [256, 257]);
}

#[test]
fn truncation_and_padding_left_in_the_file_are_dropped() {
    let mut file = tokenizer_json(&["<pad>"]);
    file["truncation"] = json!({ "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 });
    file["padding"] = json!({
        "strategy": { "Fixed": 8 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 256,
        "pad_type_id": 0, "pad_token": "<pad>"
    });
    let tokenizer = load(&file).unwrap();
    for text in ["", "a", "abc", "abcdefghijk"] {
        assert_eq!(tokenizer.encode(text), text.bytes().map(u32::from).collect::<Vec<_>>());
    }
}

#[test]
fn damaged_and_foreign_files_are_refused_by_name() {
    let message = |json: Value| load(&json).unwrap_err().to_string();
    assert!(message(json!({})).contains("not a tokenizer"));
    assert!(message(json!([1])).contains("not a tokenizer"));
    let changed = |pointer: &str, value: Value| {
        let mut json = tokenizer_json(&["<a>"]);
        *json.pointer_mut(pointer).unwrap() = value;
        message(json)
    };
    assert!(changed("/model/vocab", json!({})).contains("0x00"));
    assert!(changed("/added_tokens/0/lstrip", json!(true)).contains("`<a>`"));
    assert!(changed("/added_tokens/0/content", json!("")).contains("empty"));
    assert!(changed("/added_tokens/0/id", json!(4_000_000_000_u32)).contains("4000000000"));
    assert!(changed("/added_tokens/0/id", json!(97)).contains("two tokens with the id 97"));
    assert!(changed("/pre_tokenizer", Value::Null).contains("byte-level"));
}
