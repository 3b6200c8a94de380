//! Translation of task ids in bodies and paths: callers use public ids, providers their own. All
//! other bytes stay unchanged.

use memchr::{memchr2, memmem};
use percent_encoding::percent_decode_str;

use crate::tasks::{TaskKind, is_path_safe_id};

/// Minimum length of a provider's id that is also replaced inside texts, such as the `customId` of
/// a button. A shorter id could be any number.
const MIN_EMBEDDED_ID_BYTES: usize = 8;

/// The provider's id and the public id of the same task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPair<'a> {
    pub provider_id: &'a str,
    pub public_id: &'a str,
}

/// Replaces provider ids in a response by public ids; `None` when it contains none. URLs stay
/// unchanged, because they point to the provider.
pub fn to_public_ids(kind: TaskKind, body: &[u8], pairs: &[IdPair<'_>]) -> Option<Vec<u8>> {
    let fields: &[&[u8]] = match kind {
        TaskKind::Midjourney => &[b"id", b"result", b"taskId", b"task_id", b"parentId"],
        TaskKind::Suno => &[b"task_id", b"data", b"id", b"taskId"],
        TaskKind::Video => &[b"id", b"remixed_from_video_id", b"video_id"],
        TaskKind::Batch => &[b"id", b"input_file_id", b"output_file_id", b"error_file_id"],
    };
    rewrite_values(body, |token| {
        let is_field = fields.contains(&token.key);
        if let Some(pair) = pairs.iter().find(|pair| is_field && token.text == pair.provider_id.as_bytes()) {
            return Some(token.encode_id(pair.public_id));
        }
        let is_url = memmem::find(token.text, b"://").is_some();
        let long =
            pairs.iter().filter(|pair| pair.provider_id.len() >= MIN_EMBEDDED_ID_BYTES && token.is_string && !is_url);
        let mut changed = None;
        for pair in long {
            let text = changed.as_deref().unwrap_or(token.text);
            changed = replace_whole_words(text, pair.provider_id.as_bytes(), pair.public_id.as_bytes()).or(changed);
        }
        changed
    })
}

/// Replaces public ids anywhere in a request by provider ids; `None` when it contains none. No
/// other value has the format of a public id.
pub fn to_provider_ids(body: &[u8], pairs: &[IdPair<'_>]) -> Option<Vec<u8>> {
    let is_json = body.trim_ascii_start().first() == Some(&b'{');
    let mut changed: Option<Vec<u8>> = None;
    for pair in pairs.iter().filter(|pair| pair.public_id != pair.provider_id) {
        let bytes = changed.as_deref().unwrap_or(body);
        if memmem::find(bytes, pair.public_id.as_bytes()).is_none() {
            continue;
        }
        let (public_id, provider_id) = (pair.public_id.as_bytes(), pair.provider_id.as_bytes());
        changed = match is_json {
            true => rewrite_values(bytes, |token| match token.is_string {
                true => replace_whole_words(token.text, public_id, provider_id),
                false => (token.text == public_id).then(|| token.encode_id(pair.provider_id)),
            }),
            false => replace_whole_words(bytes, public_id, provider_id),
        }
        .or(changed);
    }
    changed
}

/// The values in a body that have the format of a public id, at most `limit`.
pub fn find_public_ids(kind: TaskKind, body: &[u8], limit: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let _unchanged = rewrite_values(body, |token| {
        let text = std::str::from_utf8(token.text).unwrap_or_default();
        if found.len() < limit && kind.is_public_id(text) && !found.iter().any(|known| known == text) {
            found.push(text.to_owned());
        }
        None
    });
    found
}

/// Replaces the id `from` by `to` in the segments of a path and in whole values of its query.
pub fn replace_in_path(path: &str, from: &str, to: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let matches_id = |segment: &str| segment == from || percent_decode_str(segment).eq(from.bytes());
    let segments: Vec<_> = path.split('/').map(|segment| if matches_id(segment) { to } else { segment }).collect();
    let mut path = segments.join("/");
    if let Some(query) = query {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value)) if matches_id(value) => format!("{key}={to}"),
            _ => pair.to_owned(),
        };
        let pairs: Vec<_> = query.split('&').map(pair).collect();
        path = format!("{path}?{}", pairs.join("&"));
    }
    path
}

