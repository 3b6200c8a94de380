//! The grammar of DSML calls. Each parameter has its own tag; text is written raw, other values as
//! JSON.

use serde_json::{Value, json};

use crate::grammar::{CallRules, CallStart, ToolSignature, grammar_schema, lark_string};
use crate::schema::{Parameter, Schema};

/// The rules of a block of calls of `tools`; with `allow_parallel` it may have several calls.
///
/// The rules rely on greedy lexing: a raw value extends to the `</` before the marker, so that it
/// may itself contain `</`.
pub(crate) fn call_rules(marker: u32, tools: &[ToolSignature], allow_parallel: bool) -> CallRules {
    let dsml = format!("<[{marker}]>");
    let mut rules = String::new();
    let repeat = if allow_parallel { "+" } else { "" };
    let names: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
    rules += &format!("calls: \"function_calls>\\n\" call{repeat} \"</\" {dsml} \"function_calls>\"\n");
    rules += &format!("call: \"<\" {dsml} ({}) \"</\" {dsml} \"invoke>\\n\"\n", names.join(" | "));
    rules += "RAW: /(?s:.*)<\\//\nKEY: /[^\"<>\\n\\r]{1,64}/\n";
    for (index, tool) in tools.iter().enumerate() {
        let open = lark_string(&format!("invoke name=\"{}\">\n", tool.name));
        let body = match &tool.parameters {
            None => "any_parameter* \"\\n\"?".to_owned(),
            Some(parameters) if parameters.is_empty() => "\"\\n\"".to_owned(),
            Some(parameters) => {
                let each = parameters.iter().enumerate();
                let optional = |required: bool| if required { "" } else { "?" };
                let each = each.map(|(at, parameter)| format!("p_{index}_{at}{}", optional(parameter.required)));
                let all = each.collect::<Vec<_>>().join(" ");
                if parameters.iter().any(|parameter| parameter.required) { all } else { format!("({all} | \"\\n\")") }
            }
        };
        rules += &format!("call_{index}: {open} {body}\n");
        for (at, parameter) in tool.parameters.iter().flatten().enumerate() {
            rules += &format!("p_{index}_{at}: {}\n", parameter_rule(&dsml, parameter));
        }
    }
    if tools.iter().any(|tool| tool.parameters.is_none()) {
        let any = grammar_schema(&Value::Bool(true));
        rules += &format!(
            "any_parameter: \"<\" {dsml} \"parameter name=\\\"\" KEY \
             (\"\\\" string=\\\"true\\\">\" RAW | \"\\\" string=\\\"false\\\">\" any \"</\") {dsml} \"parameter>\\n\"\n\
             any: %json {any}\n"
        );
    }
    CallRules { start: CallStart { lead: "\n\n<", marker }, rules }
}

fn parameter_rule(dsml: &str, parameter: &Parameter) -> String {
    let ValueEncodings { raw, json } = ValueEncodings::for_schema(&parameter.schema);
    let name = |string| lark_string(&format!("parameter name=\"{}\" string=\"{string}\">", parameter.name));
    let mut forms = Vec::new();
    match raw {
        RawText::Never => {}
        RawText::Any => forms.push(format!("{} RAW", name("true"))),
        RawText::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| lark_string(&format!("{word}</"))).collect();
            forms.push(format!("{} ({})", name("true"), words.join(" | ")));
        }
    }
    if let Some(schema) = json {
        forms.push(format!("{} %json {} \"</\"", name("false"), grammar_schema(&schema)));
    }
    format!("\"<\" {dsml} ({}) {dsml} \"parameter>\\n\"", forms.join(" | "))
}

/// The ways in which the values of a schema may be written.
struct ValueEncodings {
    /// Raw text, with `string="true"`.
    raw: RawText,
    /// JSON, with `string="false"`; the schema of these values.
    json: Option<Value>,
}

enum RawText {
    Never,
    Any,
    OneOf(Vec<String>),
}

impl ValueEncodings {
    /// Text is written raw if its schema only gives the type or lists the values. Text with a
    /// pattern, format or length is written as JSON, which a grammar can constrain.
    fn for_schema(schema: &Schema) -> Self {
        let value = schema.value();
        let definitions = value.get("$defs").cloned().unwrap_or_else(|| json!({}));
        let node = resolve_refs(value, &definitions);
        let json = |mut node: Value| {
            if let Some(node) = node.as_object_mut()
                && definitions.as_object().is_some_and(|definitions| !definitions.is_empty())
            {
                node.insert("$defs".into(), definitions.clone());
            }
            Some(node)
        };
        match raw_text_values(node) {
            Some(raw) => Self { raw, json: None },
            None if allows_any_value(node) => Self { raw: RawText::Any, json: Some(json!({})) },
            None => match node.get("anyOf").and_then(Value::as_array).filter(|_| is_only_any_of(node)) {
                None => Self { raw: RawText::Never, json: Some(value.clone()) },
                Some(options) => {
                    let mut raw = RawText::Never;
                    let mut others = Vec::new();
                    for option in options {
                        match (raw_text_values(resolve_refs(option, &definitions)), &mut raw) {
                            (None, _) => others.push(option.clone()),
                            (Some(RawText::OneOf(more)), RawText::OneOf(words)) => words.extend(more),
                            (Some(RawText::Any), _) => raw = RawText::Any,
                            (Some(more), RawText::Never) => raw = more,
                            (Some(_), _) => {}
                        }
                    }
                    let rest = (!others.is_empty()).then(|| json(json!({ "anyOf": others }))).flatten();
                    Self { raw, json: rest }
                }
            },
        }
    }
}

