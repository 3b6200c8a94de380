//! DSML calls as a grammar: each parameter in a tag of its own, text as it is and everything else as JSON.

use serde_json::{Value, json};

use crate::grammar::{CallRules, Callable, document, literal};
use crate::schema::{Parameter, Schema};

/// The rules of a block that calls `tools`; of more than one call if `many`.
///
/// Greedy lexing decides the shape of the rules: a raw value runs up to the `</` that stands before the marker, so that `</`
/// may also occur inside of it.
pub(crate) fn rules(marker: u32, tools: &[Callable], many: bool) -> CallRules {
    let dsml = format!("<[{marker}]>");
    let mut rules = String::new();
    let repeat = if many { "+" } else { "" };
    let names: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
    rules += &format!("calls: \"function_calls>\\n\" call{repeat} \"</\" {dsml} \"function_calls>\"\n");
    rules += &format!("call: \"<\" {dsml} ({}) \"</\" {dsml} \"invoke>\\n\"\n", names.join(" | "));
    rules += "RAW: /(?s:.*)<\\//\nKEY: /[^\"<>\\n\\r]{1,64}/\n";
    for (index, tool) in tools.iter().enumerate() {
        let open = literal(&format!("invoke name=\"{}\">\n", tool.name));
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
            rules += &format!("p_{index}_{at}: {}\n", self::parameter(&dsml, parameter));
        }
    }
    if tools.iter().any(|tool| tool.parameters.is_none()) {
        let any = document(&Value::Bool(true));
        rules += &format!(
            "any_parameter: \"<\" {dsml} \"parameter name=\\\"\" KEY \
             (\"\\\" string=\\\"true\\\">\" RAW | \"\\\" string=\\\"false\\\">\" any \"</\") {dsml} \"parameter>\\n\"\n\
             any: %json {any}\n"
        );
    }
    CallRules { lead: "\"\\n\\n<\"".into(), marker, rules }
}

fn parameter(dsml: &str, parameter: &Parameter) -> String {
    let Forms { raw, json } = Forms::of(&parameter.schema);
    let name = |string| literal(&format!("parameter name=\"{}\" string=\"{string}\">", parameter.name));
    let mut forms = Vec::new();
    match raw {
        Raw::Nothing => {}
        Raw::Anything => forms.push(format!("{} RAW", name("true"))),
        Raw::OneOf(words) => {
            let words: Vec<String> = words.iter().map(|word| literal(&format!("{word}</"))).collect();
            forms.push(format!("{} ({})", name("true"), words.join(" | ")));
        }
    }
    if let Some(schema) = json {
        forms.push(format!("{} %json {} \"</\"", name("false"), document(&schema)));
    }
    format!("\"<\" {dsml} ({}) {dsml} \"parameter>\\n\"", forms.join(" | "))
}

/// How the values of a schema may be written.
struct Forms {
    /// As they are, with `string="true"`.
    raw: Raw,
    /// As JSON, with `string="false"`.
    json: Option<Value>,
}

enum Raw {
    Nothing,
    Anything,
    OneOf(Vec<String>),
}

