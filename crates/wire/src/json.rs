//! JSON as strict as the API wants it: UTF-8, no repeated keys, no lone surrogates, at most 128 levels deep, and not so many
//! values that reading them takes gigabytes.

use std::cell::Cell;
use std::fmt;

use chat::Error;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};

const MAX_DEPTH: usize = 128;
/// A value of two bytes (`0,`) takes 72 in memory: without a bound 32 MiB of them would take more than a gigabyte.
/// 4096 messages and 128 tools with a hundred parameters each stay far below.
const MAX_VALUES: usize = 1_000_000;

/// Parses a whole body; a byte order mark in front is skipped.
///
/// # Errors
/// `Invalid`: `Failed to parse the request body as JSON: ` and the place and reason.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    let fault = |reason: String| Error::invalid(format!("Failed to parse the request body as JSON: {reason}"));
    let text = std::str::from_utf8(body).map_err(|e| fault(format!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    let mut json = Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    // Our own count replaces serde_json's, which stops one level early.
    json.disable_recursion_limit();
    let value =
        Tree { depth: 0, left: &Cell::new(MAX_VALUES) }.deserialize(&mut json).map_err(|e| fault(e.to_string()))?;
    json.end().map_err(|e| fault(e.to_string()))?;
    Ok(value)
}

/// A call's arguments as an object; what is none is handed on as it came (API document 3.2).
pub(crate) fn arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ if text.trim().is_empty() => Value::Object(Map::new()),
        _ => Value::Object(Map::from_iter([("_raw".to_owned(), text.into())])),
    }
}

/// Builds a value that stands inside `depth` lists and objects, and may be the first of `left` more.
#[derive(Clone, Copy)]
struct Tree<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Tree<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth {
            MAX_DEPTH => Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels"))),
            depth => Ok(Self { depth: depth + 1, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom(format!("more than {MAX_VALUES} values")))?);
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(deeper)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if values.contains_key(&key) {
                return Err(A::Error::custom(format!("repeated key {key:.64?}")));
            }
            values.insert(key, object.next_value_seed(deeper)?);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &[u8]) -> String {
        let message = parse(body).expect_err("this body is refused").message;
        message.strip_prefix("Failed to parse the request body as JSON: ").expect("the prefix stands").to_owned()
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(parse(b"\xef\xbb\xbf[1]").unwrap(), serde_json::json!([1]));
    }

    #[test]
    fn text_that_is_no_json_is_refused_with_its_place() {
        assert_eq!(refusal(b"[\"\xff\xfe\"]"), "invalid UTF-8 at byte 2");
        assert!(refusal(b"{\"messages\":[").contains("line 1 column 13"));
        assert!(refusal(b"").starts_with("EOF"));
        assert!(refusal(b"{} x").starts_with("trailing characters"));
        assert!(refusal(br#"["\ud800"]"#).contains("surrogate") || refusal(br#"["\ud800"]"#).contains("hex escape"));
        for literal in ["NaN", "Infinity", "-Infinity", "1e999", "01", "{a:1}", "[1,]", "'x'"] {
            refusal(literal.as_bytes());
        }
    }

    #[test]
    fn a_repeated_key_is_refused_at_any_level() {
        assert!(refusal(br#"{"a":1,"a":1}"#).starts_with("repeated key \"a\""));
        assert!(refusal(br#"[{"x":{"b":null,"b":2}}]"#).starts_with("repeated key \"b\""));
    }

    #[test]
    fn exactly_128_levels_are_accepted() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        parse(nested(128).as_bytes()).unwrap();
        assert!(refusal(nested(129).as_bytes()).starts_with("nested deeper than 128 levels"));
        assert!(refusal("[".repeat(1_000_000).as_bytes()).starts_with("nested deeper than 128 levels"));
    }

    #[test]
    fn more_values_than_memory_should_hold_are_refused() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        parse(list(MAX_VALUES - 1).as_bytes()).unwrap();
        assert!(refusal(list(MAX_VALUES).as_bytes()).starts_with("more than 1000000 values"));
    }

    #[test]
    fn keys_keep_the_callers_order() {
        let text = r#"{"z":1,"a":{"y":2,"b":3}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }
}