/// The target of a reference. Chains of references are followed for eight steps.
fn resolve_refs<'a>(mut node: &'a Value, definitions: &'a Value) -> &'a Value {
    for _ in 0..8 {
        let name = node.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix("#/$defs/"));
        match name.and_then(|name| definitions.get(name)) {
            Some(target) => node = target,
            None => break,
        }
    }
    node
}

/// Whether the schema allows every value.
fn allows_any_value(node: &Value) -> bool {
    node == &Value::Bool(true) || node.as_object().is_some_and(|node| node.keys().all(|key| key == "$defs"))
}

/// Whether the schema consists of alternatives only.
fn is_only_any_of(node: &Value) -> bool {
    node.as_object().is_some_and(|node| node.keys().all(|key| key == "anyOf" || key == "$defs"))
}

/// The values of a schema that allows only text, if they can be written raw.
fn raw_text_values(node: &Value) -> Option<RawText> {
    let node = node.as_object()?;
    let known = |key: &String| matches!(key.as_str(), "type" | "enum" | "const" | "$defs");
    if node.keys().any(|key| !known(key)) || node.get("type").is_some_and(|kind| kind != "string") {
        return None;
    }
    let words = match (node.get("enum"), node.get("const")) {
        (Some(Value::Array(words)), None) => words.clone(),
        (None, Some(word)) => vec![word.clone()],
        (None, None) if node.contains_key("type") => return Some(RawText::Any),
        _ => return None,
    };
    words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().map(RawText::OneOf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The raw values of a schema, `*` for any text, and the schema of its JSON values.
    fn value_encodings(schema: Value) -> (Vec<String>, Option<Value>) {
        let ValueEncodings { raw, json } = ValueEncodings::for_schema(&Schema::lenient(&schema).unwrap());
        let words = match raw {
            RawText::Never => Vec::new(),
            RawText::Any => vec!["*".into()],
            RawText::OneOf(words) => words,
        };
        (words, json)
    }

    #[test]
    fn text_is_written_as_it_is_and_everything_else_as_json() {
        assert_eq!(value_encodings(json!({ "type": "string" })), (vec!["*".into()], None));
        assert_eq!(value_encodings(json!({ "enum": ["a", "b"] })), (vec!["a".into(), "b".into()], None));
        assert_eq!(value_encodings(json!({ "const": "a" })), (vec!["a".into()], None));
        assert_eq!(value_encodings(json!({})), (vec!["*".into()], Some(json!({}))));
        let (words, json) = value_encodings(json!({ "enum": ["a", 1] }));
        assert!(words.is_empty() && json.is_some(), "a mixed enumeration is JSON");
        let (words, json) = value_encodings(json!({ "type": "string", "pattern": "^a+$" }));
        assert!(words.is_empty() && json.is_some(), "only JSON can be held to a pattern");
    }

    #[test]
    fn alternatives_are_written_each_in_its_own_form() {
        let (words, json) = value_encodings(json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }));
        let others = json.unwrap();
        assert_eq!((words, others["anyOf"].as_array().unwrap().len()), (vec!["*".to_owned()], 1));
        assert_eq!(others["anyOf"][0]["type"], "integer");
        let words = json!({ "anyOf": [{ "const": "a" }, { "enum": ["b", "c"] }] });
        assert_eq!(value_encodings(words), (vec!["a".into(), "b".into(), "c".into()], None));
        let wider = json!({ "anyOf": [{ "const": "a" }, { "type": "string" }] });
        assert_eq!(value_encodings(wider), (vec!["*".into()], None));
    }

    #[test]
    fn references_are_followed_and_go_along() {
        let text = json!({ "$ref": "#/$defs/t", "$defs": { "t": { "type": "string" } } });
        assert_eq!(value_encodings(text), (vec!["*".into()], None));
        let (words, json) = value_encodings(json!({
            "anyOf": [{ "$ref": "#/$defs/t" }, { "$ref": "#/$defs/n" }],
            "$defs": { "t": { "type": "string" }, "n": { "type": "object", "properties": {} } }
        }));
        let json = json.unwrap();
        assert_eq!(words, ["*"]);
        let target = json["anyOf"][0]["$ref"].as_str().unwrap().trim_start_matches('#');
        assert_eq!(json.pointer(target).unwrap()["type"], "object", "{json}");
    }
}