impl Forms {
    /// Text is written as it is where its schema only says that it is text, or which words there are. Text of a certain pattern,
    /// format or length is written as JSON, which can be held to it.
    fn of(schema: &Schema) -> Self {
        let value = schema.value();
        let definitions = value.get("$defs").cloned().unwrap_or_else(|| json!({}));
        let node = resolved(value, &definitions);
        let json = |mut node: Value| {
            if let Some(node) = node.as_object_mut()
                && definitions.as_object().is_some_and(|definitions| !definitions.is_empty())
            {
                node.insert("$defs".into(), definitions.clone());
            }
            Some(node)
        };
        match words_or_text(node) {
            Some(raw) => Self { raw, json: None },
            None if any(node) => Self { raw: Raw::Anything, json: Some(json!({})) },
            None => match node.get("anyOf").and_then(Value::as_array).filter(|_| plain_any_of(node)) {
                None => Self { raw: Raw::Nothing, json: Some(value.clone()) },
                Some(options) => {
                    let mut raw = Raw::Nothing;
                    let mut others = Vec::new();
                    for option in options {
                        match (words_or_text(resolved(option, &definitions)), &mut raw) {
                            (None, _) => others.push(option.clone()),
                            (Some(Raw::OneOf(more)), Raw::OneOf(words)) => words.extend(more),
                            (Some(Raw::Anything), _) => raw = Raw::Anything,
                            (Some(more), Raw::Nothing) => raw = more,
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

/// What a reference stands for; references to references are followed a few steps.
fn resolved<'a>(mut node: &'a Value, definitions: &'a Value) -> &'a Value {
    for _ in 0..8 {
        let name = node.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix("#/$defs/"));
        match name.and_then(|name| definitions.get(name)) {
            Some(target) => node = target,
            None => break,
        }
    }
    node
}

/// The schema allows every value.
fn any(node: &Value) -> bool {
    node == &Value::Bool(true) || node.as_object().is_some_and(|node| node.keys().all(|key| key == "$defs"))
}

/// Nothing but its alternatives.
fn plain_any_of(node: &Value) -> bool {
    node.as_object().is_some_and(|node| node.keys().all(|key| key == "anyOf" || key == "$defs"))
}

/// The values of a schema of text alone, where they can be written as they are.
fn words_or_text(node: &Value) -> Option<Raw> {
    let node = node.as_object()?;
    let known = |key: &String| matches!(key.as_str(), "type" | "enum" | "const" | "$defs");
    if node.keys().any(|key| !known(key)) || node.get("type").is_some_and(|kind| kind != "string") {
        return None;
    }
    let words = match (node.get("enum"), node.get("const")) {
        (Some(Value::Array(words)), None) => words.clone(),
        (None, Some(word)) => vec![word.clone()],
        (None, None) if node.contains_key("type") => return Some(Raw::Anything),
        _ => return None,
    };
    words.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>().map(Raw::OneOf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a value may be written: the words, `*` for any text; and the schema of its JSON form.
    fn forms(schema: Value) -> (Vec<String>, Option<Value>) {
        let Forms { raw, json } = Forms::of(&Schema::lenient(&schema).unwrap());
        let words = match raw {
            Raw::Nothing => Vec::new(),
            Raw::Anything => vec!["*".into()],
            Raw::OneOf(words) => words,
        };
        (words, json)
    }

    #[test]
    fn text_is_written_as_it_is_and_everything_else_as_json() {
        assert_eq!(forms(json!({ "type": "string" })), (vec!["*".into()], None));
        assert_eq!(forms(json!({ "enum": ["a", "b"] })), (vec!["a".into(), "b".into()], None));
        assert_eq!(forms(json!({ "const": "a" })), (vec!["a".into()], None));
        assert_eq!(forms(json!({})), (vec!["*".into()], Some(json!({}))));
        let (words, json) = forms(json!({ "enum": ["a", 1] }));
        assert!(words.is_empty() && json.is_some(), "a mixed enumeration is JSON");
        let (words, json) = forms(json!({ "type": "string", "pattern": "^a+$" }));
        assert!(words.is_empty() && json.is_some(), "only JSON can be held to a pattern");
    }

    #[test]
    fn alternatives_are_written_each_in_its_own_form() {
        let (words, json) = forms(json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }));
        let others = json.unwrap();
        assert_eq!((words, others["anyOf"].as_array().unwrap().len()), (vec!["*".to_owned()], 1));
        assert_eq!(others["anyOf"][0]["type"], "integer");
        let words = json!({ "anyOf": [{ "const": "a" }, { "enum": ["b", "c"] }] });
        assert_eq!(forms(words), (vec!["a".into(), "b".into(), "c".into()], None));
        let wider = json!({ "anyOf": [{ "const": "a" }, { "type": "string" }] });
        assert_eq!(forms(wider), (vec!["*".into()], None));
    }

    #[test]
    fn references_are_followed_and_go_along() {
        let text = json!({ "$ref": "#/$defs/t", "$defs": { "t": { "type": "string" } } });
        assert_eq!(forms(text), (vec!["*".into()], None));
        let (words, json) = forms(json!({
            "anyOf": [{ "$ref": "#/$defs/t" }, { "$ref": "#/$defs/n" }],
            "$defs": { "t": { "type": "string" }, "n": { "type": "object", "properties": {} } }
        }));
        let json = json.unwrap();
        assert_eq!(words, ["*"]);
        let target = json["anyOf"][0]["$ref"].as_str().unwrap().trim_start_matches('#');
        assert_eq!(json.pointer(target).unwrap()["type"], "object", "{json}");
    }
}
