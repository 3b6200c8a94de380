//! Any bytes are a body or a form that is spliced: what is not changed comes out as it went in,
//! what is changed is read back, and a scanned body says what a parser reads.
#![no_main]

use fuzzing::{bounded, steered};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wire::passthrough::multipart_fields::Form;
use wire::passthrough::json_fields::Fields;

/// Fields that are read or changed, some of which no body has.
const NAMES: [&str; 8] = ["model", "stream", "stream_options", "messages", "max_tokens", "a", "é\"\\", "added"];
const VALUES: [&str; 4] = ["\"other\"", "{\"include_usage\":true}", "17", "[\"}\",{}]"];
const TYPES: [&str; 4] = [
    "multipart/form-data; boundary=x",
    "multipart/form-data; charset=utf-8; boundary=\"x y\"",
    "multipart/form-data; boundary=--",
    "multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234567890123456789",
];

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [name, value])) = steered(input) else { return };
    let name = NAMES[usize::from(name) % NAMES.len()];
    bounded(bytes.len(), || {
        json(bytes, name, VALUES[usize::from(value) % VALUES.len()]);
        for content_type in TYPES {
            form(content_type, bytes, name);
        }
        // Any first line is a type.
        let (line, body) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
        form(&String::from_utf8_lossy(line), body, name);
    });
});

fn json(bytes: &[u8], name: &str, value: &str) {
    let parsed = wire::json::parse(bytes).ok();
    let Ok(fields) = JsonFields::scan(bytes) else {
        assert!(!matches!(parsed, Some(Value::Object(_))), "a sound object is scanned");
        return;
    };
    if let Some(parsed) = parsed {
        for (name, value) in parsed.as_object().expect("what is scanned is an object") {
            assert_eq!(fields.value(name).unwrap_or_default(), *value, "{name:?}");
        }
    }
    assert_eq!(fields.with_changes(&[]), bytes);
    let changed = fields.with_changes(&[(name, value.to_owned())]);
    assert_eq!(changed, with_field_replaced(bytes, &fields, name, value), "all other bytes stay");
    let again = JsonFields::scan(&changed).expect("a changed object is one still");
    for known in NAMES {
        let expected = if known == name { Some(value.as_bytes()) } else { fields.get(known) };
        assert_eq!(again.get(known), expected, "{known:?}");
    }
    let all: Vec<_> = NAMES.iter().map(|name| (*name, value.to_owned())).collect();
    let (changed, mut one_by_one) = (fields.with_changes(&all), bytes.to_vec());
    for change in &all {
        one_by_one = JsonFields::scan(&one_by_one).expect("a changed object is one still").with_changes(&[change.clone()]);
    }
    assert_eq!(changed, one_by_one, "changes at once are those one by one");
}

/// The bytes with another value of one field.
fn with_field_replaced(bytes: &[u8], fields: &JsonFields<'_>, name: &str, value: &str) -> Vec<u8> {
    if let Some(old) = fields.get(name) {
        let from = old.as_ptr() as usize - bytes.as_ptr() as usize;
        return [&bytes[..from], value.as_bytes(), &bytes[from + old.len()..]].concat();
    }
    let end = bytes.iter().rposition(|byte| *byte == b'}').expect("an object ends");
    let is_empty = bytes[..end].trim_ascii_end().ends_with(b"{");
    let field = format!("{}{}:{value}", if is_empty { "" } else { "," }, Value::from(name));
    [&bytes[..end], field.as_bytes(), &bytes[end..]].concat()
}

fn form(content_type: &str, bytes: &[u8], name: &str) {
    let Ok(form) = MultipartFields::scan(content_type, bytes) else { return };
    // A name that needs no escapes.
    let name = if name.is_ascii() { name } else { "a" };
    match form.get(name) {
        Some(_) => {
            let changed = form.with_value(name, "other");
            let again = MultipartFields::scan(content_type, &changed).expect("a changed form is one still");
            assert_eq!(again.text(name).as_deref(), Some("other"));
            for known in NAMES.into_iter().filter(|known| *known != name) {
                assert_eq!(again.get(known), form.get(known), "{known}");
            }
            assert!(MultipartFields::scan(content_type, &form.with_added_field(name, "v")).is_err(), "a field is there twice");
        }
        None => {
            assert_eq!(form.with_value(name, "other"), bytes);
            let added = form.with_added_field(name, "v");
            match MultipartFields::scan(content_type, &added) {
                Ok(again) => {
                    assert_eq!(again.text(name).as_deref(), Some("v"));
                    for known in NAMES.into_iter().filter(|known| *known != name) {
                        assert_eq!(again.get(known), form.get(known), "{known}");
                    }
                }
                Err(error) => assert!(error.message.contains("too many parts"), "{}", error.message),
            }
        }
    }
}
