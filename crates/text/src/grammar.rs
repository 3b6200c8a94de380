//! Grammars that constrain an answer to JSON or to tool calls in the model's own format.
//!
//! They are written in llguidance's Lark dialect, in which `<[7]>` is token 7 and `%json` a JSON
//! Schema. The engine applies them when it samples.

use chat::{Chat, Error, Input, ResponseFormat, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::schema::{Parameter, Schema, SchemaError};

/// Maximum size in bytes of the schemas of all tools in a grammar. Beyond it the schemas of tools
/// that are not strict are dropped.
const MAX_SCHEMA_BYTES: usize = 16 << 20;

/// The grammar of an answer, or of its constrained part.
#[derive(Clone, Debug, PartialEq)]
pub struct Grammar {
    /// The rules, in Lark.
    pub lark: String,
    /// Where the constrained part begins.
    pub start: GrammarStart,
    /// How a block of calls begins; `None` for an answer without calls.
    pub call_start: Option<CallStart>,
    /// The source of the grammar for errors: `function 'f'`, `response_format 'p'`.
    pub subject: String,
}

/// The beginning of a block of calls, which also ends open reasoning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallStart {
    /// The text before the marker.
    pub lead: &'static str,
    /// The token that begins the block.
    pub marker: u32,
}

/// Where the constrained part of an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrammarStart {
    /// At the beginning of the answer, after the reasoning.
    Answer,
    /// After this token; text before it is unconstrained.
    AfterToken(u32),
}

/// The grammar rules of the calls of a prompt format.
pub(crate) struct CallRules {
    pub(crate) start: CallStart,
    /// The rule `calls`, which matches a block after its marker, and the rules it uses.
    pub(crate) rules: String,
}

/// A tool whose calls a grammar describes.
pub(crate) struct ToolSignature {
    pub(crate) name: String,
    pub(crate) schema: Schema,
    /// `None`: the arguments are an object of any keys.
    pub(crate) parameters: Option<Vec<Parameter>>,
}

/// The grammar of the answer to `chat`; `None` for free text without tool calls. `rules` returns
/// the rules of calls in the model's format; `lead` is Lark for the text that may precede JSON.
///
/// # Errors
/// `InvalidRequest` when a schema cannot be enforced, with the path in it.
pub(crate) fn answer_grammar(
    chat: &Chat,
    lead: &str,
    rules: impl FnOnce(&[ToolSignature], bool) -> CallRules,
) -> Result<Option<Grammar>, Error> {
    if !matches!(chat.input, Input::Messages(_)) {
        return Ok(None);
    }
    let answer = answer_schema(&chat.response_format, chat.lenient_schemas)?;
    let tools = callable_tools(chat)?;
    let calls = (!tools.is_empty()).then(|| rules(&tools, chat.parallel_tool_calls != Some(false)));
    let forced = matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    Ok(match (answer, calls) {
        (None, None) => None,
        (Some((schema, subject)), None) => {
            let lark = format!("start: {lead} answer\nanswer: %json {}\n", grammar_schema(&schema));
            Some(Grammar { lark, start: GrammarStart::Answer, call_start: None, subject })
        }
        (None, Some(calls)) if !forced => {
            let lark = format!("start: calls\n{}", calls.rules);
            let start = GrammarStart::AfterToken(calls.start.marker);
            Some(Grammar { lark, start, call_start: Some(calls.start), subject: tools_subject(&tools) })
        }
        (answer, Some(calls)) => {
            let CallRules { start, rules } = calls;
            let before = if start.lead.is_empty() { String::new() } else { lark_string(start.lead) };
            let block = format!("{before} <[{}]> calls", start.marker);
            let lark = match answer.filter(|_| !forced) {
                Some((schema, _)) => {
                    let schema = grammar_schema(&schema);
                    format!("start: {lead} answer | {block}\nanswer: %json {schema}\n{rules}")
                }
                None => format!("start: {block}\n{rules}"),
            };
            let subject = tools_subject(&tools);
            Some(Grammar { lark, start: GrammarStart::Answer, call_start: Some(start), subject })
        }
    })
}

fn tools_subject(tools: &[ToolSignature]) -> String {
    match tools {
        [tool] => format!("function '{}'", tool.name),
        _ => "the functions".into(),
    }
}

/// The schema of an answer that must be JSON, and its subject.
fn answer_schema(format: &ResponseFormat, lenient: bool) -> Result<Option<(Value, String)>, Error> {
    match format {
        ResponseFormat::Text | ResponseFormat::Unknown(_) => Ok(None),
        ResponseFormat::JsonObject => Ok(Some((json!({ "type": "object" }), "response_format".into()))),
        ResponseFormat::JsonSchema(format) => {
            Ok(Some((format_schema(format, lenient)?.value().clone(), format_subject(format))))
        }
    }
}

