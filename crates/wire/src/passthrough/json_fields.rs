//! The top-level fields of a JSON object where they stand, for bodies that go on as they came: a
//! few fields are read, fewer changed, and all other bytes stay what and where they are.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use chat::Error;
use memchr::memchr2;
use serde_json::Value;

/// Room for the fields of most bodies, and the most that one may have: each takes a hundred bytes.
const TYPICAL_FIELDS: usize = 24;
const MAX_FIELDS: usize = 1 << 17;

/// A scanned body. What stands inside values is not checked: that is for whom the body goes to.
#[derive(Clone, Debug)]
pub struct JsonFields<'a> {
    body: &'a [u8],
    /// Names, and the places of their values. Hashed with random keys: names may be many, and
    /// chosen to collide.
    fields: HashMap<Cow<'a, str>, Range<usize>>,
    /// Where the object ends: the place of its `}`.
    end: usize,
}

impl<'a> JsonFields<'a> {
    /// Finds the fields of the object that `body` is.
    ///
    /// # Errors
    /// `Invalid` when it is no object, does not end, is followed by more, or names a field twice:
    /// whoever reads it next might believe the other one.
    pub fn scan(body: &'a [u8]) -> Result<Self, Error> {
        let mut scan = JsonScanner { body, position: 0 };
        scan.scan_object()
            .ok_or_else(|| Error::invalid("Failed to parse the request body as JSON: it is no whole object"))?
    }

    /// The bytes of a field's value.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        Some(&self.body[self.fields.get(key)?.clone()])
    }

    /// The value of a field; `None` when it is absent, null or no JSON.
    pub fn value(&self, key: &str) -> Option<Value> {
        serde_json::from_slice(self.get(key)?).ok().filter(|value: &Value| !value.is_null())
    }

    /// The text of a string field.
    pub fn text(&self, key: &str) -> Option<String> {
        serde_json::from_slice(self.get(key)?).ok()
    }

    /// The same body but for these fields: each is replaced where it stands, or added at the end.
    pub fn with_changes(&self, changes: &[(&str, String)]) -> Vec<u8> {
        let added: usize = changes.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut out = Vec::with_capacity(self.body.len() + added);
        let range_of = |key: &str| self.fields.get(key);
        let mut replaced: Vec<_> = changes.iter().filter_map(|(key, value)| Some((range_of(key)?, value))).collect();
        replaced.sort_by_key(|(span, _)| span.start);
        let mut at = 0;
        for (span, value) in replaced {
            out.extend_from_slice(&self.body[at..span.start]);
            out.extend_from_slice(value.as_bytes());
            at = span.end;
        }
        out.extend_from_slice(&self.body[at..self.end]);
        let mut empty = self.fields.is_empty();
        for (key, value) in changes.iter().filter(|(key, _)| range_of(key).is_none()) {
            if !std::mem::take(&mut empty) {
                out.push(b',');
            }
            out.extend_from_slice(Value::from(*key).to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&self.body[self.end..]);
        out
    }
}

/// The bytes of one field of the object that `body` is; `None` when it is no object, or names the
/// field never or twice. Nothing is kept of the other fields.
pub(crate) fn find_field<'a>(body: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let (mut scan, mut found) = (JsonScanner { body, position: 0 }, None);
    scan.expect(b'{')?;
    if scan.peek()? == b'}' {
        return None;
    }
    loop {
        let name = scan.scan_key()?;
        scan.expect(b':')?;
        scan.peek()?;
        let from = scan.position;
        scan.scan_value()?;
        if name == key && found.replace(&body[from..scan.position]).is_some() {
            return None;
        }
        if scan.peek()? != b',' {
            break;
        }
        scan.position += 1;
    }
    scan.expect(b'}')?;
    found.filter(|_| scan.peek().is_none())
}

/// A place in a body. `None` where the body is not what is expected there.
struct JsonScanner<'a> {
    body: &'a [u8],
    position: usize,
}

