//! Input: a JSON or multipart body that is forwarded. Unchanged bytes stay as they are, changed
//! fields are read back, and a scanned body has the fields that the strict parser reads.
#![no_main]

use fuzzing::{split_control, within_time_limit};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use wire::passthrough::json_fields::JsonFields;
use wire::passthrough::multipart_fields::MultipartFields;

/// Names of fields that are read or changed, also of absent ones.
const NAMES: [&str; 8] = ["model", "stream", "stream_options", "messages", "max_tokens", "a", "é\"\\", "added"];
const VALUES: [&str; 4] = ["\"other\"", "{\"include_usage\":true}", "17", "[\"}\",{}]"];
const TYPES: [&str; 4] = [
    "multipart/form-data; boundary=x",
    "multipart/form-data; charset=utf-8; boundary=\"x y\"",
    "multipart/form-data; boundary=--",
    "multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234567890123456789",
];

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [name, value])) = split_control(input) else { return };
    let name = NAMES[usize::from(name) % NAMES.len()];
    within_time_limit(bytes.len(), || {
        check_json(bytes, name, VALUES[usize::from(value) % VALUES.len()]);
        for content_type in TYPES {
            check_form(content_type, bytes, name);
        }
        // The first line is used as a content type.
        let (line, body) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0));
        check_form(&String::from_utf8_lossy(line), body, name);
    });
});

fn check_json(bytes: &[u8], name: &str, value: &str) {
    let parsed = wire::json::parse(bytes).ok();
    let Ok(fields) = JsonFields::scan(bytes) else {
        assert!(!matches!(parsed, Some(Value::Object(_))), "a valid object is scanned");
        return;
    };
    if let Some(parsed) = parsed {
        for (name, value) in parsed.as_object().expect("a scanned body is an object") {
            assert_eq!(fields.value(name).unwrap_or_default(), *value, "{name:?}");
        }
    }
    assert_eq!(fields.with_changes(&[]), bytes);
    let changed = fields.with_changes(&[(name, value.to_owned())]);
    assert_eq!(changed, with_field_replaced(bytes, &fields, name, value), "all other bytes stay");
    let again = JsonFields::scan(&changed).expect("a changed object is valid");
    for known in NAMES {
        let expected = if known == name { Some(value.as_bytes()) } else { fields.get(known) };
        assert_eq!(again.get(known), expected, "{known:?}");
    }
    let all: Vec<_> = NAMES.iter().map(|name| (*name, value.to_owned())).collect();
    let (changed, mut one_by_one) = (fields.with_changes(&all), bytes.to_vec());
    for change in &all {
        one_by_one = JsonFields::scan(&one_by_one).expect("a changed object is valid").with_changes(&[change.clone()]);
    }
    assert_eq!(changed, one_by_one, "changes at once equal changes one by one");
}

/// The expected bytes with another value of one field.
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

fn check_form(content_type: &str, bytes: &[u8], name: &str) {
    let Ok(form) = MultipartFields::scan(content_type, bytes) else { return };
    // A name without characters that need escapes.
    let name = if name.is_ascii() { name } else { "a" };
    match form.get(name) {
        Some(_) => {
            let changed = form.with_value(name, "other");
            let again = MultipartFields::scan(content_type, &changed).expect("a changed form is valid");
            assert_eq!(again.text(name).as_deref(), Some("other"));
            for known in NAMES.into_iter().filter(|known| *known != name) {
                assert_eq!(again.get(known), form.get(known), "{known}");
            }
            assert!(
                MultipartFields::scan(content_type, &form.with_added_field(name, "v")).is_err(),
                "a repeated field is refused"
            );
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