/// A scalar value.
struct JsonToken<'a> {
    /// The last key before the value. A value in a list has the key of the list.
    key: &'a [u8],
    text: &'a [u8],
    is_string: bool,
}

impl JsonToken<'_> {
    /// The text of an id in place of this value.
    fn encode_id(&self, id: &str) -> Vec<u8> {
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit()) && !(id.len() > 1 && id.starts_with('0'));
        if self.is_string || is_number { id.into() } else { format!("\"{id}\"").into() }
    }
}

/// Replaces scalar values for which `change` returns a text; `None` when it returns none.
fn rewrite_values(body: &[u8], mut change: impl FnMut(JsonToken<'_>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (mut out, mut from, mut at, mut key): (Vec<u8>, _, _, &[u8]) = (Vec::new(), 0, 0, b"");
    let mut any = false;
    while at < body.len() {
        let (range, next, is_string) = match body[at] {
            b'"' => {
                let end = string_end(body, at + 1);
                (at + 1..end, (end + 1).min(body.len()), true)
            }
            byte if is_separator(byte) => {
                at += 1;
                continue;
            }
            _ => {
                let ends = |byte: &u8| *byte == b'"' || is_separator(*byte);
                let end = body[at..].iter().position(ends).map_or(body.len(), |length| at + length);
                (at..end, end, false)
            }
        };
        let is_key = is_string && body[next..].trim_ascii_start().first() == Some(&b':');
        if is_key {
            key = &body[range];
        } else if let Some(text) = change(JsonToken { key, text: &body[range.clone()], is_string }) {
            out.extend_from_slice(&body[from..range.start]);
            out.extend_from_slice(&text);
            from = range.end;
            any = true;
        }
        at = next;
    }
    any.then(|| {
        out.extend_from_slice(&body[from..]);
        out
    })
}

/// Whether `byte` separates values. A byte that ends a word must not begin one, or the scan
/// would not advance.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':') || byte.is_ascii_whitespace()
}

/// The position of the closing quote of the string that begins at `at`.
fn string_end(body: &[u8], mut at: usize) -> usize {
    while let Some(found) = body.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if body[at] == b'"' {
            return at;
        }
        at += 2;
    }
    body.len()
}