impl<'a> JsonScanner<'a> {
    fn scan_object(&mut self) -> Option<Result<JsonFields<'a>, Error>> {
        if self.body.starts_with("\u{feff}".as_bytes()) {
            self.position = 3;
        }
        let mut fields = HashMap::with_capacity(TYPICAL_FIELDS);
        self.expect(b'{')?;
        if self.peek()? != b'}' {
            loop {
                let key = self.scan_key()?;
                if fields.len() == MAX_FIELDS {
                    return Some(Err(Error::invalid(format!(
                        "Failed to parse the request body as JSON: it has more than {MAX_FIELDS} fields"
                    ))));
                }
                let field = match fields.entry(key) {
                    Entry::Vacant(field) => field,
                    Entry::Occupied(twice) => {
                        return Some(Err(Error::invalid(format!(
                            "Failed to parse the request body as JSON: duplicate field `{:.64}`",
                            twice.key()
                        ))));
                    }
                };
                self.expect(b':')?;
                self.peek()?;
                let from = self.position;
                self.scan_value()?;
                field.insert(from..self.position);
                if self.peek()? != b',' {
                    break;
                }
                self.position += 1;
            }
        }
        let end = self.position;
        self.expect(b'}')?;
        self.peek().is_none().then_some(Ok(JsonFields { body: self.body, fields, end }))
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        let whitespace =
            self.body[self.position..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.position += whitespace.count();
        self.body.get(self.position).copied()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.position += 1)
    }

    fn scan_key(&mut self) -> Option<Cow<'a, str>> {
        self.peek()?;
        let from = self.position;
        self.scan_string()?;
        let written = &self.body[from..self.position];
        let plain = std::str::from_utf8(&written[1..written.len() - 1]).ok()?;
        // An escaped name is the same name to others.
        Some(if plain.contains('\\') {
            Cow::Owned(serde_json::from_slice(written).ok()?)
        } else {
            Cow::Borrowed(plain)
        })
    }

    fn scan_string(&mut self) -> Option<()> {
        if *self.body.get(self.position)? != b'"' {
            return None;
        }
        self.position += 1;
        loop {
            self.position += memchr2(b'"', b'\\', &self.body[self.position..])?;
            if self.body[self.position] == b'"' {
                self.position += 1;
                return Some(());
            }
            self.position += 2;
            self.body.get(self.position)?;
        }
    }

    fn scan_value(&mut self) -> Option<()> {
        let mut depth = 0usize;
        loop {
            match self.body.get(self.position)? {
                b'"' => {
                    self.scan_string()?;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.position += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.position += 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                b',' | b':' if depth == 0 => return None,
                _ if depth == 0 => return self.scan_literal(),
                _ => self.position += 1,
            }
        }
    }

    /// A number, `true`, `false` or `null`.
    fn scan_literal(&mut self) -> Option<()> {
        let rest = &self.body[self.position..];
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count();
        self.position += length;
        (length > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_bytes_stay_where_they_are() {
        let body = "\u{feff} { \"model\" : \"a\\u0041\",\n \"x\":[1,{\"model\":\"inner\"}] , \"stream\":true}  ";
        let fields = JsonFields::scan(body.as_bytes()).unwrap();
        assert_eq!((fields.text("model").as_deref(), fields.value("stream")), (Some("aA"), Some(Value::Bool(true))));
        assert_eq!((fields.get("x"), fields.get("y")), (Some(&b"[1,{\"model\":\"inner\"}]"[..]), None));
        let changed =
            fields.with_changes(&[("model", "\"b\"".into()), ("y", "null".into()), ("stream", "false".into())]);
        let want = "\u{feff} { \"model\" : \"b\",\n \"x\":[1,{\"model\":\"inner\"}] , \"stream\":false,\"y\":null}  ";
        assert_eq!(String::from_utf8(changed).unwrap(), want);
        assert_eq!(fields.with_changes(&[]), body.as_bytes());
        assert_eq!(JsonFields::scan(b"{ }").unwrap().with_changes(&[("a", "1".into())]), b"{ \"a\":1}");
    }

    #[test]
    fn a_field_cannot_hide_behind_another() {
        for twice in [r#"{"model":"a","model":"b"}"#, r#"{"model":"a","mod\u0065l":"b"}"#] {
            assert!(JsonFields::scan(twice.as_bytes()).unwrap_err().message.contains("duplicate field `model`"));
        }
        let escaped = JsonFields::scan(br#"{"mod\u0065l":"b"}"#).unwrap();
        assert_eq!(escaped.text("model").as_deref(), Some("b"));
    }

    #[test]
    fn a_hundred_thousand_fields_take_no_longer_than_their_bytes() {
        let fields: Vec<String> = (0..100_000).map(|number| format!("\"k{number}\":0")).collect();
        let body = format!("{{{}}}", fields.join(","));
        let began = testkit::growth::cpu_time();
        let scanned = JsonFields::scan(body.as_bytes()).unwrap();
        assert_eq!((scanned.get("k0"), scanned.get("k99999")), (Some(&b"0"[..]), Some(&b"0"[..])));
        assert_eq!(scanned.with_changes(&[("k7", "0".into())]), body.as_bytes());
        let took = testkit::growth::cpu_time() - began;
        assert!(took < std::time::Duration::from_secs(3), "{took:?}");
    }

    #[test]
    fn one_field_is_found_without_the_others() {
        let found =
            |body: &'static str| find_field(body.as_bytes(), "usage").map(|found| std::str::from_utf8(found).unwrap());
        assert_eq!(found(r#"{"a":{"usage":1},"usage" : {"b":[2]} , "c":3}"#), Some(r#"{"b":[2]}"#));
        for none in ["{}", r#"{"a":1}"#, r#"{"usage":1,"us\u0061ge":2}"#, r#"{"usage":1}x"#, r#"{"usage":1"#, "[]", ""]
        {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn more_fields_than_memory_should_hold_are_refused() {
        let fields: Vec<String> = (0..=MAX_FIELDS).map(|number| format!("\"{number}\":0")).collect();
        let error = JsonFields::scan(format!("{{{}}}", fields.join(",")).as_bytes()).unwrap_err();
        assert!(error.message.contains("more than 131072 fields"), "{}", error.message);
    }

    #[test]
    fn what_is_no_whole_object_is_refused() {
        for bad in [
            "",
            "{",
            "[]",
            "null",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "{\"a\":\"}",
            "{a:1}",
            "{\"a\":[}",
            "{\"a\":1 2}",
            "{,}",
            "{\"a\\\":1}",
            "{\"a\":\"\\",
        ] {
            assert!(JsonFields::scan(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::from),
            "[ -~é\"\\\\{}\\[\\],:]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\]{1,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// A change of a field is what a change of the parsed object is, in compact
        /// and in pretty text.
        #[test]
        fn splicing_is_changing(
            object in prop::collection::btree_map("[a-e\"\\\\é]{1,3}", json(), 0..6),
            key in "[a-e]{1,2}",
            new in json(),
            pretty: bool,
        ) {
            let mut value = Value::Object(object.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let spliced = JsonFields::scan(text.as_bytes()).unwrap().with_changes(&[(&key, new.to_string())]);
            value[&key] = new;
            prop_assert_eq!(serde_json::from_slice::<Value>(&spliced).unwrap(), value);
        }

        #[test]
        fn no_body_makes_it_panic(body in "[{}\\[\\]\",:\\\\a1 ]{0,30}") {
            if let Ok(fields) = JsonFields::scan(body.as_bytes()) {
                prop_assert_eq!(fields.with_changes(&[]), body.as_bytes());
            }
        }
    }
}
