//! The tolerance of the DSML parser, fed character by character.

use super::*;
use serde_json::Value;

fn new_parser(tools: &[Tool]) -> DsmlParser {
    DsmlParser {
        marker: Some(9),
        tools: tools.to_vec(),
        state: ParserState::Content,
        pending: String::new(),
        tag: None,
        raw_block: String::new(),
        call_count: 0,
        current_call: (String::new(), 0),
    }
}

/// The content, `name arguments` of each call, and whether the last call is complete. `§`
/// stands for the marker.
fn read_with(tools: &[Tool], answer: &str, truncated: bool) -> (String, Vec<String>, bool) {
    let mut parser = new_parser(tools);
    let mut events = Vec::new();
    for letter in answer.chars() {
        match letter {
            '§' => parser.push_marker(9, DSML, &mut events),
            letter => parser.push_text(letter.encode_utf8(&mut [0; 4]), &mut events),
        }
    }
    let complete = parser.finish(truncated, &mut events);
    let (mut content, mut calls) = (String::new(), Vec::new());
    for event in events {
        match event {
            ParserEvent::Text(text) => content += &text,
            ParserEvent::Call { name } => calls.push(name + " "),
            ParserEvent::Arguments(text) => *calls.last_mut().unwrap() += &text,
        }
    }
    (content, calls, complete)
}

fn read(answer: &str) -> (String, Vec<String>) {
    let (content, calls, _) = read_with(&[], answer, false);
    (content, calls)
}

fn only_content(content: &str) -> (String, Vec<String>) {
    (content.into(), vec![])
}

#[test]
fn white_space_and_missing_parts_are_forgiven() {
    let call = "f {\"a\": \"x\", \"b\": 1}".to_owned();
    for answer in [
        "hi\n\n<§function_calls>\n<§invoke name=\"f\">\n<§parameter name=\"a\" string=\"true\">x</§parameter>\n<§parameter name=\"b\" string=\"false\">1</§parameter>\n</§invoke>\n</§function_calls>",
        "hi<§function_calls><§invoke name=\"f\"><§parameter name=\"a\">x</§parameter><§parameter name=\"b\" string=\"false\"> 1\n</§parameter></§invoke></§function_calls>",
        "hi\n<§invoke name=\"f\">\n<§parameter name=\"a\" string=true>x<§parameter name=\"b\" string=\"false\">1</§invoke>",
        "hi\n\n<§ function_calls >\n\n<§ invoke  name=\"f\" >junk<§parameter name=\"a\" string=\"true\">x</§parameter>\n<§parameter name=\"b\" string=\"false\">1</§parameter>\n\nlater",
    ] {
        assert_eq!(read(answer), ("hi".into(), vec![call.clone()]), "{answer}");
    }
}

