//! The tools of a request, and which of them the model may call.

use std::collections::{HashMap, HashSet};

use chat::{Chat, Error, Tool, ToolChoice};
use serde_json::{Map, Value, json};

use crate::field_reader::{Field, Object};

/// The parameter that holds the text of a custom tool.
pub(super) const CUSTOM_INPUT: &str = "input";

/// Maximum length of the name of a function.
const MAX_NAME_BYTES: usize = 64;

/// How the calls of tools are returned that are not plain functions.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ToolNames {
    /// The tools that take free text.
    custom: HashSet<String>,
    /// The namespace and the name of each function that stands for a tool in a namespace.
    namespaced: HashMap<String, (String, String)>,
}

impl ToolNames {
    pub(super) fn is_custom(&self, function: &str) -> bool {
        self.custom.contains(function)
    }

    /// The namespace and the name of a tool, by the name of its function.
    pub(super) fn original<'a>(&'a self, function: &'a str) -> (Option<&'a str>, &'a str) {
        match self.namespaced.get(function) {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, function),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let pairs = self.namespaced.iter().map(|(key, (namespace, name))| key.len() + namespace.len() + name.len());
        self.custom.iter().map(String::len).chain(pairs).sum()
    }
}

/// The name of the function that stands for a tool in a namespace. Long names end with a hash.
pub(super) fn function_name(namespace: Option<&str>, name: &str) -> String {
    let Some(namespace) = namespace else { return name.to_owned() };
    let joined = format!("{namespace}__{name}");
    if joined.len() <= MAX_NAME_BYTES {
        return joined;
    }
    // FNV-1a.
    let hash = joined.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let kept = joined.floor_char_boundary(MAX_NAME_BYTES - 9);
    format!("{}_{hash:08x}", &joined[..kept])
}

/// Parses the tools into `chat`. A custom tool, whose calls are free text, becomes a function of
/// one string, and each tool of a namespace a function with a joined name. Tools that OpenAI runs
/// itself are dropped with a note.
pub(super) fn parse_tools(field: Field, chat: &mut Chat) -> Result<ToolNames, Error> {
    let mut parser = ToolParser { names: ToolNames::default(), tools: Vec::new(), dropped: Vec::new() };
    for tool in field.array()? {
        let mut object = tool.object()?;
        let kind = object.required("type")?.string()?;
        if kind != "namespace" {
            parser.push(None, &kind, object)?;
            continue;
        }
        let namespace = object.required("name")?.string()?;
        for tool in object.required("tools")?.array()? {
            let mut object = tool.object()?;
            let kind = object.required("type")?.string()?;
            parser.push(Some(&namespace), &kind, object)?;
        }
    }
    let ToolParser { names, tools, mut dropped } = parser;
    chat.tools = tools;
    if !dropped.is_empty() {
        dropped.sort_unstable();
        dropped.dedup();
        chat.notes.push(format!("dropped: tools of type {}", dropped.join(", ")));
    }
    Ok(names)
}

struct ToolParser {
    names: ToolNames,
    tools: Vec<Tool>,
    /// The types of the tools that were dropped.
    dropped: Vec<String>,
}

impl ToolParser {
    fn push(&mut self, namespace: Option<&str>, kind: &str, object: Object) -> Result<(), Error> {
        let mut tool = match kind {
            "function" => parse_function(object)?,
            "custom" => parse_custom(object)?,
            _ => {
                self.dropped.push(format!("{kind:.64}"));
                return Ok(());
            }
        };
        if let Some(namespace) = namespace {
            let name = function_name(Some(namespace), &tool.name);
            tool.function.insert("name".into(), name.as_str().into());
            let original = std::mem::replace(&mut tool.name, name.clone());
            self.names.namespaced.insert(name, (namespace.to_owned(), original));
        }
        if kind == "custom" {
            self.names.custom.insert(tool.name.clone());
        }
        self.tools.push(tool);
        Ok(())
    }
}

fn parse_function(mut object: Object) -> Result<Tool, Error> {
    let (name, mut function) = parse_name(&mut object)?;
    if let Some(parameters) = object.optional("parameters") {
        if !parameters.value().is_object() {
            return Err(parameters.type_error("a map"));
        }
        function.insert("parameters".into(), parameters.into_value());
    }
    let strict = object.optional("strict").map(Field::bool).transpose()?.unwrap_or(false);
    Ok(Tool { name, strict, function })
}

