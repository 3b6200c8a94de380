//! JSON as strict as the API wants it: UTF-8, no repeated keys, no lone surrogates, at most 128
//! levels deep, and not so many values that reading them takes gigabytes.

use std::cell::{Cell, RefCell};
use std::fmt;

use chat::Error;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Deserializer, Map, Number, Value};

const MAX_DEPTH: usize = 128;
/// A value of two bytes (`0,`) takes 72 in memory: without a bound 32 MiB of them would take more
/// than a gigabyte. 4096 messages and 128 tools with a hundred parameters each stay far below.
const MAX_VALUES: usize = 1_000_000;
/// Memory is asked for in pieces of at least so many bytes.
const RESERVE_STEP_BYTES: usize = 64 << 10;
/// Bytes of a value, and of a field of an object: its hash, name and value, and its
/// places in the table.
const VALUE_BYTES: usize = size_of::<Value>();
const FIELD_BYTES: usize = size_of::<u64>() + size_of::<String>() + VALUE_BYTES + 2 * size_of::<usize>();
/// Bytes that the allocator adds to each allocation.
const ALLOCATION_OVERHEAD: usize = 16;

/// Parses a whole body; a byte order mark in front is skipped.
///
/// # Errors
/// `Invalid`: `Failed to parse the request body as JSON: ` and the place and reason.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    parse_with_budget(body, &mut |_| Ok(()))
}

/// The same; `reserve` is asked for the memory of the parsed tree before it is used.
///
/// # Errors
/// As [`parse`]; those of `reserve`.
pub fn parse_with_budget(body: &[u8], reserve: &mut dyn FnMut(usize) -> Result<(), Error>) -> Result<Value, Error> {
    let parse_error = |reason: String| Error::invalid(format!("Failed to parse the request body as JSON: {reason}"));
    let text =
        std::str::from_utf8(body).map_err(|e| parse_error(format!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    let mut json = Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    // Our own count replaces serde_json's, which stops one level early.
    json.disable_recursion_limit();
    let budget = ParseBudget {
        values_left: Cell::new(MAX_VALUES),
        unreserved_bytes: Cell::new(0),
        reserve: RefCell::new(reserve),
        refused: Cell::default(),
    };
    let parsed = ValueSeed { depth: 0, budget: &budget }.deserialize(&mut json);
    if let Some(refused) = budget.refused.take() {
        return Err(refused);
    }
    let value = parsed.map_err(|e| parse_error(e.to_string()))?;
    json.end().map_err(|e| parse_error(e.to_string()))?;
    budget.reserve.into_inner()(budget.unreserved_bytes.get())?;
    Ok(value)
}

/// The values and the memory of a tree: the bounds, and the use so far.
struct ParseBudget<'a> {
    /// Values that may follow.
    values_left: Cell<usize>,
    /// Bytes that were not asked for yet.
    unreserved_bytes: Cell<usize>,
    reserve: RefCell<&'a mut dyn FnMut(usize) -> Result<(), Error>>,
    refused: Cell<Option<Error>>,
}

impl ParseBudget<'_> {
    fn charge<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let bytes_due = self.unreserved_bytes.get().saturating_add(bytes);
        self.unreserved_bytes.set(bytes_due);
        if bytes_due < RESERVE_STEP_BYTES {
            return Ok(());
        }
        self.unreserved_bytes.set(0);
        (self.reserve.borrow_mut())(bytes_due).map_err(|error| {
            self.refused.set(Some(error));
            E::custom("refused")
        })
    }

    fn charge_string<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        self.charge(text.len() + ALLOCATION_OVERHEAD)
    }
}

/// A call's arguments as an object; what is none is handed on as it came (API document 3.2).
pub(crate) fn parse_tool_arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ if text.trim().is_empty() => Value::Object(Map::new()),
        _ => Value::Object(Map::from_iter([("_raw".to_owned(), text.into())])),
    }
}

/// Builds a value that stands inside `depth` lists and objects.
#[derive(Clone, Copy)]
struct ValueSeed<'a, 'c> {
    depth: usize,
    budget: &'a ParseBudget<'c>,
}