/// Replaces each whole word `from` in a text; `None` when it contains none.
fn replace_whole_words(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    // A search has a setup cost, and there may be many short texts.
    if text.len() < from.len() {
        return None;
    }
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| is_path_safe_id(&char::from(*byte).to_string()));
    let mut out = Vec::new();
    let mut done = 0;
    let mut any = false;
    for start in memmem::find_iter(text, from) {
        let end = start + from.len();
        let before = start.checked_sub(1).and_then(|index| text.get(index));
        if is_word(before) || is_word(text.get(end)) || start < done {
            continue;
        }
        out.extend_from_slice(&text[done..start]);
        out.extend_from_slice(to);
        done = end;
        any = true;
    }
    any.then(|| {
        out.extend_from_slice(&text[done..]);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten_to_public(kind: TaskKind, body: &str, theirs: &str) -> String {
        let ours = kind.new_public_id([7; 16]);
        let changed = to_public_ids(kind, body.as_bytes(), &[IdPair { provider_id: theirs, public_id: &ours }]);
        changed.map_or_else(|| body.into(), |bytes| String::from_utf8(bytes).unwrap().replace(&ours, "OURS"))
    }

    #[test]
    fn ids_have_the_shape_of_their_surface() {
        for kind in TaskKind::ALL {
            for random in [[0; 16], [255; 16], [9; 16]] {
                let id = kind.new_public_id(random);
                assert!(is_path_safe_id(&id) && kind.is_public_id(&id), "{id}");
            }
            assert_ne!(kind.new_public_id([1; 16]), kind.new_public_id([2; 16]));
        }
        assert!(TaskKind::Midjourney.new_public_id([255; 16]).parse::<i64>().is_ok());
        assert_eq!(TaskKind::Suno.new_public_id([255; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(!TaskKind::Midjourney.is_public_id("1773314942177684") && !TaskKind::Suno.is_public_id("song-1"));
    }

    #[test]
    fn callers_see_our_ids_and_all_other_bytes() {
        let mj = |body: &str| rewritten_to_public(TaskKind::Midjourney, body, "17733149");
        assert_eq!(mj(r#"{"code":1, "result" : "17733149"}"#), r#"{"code":1, "result" : "OURS"}"#);
        assert_eq!(mj(r#"{"result":17733149}"#), r#"{"result":OURS}"#);
        assert_eq!(
            mj(
                r#"{"id":"17733149","buttons":[{"customId":"MJ::JOB::17733149::U1"}],"imageUrl":"https://cdn/17733149.png"}"#
            ),
            r#"{"id":"OURS","buttons":[{"customId":"MJ::JOB::OURS::U1"}],"imageUrl":"https://cdn/17733149.png"}"#
        );
        assert_eq!(mj(r#"{"prompt":"x17733149","n":17733149}"#), r#"{"prompt":"x17733149","n":17733149}"#);
        // A short id could be any number.
        let short = rewritten_to_public(TaskKind::Video, r#"{"id":"4","seconds":"4","note":"4"}"#, "4");
        assert_eq!(short, r#"{"id":"OURS","seconds":"4","note":"4"}"#);
        assert_eq!(
            rewritten_to_public(TaskKind::Suno, r#"{"code":"success","data":"t1"}"#, "t1"),
            r#"{"code":"success","data":"OURS"}"#
        );
        assert_eq!(rewritten_to_public(TaskKind::Suno, "<html>t1", "t1"), "<html>t1");
        assert_eq!(rewritten_to_public(TaskKind::Suno, r#"{"data":"t1"#, "t1"), r#"{"data":"OURS"#);
    }

    #[test]
    fn any_byte_between_values_comes_to_an_end() {
        let ours = TaskKind::Midjourney.new_public_id([7; 16]);
        let pairs = [IdPair { provider_id: "17733149", public_id: &ours }];
        for byte in 0..=255 {
            let body = [b"{\"a\":1,".as_slice(), &[byte], b"\"id\":17733149}"].concat();
            find_public_ids(TaskKind::Midjourney, &body, 8);
            to_provider_ids(&body, &pairs);
            to_public_ids(TaskKind::Midjourney, &body, &pairs);
        }
        assert_eq!(
            rewritten_to_public(TaskKind::Midjourney, "\u{c}{\"id\":17733149}\u{c}", "17733149"),
            "\u{c}{\"id\":OURS}\u{c}"
        );
    }

    #[test]
    fn providers_see_their_ids() {
        let ours = TaskKind::Midjourney.new_public_id([3; 16]);
        let inward = |body: &str, theirs: &str| {
            let changed = super::to_provider_ids(
                body.replace("OURS", &ours).as_bytes(),
                &[IdPair { provider_id: theirs, public_id: &ours }],
            );
            changed.map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(
            inward(r#"{"taskId": "OURS", "customId": "MJ::OURS::U1"}"#, "a\u{2d}1").unwrap(),
            r#"{"taskId": "a-1", "customId": "MJ::a-1::U1"}"#
        );
        assert_eq!(inward(r#"{"taskId":OURS}"#, "a-1").unwrap(), r#"{"taskId":"a-1"}"#);
        assert_eq!(inward(r#"{"taskId":OURS}"#, "77").unwrap(), r#"{"taskId":77}"#);
        assert_eq!(inward(r#"{"taskId":"5"}"#, "77"), None);
        assert_eq!(
            find_public_ids(TaskKind::Midjourney, format!(r#"{{"a":"{ours}","b":[{ours}],"c":"1"}}"#).as_bytes(), 8),
            std::slice::from_ref(&ours)
        );
        assert_eq!(
            replace_in_path(&format!("mj/task/{ours}/fetch?x={ours}&y=1"), &ours, "a"),
            "mj/task/a/fetch?x=a&y=1"
        );
        assert_eq!(replace_in_path("videos/%76ideo_1/content", "video_1", "v"), "videos/v/content");
    }
}
