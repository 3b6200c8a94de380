//! The tools of a request, which of them the model may call, and their schemas.

use std::collections::HashSet;

use chat::{Chat, Error, Tool, ToolChoice};
use serde_json::{Map, Number, Value, json};

use crate::field_reader::{Field, Object};
use crate::surface::gemini::field_names::{camel_or_snake, snake_case};
use crate::surface::uncarried::take_uncarried;

/// The fields of a function that have no place in a chat.
const UNCARRIED_OF_FUNCTION: [&str; 4] = ["behavior", "response", "responseJsonSchema", "response_json_schema"];
/// The mode in which arguments match their schemas.
const VALIDATED: u8 = 3;

/// Parses tools and choice. Tools that Google's service runs are dropped with a note.
pub(super) fn parse_tools(chat: &mut Chat, object: &mut Object) -> Result<(), Error> {
    let mut dropped = Vec::new();
    if let Some(tools) = object.optional("tools") {
        for tool in tools.array_or_one()? {
            let mut tool = tool.object()?;
            if let Some(functions) = camel_or_snake(&mut tool, "functionDeclarations") {
                for function in functions.array_or_one()? {
                    chat.tools.push(parse_function(function, &mut chat.uncarried)?);
                }
            }
            let others = tool.into_fields().into_iter().filter(|(_, value)| !value.is_null());
            dropped.extend(others.map(|(name, _)| format!("{name:.64}")));
        }
    }
    if let Some(config) = camel_or_snake(object, "toolConfig") {
        let mut config = config.object()?;
        chat.uncarried.extend(take_uncarried(&mut config, &["retrievalConfig", "retrieval_config"]));
        parse_tool_choice(chat, config)?;
    }
    if dropped.is_empty() {
        return Ok(());
    }
    dropped.sort_unstable();
    dropped.dedup();
    chat.notes.push(format!("dropped: the tools {}, which Google's service runs", dropped.join(", ")));
    if chat.tools.is_empty() && matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_))) {
        // The tools that it demands were dropped.
        chat.tool_choice = None;
    }
    Ok(())
}

fn parse_function(field: Field, uncarried: &mut Vec<&'static str>) -> Result<Tool, Error> {
    let mut object = field.object()?;
    let name = object.required("name")?.string()?;
    let mut function = Map::from_iter([("name".to_owned(), Value::from(name.clone()))]);
    if let Some(description) = object.optional("description") {
        function.insert("description".into(), description.string()?.into());
    }
    let schema = match camel_or_snake(&mut object, "parametersJsonSchema") {
        Some(schema) => Some(schema.into_value()),
        None => object.optional("parameters").map(|schema| openapi_to_json_schema(schema.into_value())),
    };
    if let Some(schema) = schema {
        function.insert("parameters".into(), schema);
    }
    uncarried.extend(take_uncarried(&mut object, &UNCARRIED_OF_FUNCTION));
    Ok(Tool { name, strict: false, function })
}

/// The keywords of a schema whose names have two words, in camel case.
const KEYWORDS: [&str; 8] =
    ["anyOf", "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "propertyOrdering"];

/// Converts an OpenAPI schema to JSON Schema: type names in lower case, keywords in camel case,
/// limits as numbers, `nullable` as an alternative (API document 3.3).
pub(super) fn openapi_to_json_schema(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let nullable = fields.get("nullable") == Some(&Value::Bool(true));
    let mut plain = Map::new();
    for (key, value) in fields {
        let key = KEYWORDS.iter().find(|camel| snake_case(camel) == key).map_or(key, |camel| (*camel).to_owned());
        let value = match (key.as_str(), value) {
            ("nullable", _) => continue,
            // Google's clients write 64-bit integers as text.
            (key, Value::String(limit)) if key.starts_with("min") || key.starts_with("max") => {
                limit.parse::<Number>().map_or(Value::String(limit), Value::Number)
            }
            ("type", Value::String(kind)) => Value::from(kind.to_ascii_lowercase()),
            ("properties", Value::Object(properties)) => {
                properties.into_iter().map(|(name, schema)| (name, openapi_to_json_schema(schema))).collect()
            }
            ("items" | "additionalProperties", schema) => openapi_to_json_schema(schema),
            ("anyOf", Value::Array(schemas)) => schemas.into_iter().map(openapi_to_json_schema).collect(),
            (_, value) => value,
        };
        plain.insert(key, value);
    }
    let plain = Value::Object(plain);
    if nullable { json!({"anyOf": [plain, {"type": "null"}]}) } else { plain }
}

fn parse_tool_choice(chat: &mut Chat, mut object: Object) -> Result<(), Error> {
    let Some(config) = camel_or_snake(&mut object, "functionCallingConfig") else { return Ok(()) };
    let mut config = config.object()?;
    let names = camel_or_snake(&mut config, "allowedFunctionNames")
        .map(|names| names.array_or_one()?.map(Field::string).collect());
    let names: Vec<String> = names.transpose()?.unwrap_or_default();
    let modes = [("MODE_UNSPECIFIED", 0), ("AUTO", 0), ("VALIDATED", VALIDATED), ("ANY", 1), ("NONE", 2)];
    let mode = config.optional("mode").map(|mode| mode.variant(&modes)).transpose()?.unwrap_or(0);
    if mode == VALIDATED {
        chat.uncarried.push("functionCallingConfig.mode VALIDATED");
    }
    chat.tool_choice = Some(match (mode, names.as_slice()) {
        (0 | VALIDATED, _) => ToolChoice::Auto,
        (1, [name]) => ToolChoice::Named(name.clone()),
        (1, names) => {
            if !names.is_empty() {
                let names: HashSet<&str> = names.iter().map(String::as_str).collect();
                chat.tools.retain(|tool| names.contains(&*tool.name));
            }
            ToolChoice::Required
        }
        _ => ToolChoice::None,
    });
    Ok(())
}
