//! JSON text in the format of Python's `json.dumps(value, ensure_ascii=False)`, which the authors
//! use for JSON in prompts.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Serializes `value` with the separators `, ` and `: `, keys in their order, non-ASCII unescaped,
/// and floats as Python prints them after parsing: `1e5` is `100000.0`, `1.50` is `1.5`,
/// `1e16` is `1e+16`.
pub fn python_json(value: &Value) -> String {
    let mut out = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut out, PythonFormatter)).expect("writing to memory cannot fail");
    String::from_utf8(out).expect("JSON is UTF-8")
}

/// A JSON string literal: `text` in quotes, escaped.
pub(crate) fn json_string(text: &str) -> String {
    python_json(&Value::from(text))
}

struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        out.write_all(python_float(value).as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => out.write_all(b"\\\""),
            CharEscape::ReverseSolidus => out.write_all(b"\\\\"),
            CharEscape::Solidus => out.write_all(b"/"),
            CharEscape::Backspace => out.write_all(b"\\b"),
            CharEscape::FormFeed => out.write_all(b"\\f"),
            CharEscape::LineFeed => out.write_all(b"\\n"),
            CharEscape::CarriageReturn => out.write_all(b"\\r"),
            CharEscape::Tab => out.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(out, "\\u{byte:04x}"),
        }
    }
}

/// Python's `repr` of a float: the shortest digits that parse to the same number, with an exponent
/// below 1e-4 and from 1e16.
fn python_float(value: f64) -> String {
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let shortest = format!("{value:e}");
    let Some((digits, exponent)) = shortest.split_once('e') else { return shortest };
    let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
    format!("{digits}e{sign}{size:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_python_prints_them() {
        for (json, python) in [
            ("1e5", "100000.0"),
            ("1.50", "1.5"),
            ("1", "1"),
            ("-0.0", "-0.0"),
            ("1e-4", "0.0001"),
            ("1e-5", "1e-05"),
            ("1.25e-7", "1.25e-07"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("123456789012345678", "123456789012345678"),
            ("1e16", "1e+16"),
            ("1.5e300", "1.5e+300"),
            ("0.1", "0.1"),
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(python_json(&value), python, "{json}");
        }
    }

    #[test]
    fn separators_order_and_escapes_are_those_of_json_dumps() {
        let value: Value =
            serde_json::from_str(r#"{"b":[1,true,null],"a":{"ü":"é\n\"\\\u0001\u007f<b>/"},"e":[],"o":{}}"#).unwrap();
        let python =
            "{\"b\": [1, true, null], \"a\": {\"ü\": \"é\\n\\\"\\\\\\u0001\u{7f}<b>/\"}, \"e\": [], \"o\": {}}";
        assert_eq!(python_json(&value), python);
    }
}