#[test]
fn values_become_json_whatever_is_in_them() {
    let with = |attribute: &str, value: &str| {
        let answer = format!(
            "<§function_calls><§invoke name=\"f\"><§parameter name=\"k\\\"y\"{attribute}>{value}</§parameter></§invoke>"
        );
        let calls = read(&answer).1;
        calls[0].strip_prefix("f {\"k\\\\\\\"y\": ").unwrap().strip_suffix("}").unwrap().to_owned()
    };
    assert_eq!(with(" string=\"true\"", "say \"<hi>\"\n</p>\\"), r#""say \"<hi>\"\n</p>\\""#);
    assert_eq!(with(" string=\"true\"", "a<§b</§c>d"), "\"a<｜DSML｜b</｜DSML｜c>d\"");
    assert_eq!(with(" string=\"false\"", "{\"a\": [1,2]}"), "{\"a\": [1,2]}");
    assert_eq!(with(" string=\"false\"", "not json"), "\"not json\"");
    assert_eq!(with(" string=\"true\"", "1"), "\"1\"");
    assert_eq!(with("", "1"), "\"1\"");
}

#[test]
fn the_type_of_the_schema_wins() {
    let schema = serde_json::json!({ "parameters": { "properties": {
        "n": { "type": "integer" }, "s": { "type": "string" }, "o": { "type": ["object", "null"] }
    } } });
    let Value::Object(function) = schema else { unreachable!() };
    let tools = [Tool { name: "f".into(), strict: false, function }];
    let with = |key: &str, string: bool, value: &str| {
        let answer = format!(
            "<§invoke name=\"f\"><§parameter name=\"{key}\" string=\"{string}\">{value}</§parameter></§invoke>"
        );
        let calls = read_with(&tools, &answer, false).1;
        calls[0].split_once(": ").unwrap().1.strip_suffix("}").unwrap().to_owned()
    };
    assert_eq!(with("n", true, "12"), "12");
    assert_eq!(with("n", true, "twelve"), "\"twelve\"");
    assert_eq!(with("n", true, "true"), "\"true\"");
    assert_eq!(with("n", false, "[1]"), "[1]");
    assert_eq!(with("s", false, "12"), "\"12\"");
    assert_eq!(with("s", false, "\"12\""), "\"12\"");
    assert_eq!(with("o", true, "{\"a\":null}"), "{\"a\":null}");
    assert_eq!(with("o", true, "null"), "null");
}

#[test]
fn a_block_that_is_none_is_content() {
    assert_eq!(read("a\n\n<b \n\n"), only_content("a\n\n<b \n\n"));
    assert_eq!(read("a § b</§invoke>"), only_content("a ｜DSML｜ b</｜DSML｜invoke>"));
    assert_eq!(read("a\n\n<§function_calls>\nhello"), only_content("a\n\n<｜DSML｜function_calls>\nhello"));
    assert_eq!(read("a\n\n<§functions>x"), only_content("a\n\n<｜DSML｜functions>x"));
    let empty = "\n\n<｜DSML｜function_calls>\n</｜DSML｜function_calls>";
    assert_eq!(read("a\n\n<§function_calls>\n</§function_calls>"), only_content(&format!("a{empty}")));
    assert_eq!(read("<§function_calls><§invoke>"), only_content("<｜DSML｜function_calls><｜DSML｜invoke>"));
    assert_eq!(read(&format!("<§invoke name=\"{}", "a".repeat(3000))).0.len(), 3000 + "<｜DSML｜invoke name=\"".len());
}

#[test]
fn an_answer_that_ends_inside_markup_shows_none_of_it() {
    assert_eq!(read("a\n\n<§func"), only_content("a"));
    assert_eq!(read("a\n\n<§function_calls>\n<§invoke na"), only_content("a"));
    let cut = |answer| read_with(&[], answer, true);
    assert_eq!(cut("<§invoke name=\"f\">\n<§para"), ("".into(), vec!["f ".into()], false));
    let partial = "<§invoke name=\"f\"><§parameter name=\"a\" string=\"true\">x</§par";
    assert_eq!(cut(partial), ("".into(), vec!["f {\"a\": \"x".into()], false));
    let partial = "<§invoke name=\"f\"><§parameter name=\"a\" string=\"false\">[1, <";
    assert_eq!(cut(partial), ("".into(), vec!["f {\"a\": [1, ".into()], false));
    let ended = read_with(&[], "<§invoke name=\"f\"><§parameter name=\"a\" string=\"true\">x</§parameter>", false);
    assert_eq!(ended, ("".into(), vec!["f {\"a\": \"x\"}".into()], true));
}

#[test]
fn several_calls_follow_each_other_and_text_after_them_is_dropped() {
    let answer = "<§function_calls>\n<§invoke name=\"f\">\n\n</§invoke>\n<§invoke name=\"g\">\n</§invoke>\n</§function_calls>\n\nbye <b>";
    assert_eq!(read(answer), ("".into(), vec!["f {}".into(), "g {}".into()]));
}
