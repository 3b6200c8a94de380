//! JSON as strict as the API wants it: UTF-8, no repeated keys, no lone surrogates, at most 128 levels deep, and not so many
//! values that reading them takes gigabytes.

use std::cell::{Cell, RefCell};
use std::fmt;

use chat::Error;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Deserializer, Map, Number, Value};

const MAX_DEPTH: usize = 128;
/// A value of two bytes (`0,`) takes 72 in memory: without a bound 32 MiB of them would take more than a gigabyte.
/// 4096 messages and 128 tools with a hundred parameters each stay far below.
const MAX_VALUES: usize = 1_000_000;
/// Memory is asked for in pieces of at least so many bytes.
const CHARGE: usize = 64 << 10;
/// Bytes of a value, and of a field of an object: its hash, name and value, and its places in the table.
const VALUE: usize = size_of::<Value>();
const FIELD: usize = size_of::<u64>() + size_of::<String>() + VALUE + 2 * size_of::<usize>();
/// Bytes that the allocator adds to each allocation.
const PIECE: usize = 16;

/// Parses a whole body; a byte order mark in front is skipped.
///
/// # Errors
/// `Invalid`: `Failed to parse the request body as JSON: ` and the place and reason.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    parse_within(body, &mut |_| Ok(()))
}

/// The same; `charge` is asked for the memory of the parsed tree before it is used.
///
/// # Errors
/// As [`parse`]; those of `charge`.
pub fn parse_within(body: &[u8], charge: &mut dyn FnMut(usize) -> Result<(), Error>) -> Result<Value, Error> {
    let fault = |reason: String| Error::invalid(format!("Failed to parse the request body as JSON: {reason}"));
    let text = std::str::from_utf8(body).map_err(|e| fault(format!("invalid UTF-8 at byte {}", e.valid_up_to())))?;
    let mut json = Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    // Our own count replaces serde_json's, which stops one level early.
    json.disable_recursion_limit();
    let costs = Costs {
        left: Cell::new(MAX_VALUES),
        due: Cell::new(0),
        charge: RefCell::new(charge),
        refused: Cell::default(),
    };
    let parsed = Tree { depth: 0, costs: &costs }.deserialize(&mut json);
    if let Some(refused) = costs.refused.take() {
        return Err(refused);
    }
    let value = parsed.map_err(|e| fault(e.to_string()))?;
    json.end().map_err(|e| fault(e.to_string()))?;
    costs.charge.into_inner()(costs.due.get())?;
    Ok(value)
}

/// The values and the memory of a tree: the bounds, and the use so far.
struct Costs<'a> {
    /// Values that may follow.
    left: Cell<usize>,
    /// Bytes that were not asked for yet.
    due: Cell<usize>,
    charge: RefCell<&'a mut dyn FnMut(usize) -> Result<(), Error>>,
    refused: Cell<Option<Error>>,
}

impl Costs<'_> {
    fn take<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        let due = self.due.get().saturating_add(bytes);
        self.due.set(due);
        if due < CHARGE {
            return Ok(());
        }
        self.due.set(0);
        (self.charge.borrow_mut())(due).map_err(|error| {
            self.refused.set(Some(error));
            E::custom("refused")
        })
    }

    fn string<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        self.take(text.len() + PIECE)
    }
}

/// A call's arguments as an object; what is none is handed on as it came (API document 3.2).
pub(crate) fn arguments(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(object @ Value::Object(_)) => object,
        _ if text.trim().is_empty() => Value::Object(Map::new()),
        _ => Value::Object(Map::from_iter([("_raw".to_owned(), text.into())])),
    }
}

/// Builds a value that stands inside `depth` lists and objects.
#[derive(Clone, Copy)]
struct Tree<'a, 'c> {
    depth: usize,
    costs: &'a Costs<'c>,
}

impl Tree<'_, '_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth {
            MAX_DEPTH => Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels"))),
            depth => Ok(Self { depth: depth + 1, ..self }),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        let left = self.costs.left.get().checked_sub(1);
        self.costs.left.set(left.ok_or_else(|| D::Error::custom(format!("more than {MAX_VALUES} values")))?);
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_, '_> {
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
        self.costs.string(value)?;
        Ok(Value::String(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(deeper)? {
            if values.len() == values.capacity() {
                // Room for 1, 4, 8 and so on: a list of one value, as in nested lists, takes no room for four.
                let more = if values.is_empty() { 1 } else { values.len().max(3) };
                self.costs.take(more * VALUE + PIECE)?;
                values.reserve_exact(more);
            }
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut values = Map::new();
        // Its table has room for 3, 7, 14, 28 and so on.
        let mut room = 0;
        while let Some(key) = object.next_key::<String>()? {
            if values.len() == room {
                let more = if room < 4 { 3 + room / 3 } else { room };
                self.costs.take(more * FIELD + 4 * PIECE)?;
                room += more;
            }
            self.costs.string(&key)?;
            match values.entry(key) {
                Entry::Vacant(field) => field.insert(object.next_value_seed(deeper)?),
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

    /// Parses with a budget of `most` bytes, and returns the bytes that were charged.
    fn charged(body: &str, most: usize) -> (usize, Option<Error>) {
        let mut charged = 0;
        let full = || Error::new(chat::ErrorKind::Overload, "full");
        let result = parse_within(body.as_bytes(), &mut |bytes| {
            charged += bytes;
            if charged > most { Err(full()) } else { Ok(()) }
        });
        (charged, result.err())
    }

    #[test]
    fn a_tree_is_charged_at_what_it_takes() {
        // An object of one field takes a table and a vector for three, and the name.
        let (objects, _) = charged(&format!("[{}0]", r#"{"a":0},"#.repeat(100_000)), usize::MAX);
        assert!((45_000_000..70_000_000).contains(&objects), "{objects}");
        let (numbers, _) = charged(&format!("[{}0]", "0,".repeat(100_000)), usize::MAX);
        assert!((7_200_000..15_000_000).contains(&numbers), "{numbers}");
        let (text, _) = charged(&format!("[\"{}\"]", "x".repeat(1_000_000)), usize::MAX);
        assert!((1_000_000..1_010_000).contains(&text), "{text}");
    }

    #[test]
    fn a_tree_beyond_the_budget_is_refused_with_the_budgets_words_before_it_is_built() {
        let (charged, error) = charged(&format!("[{}0]", r#"{"a":0},"#.repeat(400_000)), 1_000_000);
        assert_eq!(error.unwrap().message, "full");
        assert!(charged < 2_000_000, "{charged}");
    }

    #[test]
    fn keys_keep_the_callers_order() {
        let text = r#"{"z":1,"a":{"y":2,"b":3}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }
}