/// The schema of a `json_schema` object. With its `strict` it must be in the strict subset, unless
/// `lenient`: then it is enforced as far as a grammar can.
///
/// # Errors
/// `InvalidRequest`, with the path and the reason.
pub fn format_schema(format: &Map<String, Value>, lenient: bool) -> Result<Schema, Error> {
    let schema = format.get("schema").unwrap_or(&Value::Bool(true));
    let strict = !lenient && format.get("strict").and_then(Value::as_bool).unwrap_or(false);
    let schema = if strict { Schema::strict(schema) } else { Schema::lenient(schema) };
    schema.map_err(|error| Error::invalid(format!("Invalid schema for {}: {error}", format_subject(format))))
}

fn format_subject(format: &Map<String, Value>) -> String {
    format!("response_format '{}'", format.get("name").and_then(Value::as_str).unwrap_or_default())
}

/// The schema of a strict tool's arguments.
///
/// # Errors
/// `InvalidRequest`, with the path and the reason.
pub fn strict_schema(tool: &Tool) -> Result<Schema, Error> {
    let schema = Schema::strict(&parameters_schema(tool));
    schema.map_err(|error| Error::invalid(format!("Invalid schema for function '{}': {error}", tool.name)))
}

fn parameters_schema(tool: &Tool) -> Value {
    let none = || json!({ "type": "object", "properties": {}, "required": [], "additionalProperties": false });
    tool.function.get("parameters").cloned().unwrap_or_else(none)
}

/// The tools that the answer may call.
fn callable_tools(chat: &Chat) -> Result<Vec<ToolSignature>, Error> {
    let may = |tool: &&Tool| match &chat.tool_choice {
        Some(ToolChoice::None) => false,
        Some(ToolChoice::Named(name)) => tool.name == *name,
        Some(ToolChoice::Auto | ToolChoice::Required) | None => true,
    };
    let mut bytes_left = MAX_SCHEMA_BYTES;
    let mut fits = |schema: &Schema| {
        let rest = bytes_left.checked_sub(schema.grammar_bytes());
        bytes_left = rest.unwrap_or(bytes_left);
        rest.is_some()
    };
    let callable = |tool: &Tool| {
        let schema = match tool.strict {
            true => strict_schema(tool)?,
            false => enforced_arguments(tool).unwrap_or_else(|_| any_object_schema()),
        };
        let schema = match (fits(&schema), tool.strict) {
            (true, _) => schema,
            (false, false) => any_object_schema(),
            (false, true) => {
                let message =
                    format!("Invalid schema for function '{}': the schemas are too large together", tool.name);
                return Err(Error::invalid(message));
            }
        };
        Ok(ToolSignature { name: tool.name.clone(), parameters: schema.parameters(), schema })
    };
    chat.tools.iter().filter(may).map(callable).collect()
}

/// The schema of the arguments of a tool that is not strict, as far as it can be enforced.
///
/// # Errors
/// Why nothing of it is enforced; the arguments are then any object.
pub fn enforced_arguments(tool: &Tool) -> Result<Schema, SchemaError> {
    let schema = Schema::lenient(&parameters_schema(tool))?;
    let no_object = || SchemaError { path: "type".into(), reason: "arguments are an object".into() };
    schema.into_object().ok_or_else(no_object)
}

fn any_object_schema() -> Schema {
    Schema::lenient(&json!({ "type": "object" })).expect("a plain object is a schema")
}

/// A schema for a grammar. The model chooses the white space between JSON tokens, up to 64
/// characters.
pub(crate) fn grammar_schema(schema: &Value) -> String {
    let mut schema = match schema {
        Value::Object(schema) => schema.clone(),
        // `true`: anything.
        _ => Map::new(),
    };
    schema.insert("x-guidance".into(), json!({ "whitespace_pattern": r"[\x20\x0A\x0D\x09]{1,64}" }));
    Value::Object(schema).to_string()
}

