//! The top-level fields of a JSON object and their byte ranges, for bodies that are forwarded:
//! single fields are read or replaced, and all other bytes stay unchanged.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use chat::Error;
use serde_json::Value;

use crate::passthrough::json_scanner::JsonScanner;

/// Initial capacity for fields, enough for most bodies.
const TYPICAL_FIELDS: usize = 24;
/// Maximum number of fields. Each takes about a hundred bytes.
const MAX_FIELDS: usize = 1 << 17;

/// A scanned body. The content of nested values is not validated; the provider does that.
#[derive(Clone, Debug)]
pub struct JsonFields<'a> {
    body: &'a [u8],
    /// The ranges of the values by name. The map hashes with random keys, because an attacker may
    /// choose names that collide.
    fields: HashMap<Cow<'a, str>, Range<usize>>,
    /// The position of the closing `}`.
    end: usize,
}

impl<'a> JsonFields<'a> {
    /// Scans the fields of the object `body`.
    ///
    /// # Errors
    /// `InvalidRequest` when the body is not one complete object, or has a field twice: the
    /// provider might use the other one.
    pub fn scan(body: &'a [u8]) -> Result<Self, Error> {
        Self::scan_object(body)
            .ok_or_else(|| Error::invalid("Failed to parse the request body as JSON: it is not a complete object"))?
    }

    /// Scans the fields; `None` when `body` is not one complete object.
    fn scan_object(body: &'a [u8]) -> Option<Result<Self, Error>> {
        let byte_order_mark = "\u{feff}".as_bytes();
        let position = if body.starts_with(byte_order_mark) { byte_order_mark.len() } else { 0 };
        let mut scan = JsonScanner { body, position };
        let mut fields = HashMap::with_capacity(TYPICAL_FIELDS);
        scan.expect(b'{')?;
        if scan.peek()? != b'}' {
            loop {
                let key = scan.scan_key()?;
                if fields.len() == MAX_FIELDS {
                    return Some(Err(Error::invalid(format!(
                        "Failed to parse the request body as JSON: it has more than {MAX_FIELDS} fields"
                    ))));
                }
                let field = match fields.entry(key) {
                    Entry::Vacant(field) => field,
                    Entry::Occupied(duplicate) => {
                        return Some(Err(Error::invalid(format!(
                            "Failed to parse the request body as JSON: duplicate field `{:.64}`",
                            duplicate.key()
                        ))));
                    }
                };
                scan.expect(b':')?;
                scan.peek()?;
                let from = scan.position;
                scan.scan_value()?;
                field.insert(from..scan.position);
                if scan.peek()? != b',' {
                    break;
                }
                scan.position += 1;
            }
        }
        let end = scan.position;
        scan.expect(b'}')?;
        scan.peek().is_none().then_some(Ok(Self { body, fields, end }))
    }

    /// The bytes of a field's value.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        Some(&self.body[self.fields.get(key)?.clone()])
    }

    /// The value of a field; `None` when it is absent, null or invalid.
    pub fn value(&self, key: &str) -> Option<Value> {
        serde_json::from_slice(self.get(key)?).ok().filter(|value: &Value| !value.is_null())
    }

    /// The text of a string field.
    pub fn text(&self, key: &str) -> Option<String> {
        serde_json::from_slice(self.get(key)?).ok()
    }

    /// Returns the body with changed fields. Each is replaced in place, or added at the end.
    pub fn with_changes(&self, changes: &[(&str, String)]) -> Vec<u8> {
        let added: usize = changes.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut out = Vec::with_capacity(self.body.len() + added);
        let range_of = |key: &str| self.fields.get(key);
        let mut replaced: Vec<_> = changes.iter().filter_map(|(key, value)| Some((range_of(key)?, value))).collect();
        replaced.sort_by_key(|(span, _)| span.start);
        let mut done = 0;
        for (span, value) in replaced {
            out.extend_from_slice(&self.body[done..span.start]);
            out.extend_from_slice(value.as_bytes());
            done = span.end;
        }
        out.extend_from_slice(&self.body[done..self.end]);
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

/// The bytes of one field of the object `body`; `None` when the body is not a complete object, or
/// has the field never or twice. The other fields are not stored.
pub(crate) fn find_field<'a>(body: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut scan = JsonScanner { body, position: 0 };
    let mut found = None;
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
    fn what_is_not_a_complete_object_is_refused() {
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
        /// Changing a field in the text equals changing it in the parsed object, for compact and
        /// for pretty-printed text.
        #[test]
        fn a_replaced_field_equals_a_changed_value(
            object in prop::collection::btree_map("[a-e\"\\\\é]{1,3}", json(), 0..6),
            key in "[a-e]{1,2}",
            new in json(),
            pretty: bool,
        ) {
            let mut value = Value::Object(object.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            let changed = JsonFields::scan(text.as_bytes()).unwrap().with_changes(&[(&key, new.to_string())]);
            value[&key] = new;
            prop_assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), value);
        }

        #[test]
        fn no_body_makes_it_panic(body in "[{}\\[\\]\",:\\\\a1 ]{0,30}") {
            if let Ok(fields) = JsonFields::scan(body.as_bytes()) {
                prop_assert_eq!(fields.with_changes(&[]), body.as_bytes());
            }
        }
    }
}
