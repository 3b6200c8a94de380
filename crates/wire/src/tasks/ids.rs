//! Ids of tasks in bodies and paths: callers have ids of ours, providers their own, and all other bytes stay what they are.

use memchr::{memchr2, memmem};
use percent_encoding::percent_decode_str;

use super::{Kind, is_id};

/// A provider's id this long is looked for inside texts as well, such as the `customId` of a button. A shorter one could be
/// any number.
const DISTINCT: usize = 8;

/// A provider's id and ours of the same task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    pub theirs: &'a str,
    pub ours: &'a str,
}

/// Replaces the provider's ids in an answer by ours. Addresses stay unchanged, because they lead to the provider.
pub fn outward(kind: Kind, body: &[u8], pairs: &[Pair<'_>]) -> Option<Vec<u8>> {
    let fields: &[&[u8]] = match kind {
        Kind::Midjourney => &[b"id", b"result", b"taskId", b"task_id", b"parentId"],
        Kind::Suno => &[b"task_id", b"data", b"id", b"taskId"],
        Kind::Video => &[b"id", b"remixed_from_video_id", b"video_id"],
    };
    rewrite(body, |token| {
        let is_field = fields.contains(&token.key);
        if let Some(pair) = pairs.iter().find(|pair| is_field && token.text == pair.theirs.as_bytes()) {
            return Some(token.spelled(pair.ours));
        }
        let is_address = memmem::find(token.text, b"://").is_some();
        let long = pairs.iter().filter(|pair| pair.theirs.len() >= DISTINCT && token.is_string && !is_address);
        let mut changed = None;
        for pair in long {
            let text = changed.as_deref().unwrap_or(token.text);
            changed = replaced(text, pair.theirs.as_bytes(), pair.ours.as_bytes()).or(changed);
        }
        changed
    })
}

/// Replaces our ids in a request by the provider's, wherever they stand: nothing else looks like one.
pub fn inward(body: &[u8], pairs: &[Pair<'_>]) -> Option<Vec<u8>> {
    let json = body.trim_ascii_start().first() == Some(&b'{');
    let mut changed: Option<Vec<u8>> = None;
    for pair in pairs.iter().filter(|pair| pair.ours != pair.theirs) {
        let bytes = changed.as_deref().unwrap_or(body);
        if memmem::find(bytes, pair.ours.as_bytes()).is_none() {
            continue;
        }
        let (ours, theirs) = (pair.ours.as_bytes(), pair.theirs.as_bytes());
        changed = match json {
            true => rewrite(bytes, |token| match token.is_string {
                true => replaced(token.text, ours, theirs),
                false => (token.text == ours).then(|| token.spelled(pair.theirs)),
            }),
            false => replaced(bytes, ours, theirs),
        }
        .or(changed);
    }
    changed
}

/// The values of a body that look like ids of ours; at most so many.
pub fn candidates(kind: Kind, body: &[u8], most: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let _unchanged = rewrite(body, |token| {
        let text = std::str::from_utf8(token.text).unwrap_or_default();
        if found.len() < most && kind.is_ours(text) && !found.iter().any(|known| known == text) {
            found.push(text.to_owned());
        }
        None
    });
    found
}

/// A path whose segment `ours` is `theirs`. The query stays, but for whole values.
pub fn in_path(path: &str, ours: &str, theirs: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let is_ours = |segment: &str| segment == ours || percent_decode_str(segment).eq(ours.bytes());
    let segments: Vec<_> = path.split('/').map(|segment| if is_ours(segment) { theirs } else { segment }).collect();
    let mut path = segments.join("/");
    if let Some(query) = query {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((key, value)) if is_ours(value) => format!("{key}={theirs}"),
            _ => pair.to_owned(),
        };
        let pairs: Vec<_> = query.split('&').map(pair).collect();
        path = format!("{path}?{}", pairs.join("&"));
    }
    path
}

impl Kind {
    /// An id of ours from random bytes, in the shape of the surface.
    pub fn id_of(self, random: [u8; 16]) -> String {
        let number = u128::from_be_bytes(random);
        match self {
            // 19 digits, which fit into 63 bits.
            Self::Midjourney => (1_000_000_000_000_000_000 + number % 8_000_000_000_000_000_000).to_string(),
            // A UUID of version 4.
            Self::Suno => {
                let number = number & !(0xf000 << 64) | (0x4000 << 64);
                let number = number & !(0xc000 << 48) | (0x8000 << 48);
                let hex = format!("{number:032x}");
                format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
            }
            Self::Video => format!("video_{number:032x}"),
        }
    }

    /// It has the shape of an id of ours.
    pub fn is_ours(self, id: &str) -> bool {
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match self {
            Self::Midjourney => id.len() == 19 && id.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Suno => {
                let parts: Vec<_> = id.split('-').collect();
                parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]) && parts.iter().all(|part| hex(part))
            }
            Self::Video => id.strip_prefix("video_").is_some_and(|rest| rest.len() == 32 && hex(rest)),
        }
    }
}

/// A value that is no object and no list.
struct Token<'a> {
    /// The last name before it: of members of a list, that of the list.
    key: &'a [u8],
    text: &'a [u8],
    is_string: bool,
}

impl Token<'_> {
    /// An id in the way in which the value is written.
    fn spelled(&self, id: &str) -> Vec<u8> {
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit()) && !(id.len() > 1 && id.starts_with('0'));
        if self.is_string || is_number { id.into() } else { format!("\"{id}\"").into() }
    }
}

