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
    /// The fields by name. The map hashes with random keys, because an attacker may choose names
    /// that collide.
    fields: HashMap<Cow<'a, str>, FieldSpan>,
    /// The position of the closing `}`.
    end: usize,
}

/// The position of a field.
#[derive(Clone, Debug)]
struct FieldSpan {
    name_start: usize,
    value: Range<usize>,
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
                scan.peek()?;
                let name_start = scan.position;
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
                field.insert(FieldSpan { name_start, value: from..scan.position });
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
        Some(&self.body[self.fields.get(key)?.value.clone()])
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
        let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, Some(value.as_str()))).collect();
        self.edited(&changes)
    }

    /// Returns the body with changed fields. Each is replaced in place, added at the end, or, where
    /// its new value is `None`, removed.
    pub fn with_edits(&self, edits: &[(String, Option<String>)]) -> Vec<u8> {
        let edits: Vec<_> = edits.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        self.edited(&edits)
    }

    fn edited(&self, edits: &[(&str, Option<&str>)]) -> Vec<u8> {
        let added: usize = edits.iter().map(|(name, value)| name.len() + value.map_or(0, str::len) + 4).sum();
        let mut out = Vec::with_capacity(self.body.len() + added);
        let is_removal = |(name, value): &(&str, Option<&str>)| value.is_none() && self.fields.contains_key(*name);
        let mut has_fields = if edits.iter().any(is_removal) {
            self.write_kept(edits, &mut out)
        } else {
            self.write_replaced(edits, &mut out);
            !self.fields.is_empty()
        };
        for (name, value) in edits.iter().filter(|(name, _)| !self.fields.contains_key(*name)) {
            let Some(value) = value else { continue };
            if std::mem::replace(&mut has_fields, true) {
                out.push(b',');
            }
            out.extend_from_slice(Value::from(*name).to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(&self.body[self.end..]);
        out
    }

    /// Writes the body up to its end with replaced values.
    fn write_replaced(&self, edits: &[(&str, Option<&str>)], out: &mut Vec<u8>) {
        let replaced = edits.iter().filter_map(|(name, value)| Some((&self.fields.get(*name)?.value, (*value)?)));
        let mut replaced: Vec<_> = replaced.collect();
        replaced.sort_by_key(|(span, _)| span.start);
        let mut done = 0;
        for (span, value) in replaced {
            out.extend_from_slice(&self.body[done..span.start]);
            out.extend_from_slice(value.as_bytes());
            done = span.end;
        }
        out.extend_from_slice(&self.body[done..self.end]);
    }

    /// Writes the body up to its end without removed fields and with replaced values. Returns
    /// whether a field is left.
    fn write_kept(&self, edits: &[(&str, Option<&str>)], out: &mut Vec<u8>) -> bool {
        let edits: HashMap<_, _> = edits.iter().copied().collect();
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by_key(|(_, span)| span.name_start);
        let mut done = fields.first().map_or(self.end, |(_, span)| span.name_start);
        out.extend_from_slice(&self.body[..done]);
        let mut has_fields = false;
        for (name, FieldSpan { name_start, value }) in fields {
            let edit = edits.get(name.as_ref());
            if edit != Some(&None) {
                // The separator from the field before stands in front of the name.
                let from = if std::mem::replace(&mut has_fields, true) { done } else { *name_start };
                out.extend_from_slice(&self.body[from..value.start]);
                out.extend_from_slice(edit.copied().flatten().map_or(&self.body[value.clone()], str::as_bytes));
            }
            done = value.end;
        }
        out.extend_from_slice(&self.body[done..self.end]);
        has_fields
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
    fn fields_are_removed_with_their_separators() {
        let edited = |body: &str, edits: &[(&str, Option<&str>)]| {
            let edits: Vec<_> = edits.iter().map(|(name, value)| ((*name).into(), value.map(str::to_owned))).collect();
            String::from_utf8(JsonFields::scan(body.as_bytes()).unwrap().with_edits(&edits)).unwrap()
        };
        let body = r#" { "a": 1 , "b":[2], "c" :3 } "#;
        for (edits, want) in [
            (&[("a", None)][..], r#" { "b":[2], "c" :3 } "#),
            (&[("b", None)], r#" { "a": 1, "c" :3 } "#),
            (&[("c", None)], r#" { "a": 1 , "b":[2] } "#),
            (&[("a", None), ("b", None), ("c", None)], r#" {  } "#),
            (&[("a", None), ("c", Some("4")), ("d", Some("5"))], r#" { "b":[2], "c" :4 ,"d":5} "#),
            (&[("a", None), ("b", None), ("c", None), ("d", Some("5"))], r#" {  "d":5} "#),
            (&[("x", None)], body),
        ] {
            assert_eq!(edited(body, edits), want, "{edits:?}");
        }
        assert_eq!(edited("{}", &[("x", None), ("y", Some("1"))]), r#"{"y":1}"#);
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
        fn a_removed_field_is_the_only_one_that_is_missing(
            names in prop::collection::btree_set("[a-e]", 1..5), removed in "[a-e]", value in "[0-9]{1,3}",
        ) {
            let body: Vec<String> = names.iter().map(|name| format!(" \"{name}\" : {{\"x\":1}} ")).collect();
            let body = format!("{{{}}}", body.join(","));
            let edits = [(removed.clone(), None), ("new".to_owned(), Some(format!("1{value}")))];
            let edited = JsonFields::scan(body.as_bytes()).unwrap().with_edits(&edits);
            let edited: Value = serde_json::from_slice(&edited).unwrap();
            let mut want: Value = serde_json::from_str(&body).unwrap();
            want.as_object_mut().unwrap().remove(&removed);
            want["new"] = serde_json::from_str(&format!("1{value}")).unwrap();
            prop_assert_eq!(edited, want);
        }

        #[test]
        fn no_body_makes_it_panic(body in "[{}\\[\\]\",:\\\\a1 ]{0,30}") {
            if let Ok(fields) = JsonFields::scan(body.as_bytes()) {
                prop_assert_eq!(fields.with_changes(&[]), body.as_bytes());
            }
        }
    }
}