/// Parses a custom tool. The model learns the format of its text from the description.
fn parse_custom(mut object: Object) -> Result<Tool, Error> {
    let (name, mut function) = parse_name(&mut object)?;
    if let Some(format) = object.optional("format") {
        let mut format = format.object()?;
        if format.required("type")?.string()? == "grammar" {
            let syntax = format.optional("syntax").map(Field::string).transpose()?.unwrap_or_default();
            let definition = format.required("definition")?.string()?;
            let described = function.get("description").and_then(Value::as_str).unwrap_or_default();
            let described = format!("{described}\n\nThe input must match this {syntax} grammar:\n{definition}");
            function.insert("description".into(), described.trim_start().into());
        }
    }
    let parameters = json!({
        "type": "object",
        "properties": { CUSTOM_INPUT: { "type": "string", "description": "The whole input, as plain text" } },
        "required": [CUSTOM_INPUT],
        "additionalProperties": false,
    });
    function.insert("parameters".into(), parameters);
    Ok(Tool { name, strict: false, function })
}

/// Parses the name and the description, which a function begins with.
fn parse_name(object: &mut Object) -> Result<(String, Map<String, Value>), Error> {
    let name = object.required("name")?.string()?;
    let mut function = Map::from_iter([("name".to_owned(), Value::from(name.as_str()))]);
    if let Some(description) = object.optional("description") {
        function.insert("description".into(), description.string()?.into());
    }
    Ok((name, function))
}

/// Parses the choice of a tool. A choice of `allowed_tools` removes the others.
pub(super) fn parse_tool_choice(field: Field, chat: &mut Chat) -> Result<Option<ToolChoice>, Error> {
    if !field.value().is_object() {
        return parse_mode(field).map(Some);
    }
    let mut object = field.object()?;
    Ok(Some(match object.required("type")?.string()?.as_str() {
        "function" | "custom" => ToolChoice::Named(parse_function_name(&mut object)?),
        "allowed_tools" => {
            let name = |tool: Field| {
                let mut tool = tool.object()?;
                // A tool that OpenAI runs itself has no name.
                let is_named = matches!(tool.required("type")?.string()?.as_str(), "function" | "custom");
                is_named.then(|| parse_function_name(&mut tool)).transpose()
            };
            let names: Vec<Option<String>> = object.required("tools")?.array()?.map(name).collect::<Result<_, _>>()?;
            let names: HashSet<String> = names.into_iter().flatten().collect();
            chat.tools.retain(|tool| names.contains(&tool.name));
            object.optional("mode").map(parse_mode).transpose()?.unwrap_or(ToolChoice::Auto)
        }
        other => {
            chat.notes.push(format!("dropped: tool_choice of type {other:.64}"));
            return Ok(None);
        }
    }))
}

/// The name of the function that stands for a tool or for the tool of a call.
pub(super) fn parse_function_name(object: &mut Object) -> Result<String, Error> {
    let namespace = object.optional("namespace").map(Field::string).transpose()?;
    Ok(function_name(namespace.as_deref(), &object.required("name")?.string()?))
}

fn parse_mode(field: Field) -> Result<ToolChoice, Error> {
    Ok(match field.variant(&["none", "auto", "required"].map(|choice| (choice, choice)))? {
        "none" => ToolChoice::None,
        "auto" => ToolChoice::Auto,
        _ => ToolChoice::Required,
    })
}

/// The arguments of a call of a custom tool.
pub(super) fn custom_arguments(input: &str) -> String {
    json!({ CUSTOM_INPUT: input }).to_string()
}

/// The text of a call of a custom tool. Arguments that are not those of the function are text.
pub(super) fn custom_input(arguments: &str) -> String {
    let parsed: Option<Map<String, Value>> = serde_json::from_str(arguments).ok();
    let input = parsed.and_then(|mut parsed| parsed.remove(CUSTOM_INPUT));
    match input {
        Some(Value::String(input)) => input,
        _ => arguments.to_owned(),
    }
}