/// The same JSON with other values where `change` gives one; `None` where nothing changes.
fn rewrite(body: &[u8], mut change: impl FnMut(Token<'_>) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (mut out, mut from, mut at, mut key): (Vec<u8>, _, _, &[u8]) = (Vec::new(), 0, 0, b"");
    let mut any = false;
    while at < body.len() {
        let (range, next, is_string) = match body[at] {
            b'"' => {
                let end = string_end(body, at + 1);
                (at + 1..end, (end + 1).min(body.len()), true)
            }
            byte if is_between(byte) => {
                at += 1;
                continue;
            }
            _ => {
                let ends = |byte: &u8| *byte == b'"' || is_between(*byte);
                let end = body[at..].iter().position(ends).map_or(body.len(), |length| at + length);
                (at..end, end, false)
            }
        };
        let is_key = is_string && body[next..].trim_ascii_start().first() == Some(&b':');
        if is_key {
            key = &body[range];
        } else if let Some(text) = change(Token { key, text: &body[range.clone()], is_string }) {
            out.extend_from_slice(&body[from..range.start]);
            out.extend_from_slice(&text);
            (from, any) = (range.end, true);
        }
        at = next;
    }
    any.then(|| {
        out.extend_from_slice(&body[from..]);
        out
    })
}

/// It stands between values: what ends a word must not begin one, or the word has no end.
fn is_between(byte: u8) -> bool {
    matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':') || byte.is_ascii_whitespace()
}

/// The place of the quote that ends the string which begins at `at`.
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

/// A text with every whole word `from` replaced.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    // A search is prepared only where there can be a find: texts may be many and short.
    if text.len() < from.len() {
        return None;
    }
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| is_id(&char::from(*byte).to_string()));
    let (mut out, mut done, mut any) = (Vec::new(), 0, false);
    for start in memmem::find_iter(text, from) {
        let end = start + from.len();
        let before = start.checked_sub(1).and_then(|place| text.get(place));
        if is_word(before) || is_word(text.get(end)) || start < done {
            continue;
        }
        out.extend_from_slice(&text[done..start]);
        out.extend_from_slice(to);
        (done, any) = (end, true);
    }
    any.then(|| {
        out.extend_from_slice(&text[done..]);
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outward_text(kind: Kind, body: &str, theirs: &str) -> String {
        let ours = kind.id_of([7; 16]);
        let changed = outward(kind, body.as_bytes(), &[Pair { theirs, ours: &ours }]);
        changed.map_or_else(|| body.into(), |bytes| String::from_utf8(bytes).unwrap().replace(&ours, "OURS"))
    }

    #[test]
    fn ids_have_the_shape_of_their_surface() {
        for kind in Kind::ALL {
            for random in [[0; 16], [255; 16], [9; 16]] {
                let id = kind.id_of(random);
                assert!(is_id(&id) && kind.is_ours(&id), "{id}");
            }
            assert_ne!(kind.id_of([1; 16]), kind.id_of([2; 16]));
        }
        assert!(Kind::Midjourney.id_of([255; 16]).parse::<i64>().is_ok());
        assert_eq!(Kind::Suno.id_of([255; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert!(!Kind::Midjourney.is_ours("1773314942177684") && !Kind::Suno.is_ours("song-1"));
    }

    #[test]
    fn callers_see_our_ids_and_all_other_bytes() {
        let mj = |body: &str| outward_text(Kind::Midjourney, body, "17733149");
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
        let short = outward_text(Kind::Video, r#"{"id":"4","seconds":"4","note":"4"}"#, "4");
        assert_eq!(short, r#"{"id":"OURS","seconds":"4","note":"4"}"#);
        assert_eq!(
            outward_text(Kind::Suno, r#"{"code":"success","data":"t1"}"#, "t1"),
            r#"{"code":"success","data":"OURS"}"#
        );
        assert_eq!(outward_text(Kind::Suno, "<html>t1", "t1"), "<html>t1");
        assert_eq!(outward_text(Kind::Suno, r#"{"data":"t1"#, "t1"), r#"{"data":"OURS"#);
    }

    #[test]
    fn any_byte_between_values_comes_to_an_end() {
        let ours = Kind::Midjourney.id_of([7; 16]);
        let pairs = [Pair { theirs: "17733149", ours: &ours }];
        for byte in 0..=255 {
            let body = [b"{\"a\":1,".as_slice(), &[byte], b"\"id\":17733149}"].concat();
            candidates(Kind::Midjourney, &body, 8);
            inward(&body, &pairs);
            outward(Kind::Midjourney, &body, &pairs);
        }
        assert_eq!(
            outward_text(Kind::Midjourney, "\u{c}{\"id\":17733149}\u{c}", "17733149"),
            "\u{c}{\"id\":OURS}\u{c}"
        );
    }

    #[test]
    fn providers_see_their_ids() {
        let ours = Kind::Midjourney.id_of([3; 16]);
        let inward = |body: &str, theirs: &str| {
            let changed = super::inward(body.replace("OURS", &ours).as_bytes(), &[Pair { theirs, ours: &ours }]);
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
            candidates(Kind::Midjourney, format!(r#"{{"a":"{ours}","b":[{ours}],"c":"1"}}"#).as_bytes(), 8),
            std::slice::from_ref(&ours)
        );
        assert_eq!(in_path(&format!("mj/task/{ours}/fetch?x={ours}&y=1"), &ours, "a"), "mj/task/a/fetch?x=a&y=1");
        assert_eq!(in_path("videos/%76ideo_1/content", "video_1", "v"), "videos/v/content");
    }
}