impl ValueSeed<'_, '_> {
    fn nested<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth {
            MAX_DEPTH => Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels"))),
            depth => Ok(Self { depth: depth + 1, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        let left = self.budget.values_left.get().checked_sub(1);
        self.budget.values_left.set(left.ok_or_else(|| D::Error::custom(format!("more than {MAX_VALUES} values")))?);
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, '_> {
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

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.budget.charge_string(value)?;
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let nested = self.nested()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(nested)? {
            if values.len() == values.capacity() {
                // Room for 1, 4, 8 and so on: a list of one value, as in nested lists, takes
                // no room for four.
                let more = if values.is_empty() { 1 } else { values.len().max(3) };
                self.budget.charge(more * VALUE_BYTES + ALLOCATION_OVERHEAD)?;
                values.reserve_exact(more);
            }
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let nested = self.nested()?;
        let mut values = Map::new();
        // Its table has room for 3, 7, 14, 28 and so on.
        let mut capacity = 0;
        while let Some(key) = object.next_key::<String>()? {
            if values.len() == capacity {
                let more = if capacity < 4 { 3 + capacity / 3 } else { capacity };
                self.budget.charge(more * FIELD_BYTES + 4 * ALLOCATION_OVERHEAD)?;
                capacity += more;
            }
            self.budget.charge_string(&key)?;
            match values.entry(key) {
                Entry::Vacant(field) => field.insert(object.next_value_seed(nested)?),
                Entry::Occupied(field) => {
                    return Err(A::Error::custom(format!("repeated key {:.64?}", field.key())));
                }
            };
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error(body: &[u8]) -> String {
        let message = parse(body).expect_err("this body is refused").message;
        message.strip_prefix("Failed to parse the request body as JSON: ").expect("the prefix stands").to_owned()
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(parse(b"\xef\xbb\xbf[1]").unwrap(), serde_json::json!([1]));
    }

    #[test]
    fn text_that_is_no_json_is_refused_with_its_place() {
        assert_eq!(parse_error(b"[\"\xff\xfe\"]"), "invalid UTF-8 at byte 2");
        assert!(parse_error(b"{\"messages\":[").contains("line 1 column 13"));
        assert!(parse_error(b"").starts_with("EOF"));
        assert!(parse_error(b"{} x").starts_with("trailing characters"));
        assert!(
            parse_error(br#"["\ud800"]"#).contains("surrogate") || parse_error(br#"["\ud800"]"#).contains("hex escape")
        );
        for literal in ["NaN", "Infinity", "-Infinity", "1e999", "01", "{a:1}", "[1,]", "'x'"] {
            parse_error(literal.as_bytes());
        }
    }

    #[test]
    fn a_repeated_key_is_refused_at_any_level() {
        assert!(parse_error(br#"{"a":1,"a":1}"#).starts_with("repeated key \"a\""));
        assert!(parse_error(br#"[{"x":{"b":null,"b":2}}]"#).starts_with("repeated key \"b\""));
    }

    #[test]
    fn exactly_128_levels_are_accepted() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        parse(nested(128).as_bytes()).unwrap();
        assert!(parse_error(nested(129).as_bytes()).starts_with("nested deeper than 128 levels"));
        assert!(parse_error("[".repeat(1_000_000).as_bytes()).starts_with("nested deeper than 128 levels"));
    }

    #[test]
    fn more_values_than_memory_should_hold_are_refused() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        parse(list(MAX_VALUES - 1).as_bytes()).unwrap();
        assert!(parse_error(list(MAX_VALUES).as_bytes()).starts_with("more than 1000000 values"));
    }

    /// Parses with a budget of `most` bytes, and returns the bytes that were charged.
    fn parse_with_limit(body: &str, most: usize) -> (usize, Option<Error>) {
        let mut charged = 0;
        let full = || Error::new(chat::ErrorKind::Overloaded, "full");
        let result = parse_with_budget(body.as_bytes(), &mut |bytes| {
            charged += bytes;
            if charged > most { Err(full()) } else { Ok(()) }
        });
        (charged, result.err())
    }

    #[test]
    fn a_tree_is_charged_at_what_it_takes() {
        // An object of one field takes a table and a vector for three, and the name.
        let (objects, _) = parse_with_limit(&format!("[{}0]", r#"{"a":0},"#.repeat(100_000)), usize::MAX);
        assert!((45_000_000..70_000_000).contains(&objects), "{objects}");
        let (numbers, _) = parse_with_limit(&format!("[{}0]", "0,".repeat(100_000)), usize::MAX);
        assert!((7_200_000..15_000_000).contains(&numbers), "{numbers}");
        let (text, _) = parse_with_limit(&format!("[\"{}\"]", "x".repeat(1_000_000)), usize::MAX);
        assert!((1_000_000..1_010_000).contains(&text), "{text}");
    }

    #[test]
    fn a_tree_beyond_the_budget_is_refused_with_the_budgets_words_before_it_is_built() {
        let (charged, error) = parse_with_limit(&format!("[{}0]", r#"{"a":0},"#.repeat(400_000)), 1_000_000);
        assert_eq!(error.unwrap().message, "full");
        assert!(charged < 2_000_000, "{charged}");
    }

    #[test]
    fn keys_keep_the_callers_order() {
        let text = r#"{"z":1,"a":{"y":2,"b":3}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }
}