/// A string literal in Lark.
pub(crate) fn lark_string(text: &str) -> String {
    Value::String(text.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(tools: &[ToolSignature], allow_parallel: bool) -> CallRules {
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let start = CallStart { lead: "LEAD", marker: 7 };
        CallRules { start, rules: format!("calls: {} {allow_parallel}\n", names.join(" ")) }
    }

    fn tool(name: &str, parameters: Value) -> Tool {
        let function = json!({ "name": name, "parameters": parameters });
        Tool { name: name.into(), strict: false, function: function.as_object().unwrap().clone() }
    }

    fn chat(format: ResponseFormat, choice: Option<ToolChoice>) -> Chat {
        let tools = vec![tool("f", json!({})), tool("g", json!({}))];
        Chat { response_format: format, tools, tool_choice: choice, ..Chat::default() }
    }

    fn grammar_of(chat: &Chat) -> Option<Grammar> {
        answer_grammar(chat, "lead", rules).unwrap()
    }

    #[test]
    fn free_text_needs_no_grammar() {
        assert_eq!(grammar_of(&Chat::default()), None);
        assert_eq!(grammar_of(&chat(ResponseFormat::Text, Some(ToolChoice::None))), None);
        let completion = Input::Text { prefix: "a".into(), suffix: None };
        assert_eq!(grammar_of(&Chat { input: completion, ..chat(ResponseFormat::JsonObject, None) }), None);
    }

    #[test]
    fn calls_begin_behind_their_marker_unless_the_answer_must_be_one() {
        let free = grammar_of(&chat(ResponseFormat::Text, None)).unwrap();
        assert_eq!((free.lark.as_str(), free.start), ("start: calls\ncalls: f g true\n", GrammarStart::AfterToken(7)));
        let forced = grammar_of(&chat(ResponseFormat::Text, Some(ToolChoice::Named("g".into())))).unwrap();
        assert_eq!(forced.lark, "start: \"LEAD\" <[7]> calls\ncalls: g true\n");
        assert_eq!((forced.start, forced.subject.as_str()), (GrammarStart::Answer, "function 'g'"));
        let one = Chat { parallel_tool_calls: Some(false), ..chat(ResponseFormat::Text, Some(ToolChoice::Required)) };
        assert_eq!(grammar_of(&one).unwrap().lark, "start: \"LEAD\" <[7]> calls\ncalls: f g false\n");
    }

    #[test]
    fn a_promised_shape_stands_beside_calls_and_yields_to_forced_ones() {
        let both = grammar_of(&chat(ResponseFormat::JsonObject, None)).unwrap();
        assert!(both.lark.starts_with("start: lead answer | \"LEAD\" <[7]> calls\nanswer: %json {"), "{}", both.lark);
        assert_eq!(both.start, GrammarStart::Answer);
        let forced = grammar_of(&chat(ResponseFormat::JsonObject, Some(ToolChoice::Required))).unwrap();
        assert!(!forced.lark.contains("answer"), "{}", forced.lark);
    }

    #[test]
    fn a_schema_that_cannot_be_honoured_is_refused_with_its_place() {
        let format = json!({ "name": "p", "strict": true, "schema": {
            "type": "object", "properties": { "a": { "type": "string", "minLength": 1 } },
            "required": ["a"], "additionalProperties": false
        }});
        let format = ResponseFormat::JsonSchema(format.as_object().unwrap().clone());
        let lenient = Chat { lenient_schemas: true, ..chat(format.clone(), Some(ToolChoice::None)) };
        assert!(answer_grammar(&lenient, "", rules).unwrap().unwrap().lark.contains("minLength"));
        let refused = answer_grammar(&chat(format, Some(ToolChoice::None)), "", rules).unwrap_err().message;
        assert!(refused.starts_with("Invalid schema for response_format 'p': properties.a.minLength: "), "{refused}");
    }

    #[test]
    fn a_lenient_tool_of_no_object_takes_any_object() {
        for parameters in [json!({ "type": "string" }), json!(3)] {
            assert!(enforced_arguments(&tool("f", parameters.clone())).is_err());
            let chat = Chat { tools: vec![tool("f", parameters)], ..Chat::default() };
            assert_eq!(callable_tools(&chat).unwrap()[0].schema, any_object_schema());
        }
    }

    #[test]
    fn a_tool_whose_schema_refers_to_its_object_keeps_its_parameters() {
        let city = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
        let inner = json!({ "$ref": "#/$defs/city", "$defs": { "city": city } });
        let schema = enforced_arguments(&tool("f", inner)).unwrap();
        assert_eq!(schema.parameters().unwrap()[0].name, "city");
        let either = json!({ "anyOf": [city, { "type": "object", "properties": {} }] });
        let schema = enforced_arguments(&tool("f", either)).unwrap();
        assert_eq!(
            (schema.value()["type"].as_str(), schema.value()["anyOf"].as_array().unwrap().len()),
            (Some("object"), 2)
        );
    }
}
