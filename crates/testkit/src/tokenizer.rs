//! A `tokenizer.json` of single bytes with the added tokens of V3.2: 281 ids.

use serde_json::{Map, Value, json};

/// `｜DSML｜` and `<|EOT|>` are special in the release; the others are not.
const ADDED: [&str; 22] = [
    "｜DSML｜",
    "<dsml:",
    "</dsml:",
    "<｜search▁begin｜>",
    "<｜search▁end｜>",
    "<think>",
    "</think>",
    "<｜fim▁hole｜>",
    "<｜fim▁begin｜>",
    "<｜fim▁end｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<|EOT|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁sep｜>",
];

const CONTROL: [&str; 3] = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"];

/// The bytes of the file. Ids 0 to 2 are control tokens, 3 to 258 byte symbols in the release's
/// order; the added tokens follow. There are no merges: every byte is a token.
pub fn tokenizer_json() -> Vec<u8> {
    let token = |id: usize, content: &str, special: bool| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": !special, "special": special })
    };
    let mut added: Vec<Value> = CONTROL.iter().enumerate().map(|(id, content)| token(id, content, true)).collect();
    added.extend(
        ADDED
            .iter()
            .zip(CONTROL.len() + 256..)
            .map(|(content, id)| token(id, content, ["｜DSML｜", "<|EOT|>"].contains(content))),
    );
    let words = CONTROL.iter().map(|content| (*content).to_owned()).chain(symbols().map(String::from));
    let vocab: Map<String, Value> = words.zip(0..).map(|(word, id)| (word, json!(id))).collect();
    json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [] },
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
        "post_processor": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": [] },
    })
    .to_string()
    .into_bytes()
}

/// The characters that represent bytes, in the order of byte-level vocabularies: printable bytes as
/// themselves, then the others from U+0100 on.
fn symbols() -> impl Iterator<Item = char> {
    let printable = || (0x21..=0x7eu8).chain(0xa1..=0xac).chain(0xae..=0xff);
    let others = 256 - printable().count() as u32;
    printable().map(char::from).chain((0x100..0x100 + others).filter_map(char::from_u32))
}
