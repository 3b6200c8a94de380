//! A strict JSON parser: UTF-8 without repeated keys or lone surrogates, at most 128 levels deep,
//! and with a limit on the number of values, so that parsing does not take gigabytes.

use std::cell::{Cell, RefCell};
use std::fmt;

use chat::Error;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Deserializer, Map, Number, Value};

/// Maximum levels of nesting.
const MAX_DEPTH: usize = 128;
/// Maximum number of values. A value of two bytes (`0,`) takes 72 bytes in memory, so that 32 MiB
/// of them would take more than a gigabyte. A request with 4096 messages and 128 tools of a hundred
/// parameters each stays far below.
const MAX_VALUES: usize = 1_000_000;
/// Maximum number of fields of one object: a `logit_bias` may name every token of a vocabulary.
const MAX_FIELDS: usize = 1 << 17;
/// Minimum number of bytes for which memory is reserved at once.
const RESERVE_STEP_BYTES: usize = 64 << 10;
/// Bytes of a value.
const VALUE_BYTES: usize = size_of::<Value>();
/// Bytes of a field of an object: hash, name, value and table slots.
const FIELD_BYTES: usize = size_of::<u64>() + size_of::<String>() + VALUE_BYTES + 2 * size_of::<usize>();
/// Bytes that the allocator adds to each allocation.
const ALLOCATION_OVERHEAD: usize = 16;

/// Parses a whole body. A leading byte order mark is skipped.
///
/// # Errors
/// `InvalidRequest`: `Failed to parse the request body as JSON: ` with position and reason.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    parse_with_budget(body, &mut |_| Ok(()))
}

/// Parses a whole body. `reserve` is called with numbers of bytes before the parsed
/// tree takes them.
///
/// # Errors
/// As [`parse`], and the errors of `reserve`.
pub fn parse_with_budget(body: &[u8], reserve: &mut dyn FnMut(usize) -> Result<(), Error>) -> Result<Value, Error> {
    let parse_error = |reason: String| Error::invalid(format!("Failed to parse the request body as JSON: {reason}"));
    let text =
        std::str::from_utf8(body).map_err(|e| parse_error(format!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    let mut json = Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    // `ValueSeed` counts the depth; serde_json's limit is one level lower.
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

/// The limits on the values and the memory of a tree, and the use so far.
struct ParseBudget<'a> {
    /// Number of values that may follow.
    values_left: Cell<usize>,
    /// Number of bytes that are not reserved yet.
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

/// Builds a value inside `depth` lists and objects.
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
                // The capacity is 1, 4, 8 and so on, so that nested lists of one value do
                // not reserve four.
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
        // The capacity of the table is 3, 7, 14, 28 and so on.
        let mut capacity = 0;
        while let Some(key) = object.next_key::<String>()? {
            if values.len() == MAX_FIELDS {
                return Err(A::Error::custom(format!("an object of more than {MAX_FIELDS} fields")));
            }
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
    fn text_that_is_not_json_is_refused_with_its_position() {
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

    #[test]
    fn an_object_may_have_a_field_for_every_token_and_not_many_more() {
        let object = |fields: usize| {
            let fields: Vec<String> = (0..fields).map(|n| format!("\"{n}\":0")).collect();
            format!("[{{{}}}]", fields.join(","))
        };
        parse(object(MAX_FIELDS).as_bytes()).unwrap();
        assert!(parse_error(object(MAX_FIELDS + 1).as_bytes()).starts_with("an object of more than 131072 fields"));
    }

    /// Parses with a budget of `limit` bytes. Returns the number of bytes charged, and the error.
    fn parse_with_limit(body: &str, limit: usize) -> (usize, Option<Error>) {
        let mut charged = 0;
        let full = || Error::new(chat::ErrorKind::Overloaded, "full");
        let result = parse_with_budget(body.as_bytes(), &mut |bytes| {
            charged += bytes;
            if charged > limit { Err(full()) } else { Ok(()) }
        });
        (charged, result.err())
    }

    #[test]
    fn a_tree_is_charged_for_its_memory() {
        // An object of one field takes a table and a vector for three, and the name.
        let (objects, _) = parse_with_limit(&format!("[{}0]", r#"{"a":0},"#.repeat(100_000)), usize::MAX);
        assert!((45_000_000..70_000_000).contains(&objects), "{objects}");
        let (numbers, _) = parse_with_limit(&format!("[{}0]", "0,".repeat(100_000)), usize::MAX);
        assert!((7_200_000..15_000_000).contains(&numbers), "{numbers}");
        let (text, _) = parse_with_limit(&format!("[\"{}\"]", "x".repeat(1_000_000)), usize::MAX);
        assert!((1_000_000..1_010_000).contains(&text), "{text}");
    }

    #[test]
    fn a_tree_beyond_the_budget_is_refused_with_the_budgets_error_before_it_is_built() {
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
