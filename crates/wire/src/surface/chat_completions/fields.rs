//! Parsers of the fields of OpenAI's chat completions: messages, tools, response formats.

use chat::{Error, Message, Part, ResponseFormat, Role, Sampling, Tool, ToolCall, ToolChoice};
use serde_json::Value;

use crate::field_reader::{Field, Object};
use crate::reasoning_details::{reasoning_of_details, signatures_of_details};
use crate::surface::cache_control::last_cache_control;

pub(crate) fn parse_message(field: Field) -> Result<Message, Error> {
    let mut object = field.object()?;
    let role = object.required("role")?.variant(&[
        ("system", Role::System),
        ("user", Role::User),
        ("assistant", Role::Assistant),
        ("tool", Role::Tool),
        ("developer", Role::System),
    ])?;
    let mut message = Message { content: None, ..Message::new(role, "") };
    let mark = object.optional("cache_control").map(Field::into_value);
    let content = match role {
        Role::Assistant => object.optional("content"),
        _ => Some(object.required("content")?),
    };
    let mark_of_content = content.as_ref().and_then(|content| last_cache_control(content.value()));
    message.cache_control = mark_of_content.or(mark);
    message.content = content.map(parse_content).transpose()?;
    message.name = object.optional("name").map(Field::string).transpose()?;
    match role {
        Role::Assistant => parse_assistant_fields(&mut message, object)?,
        Role::Tool => message.tool_call_id = Some(object.required("tool_call_id")?.string()?),
        _ => {}
    }
    Ok(message)
}

fn parse_assistant_fields(message: &mut Message, mut object: Object) -> Result<(), Error> {
    message.reasoning = object.optional("reasoning_content").map(Field::string).transpose()?;
    // Other services' names, under which clients send back what they got elsewhere.
    let text_of = |value: &Value| value.as_str().map(str::to_owned).or_else(|| reasoning_of_details(value));
    let other = object.optional("reasoning").map(Field::into_value);
    message.reasoning = message.reasoning.take().or_else(|| text_of(other.as_ref()?));
    if let Some(details) = object.optional("reasoning_details").map(Field::into_value) {
        message.reasoning = message.reasoning.take().or_else(|| text_of(&details));
        message.signatures = signatures_of_details(&details, message.reasoning.as_deref());
    }
    // Those that another service has made, as OpenRouter has them.
    let images = object.optional("images").map(Field::into_value).unwrap_or_default();
    let urls = images.as_array().into_iter().flatten().filter_map(|image| image["image_url"]["url"].as_str());
    let images: Vec<Part> = urls.map(Part::image).collect();
    if !images.is_empty() {
        message.content.get_or_insert_default().extend(images);
    }
    message.prefix = object.optional("prefix").map(Field::bool).transpose()?.unwrap_or(false);
    if let Some(calls) = object.optional("tool_calls") {
        message.tool_calls = Some(calls.array()?.map(parse_tool_call).collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// Parses a string, or a list of parts.
fn parse_content(field: Field) -> Result<Vec<Part>, Error> {
    match field.value() {
        Value::Array(_) => field.array()?.map(parse_part).collect(),
        _ => Ok(vec![Part::Text(field.string()?)]),
    }
}

fn parse_part(field: Field) -> Result<Part, Error> {
    match field.value().get("type") {
        Some(Value::String(kind)) if kind != "text" => {
            let kind = kind.clone();
            let mut value = field.into_value();
            if let Some(fields) = value.as_object_mut() {
                fields.shift_remove("cache_control");
            }
            Ok(Part::Other { kind, value })
        }
        _ => {
            let mut object = field.object()?;
            object.required("type")?.variant(&[("text", ())])?;
            Ok(Part::Text(object.required("text")?.string()?))
        }
    }
}

fn parse_tool_call(field: Field) -> Result<ToolCall, Error> {
    let mut object = field.object()?;
    let id = object.required("id")?.string()?;
    object.required("type")?.variant(&[("function", ())])?;
    let mut function = object.required("function")?.object()?;
    Ok(ToolCall {
        id,
        name: function.required("name")?.string()?,
        arguments: function.required("arguments")?.string()?,
    })
}

pub(crate) fn parse_tool(field: Field) -> Result<Tool, Error> {
    let mut object = field.object()?;
    object.required("type")?.variant(&[("function", ())])?;
    let mut function = object.required("function")?.object()?;
    let name = function.required("name")?.string()?;
    function.put_back("name", name.clone().into());
    // The values are moved, because a schema may be large.
    if let Some(description) = function.optional("description").map(Field::string).transpose()? {
        function.put_back("description", description.into());
    }
    if let Some(parameters) = function.optional("parameters").map(Field::object).transpose()? {
        function.put_back("parameters", Value::Object(parameters.into_fields()));
    }
    let strict = function.optional("strict").map(Field::bool).transpose()?;
    if let Some(strict) = strict {
        function.put_back("strict", strict.into());
    }
    let strict = strict.unwrap_or(false);
    let mut function = function.into_fields();
    // It is a mark of the request, and not for the model.
    function.shift_remove("cache_control");
    for key in ["description", "parameters", "strict"] {
        if function.get(key).is_some_and(Value::is_null) {
            function.shift_remove(key);
        }
    }
    Ok(Tool { name, strict, function })
}

#[derive(Clone, Copy)]
enum ToolChoiceMode {
    None,
    Auto,
    Required,
}

pub(crate) fn parse_tool_choice(field: Field) -> Result<ToolChoice, Error> {
    if field.value().is_object() {
        let mut object = field.object()?;
        object.required("type")?.variant(&[("function", ())])?;
        return Ok(ToolChoice::Named(object.required("function")?.object()?.required("name")?.string()?));
    }
    let words =
        [("none", ToolChoiceMode::None), ("auto", ToolChoiceMode::Auto), ("required", ToolChoiceMode::Required)];
    Ok(match field.variant(&words)? {
        ToolChoiceMode::None => ToolChoice::None,
        ToolChoiceMode::Auto => ToolChoice::Auto,
        ToolChoiceMode::Required => ToolChoice::Required,
    })
}

pub(crate) fn parse_response_format(field: Field) -> Result<ResponseFormat, Error> {
    let mut object = field.object()?;
    match object.required("type")?.string()?.as_str() {
        "text" => Ok(ResponseFormat::Text),
        "json_object" => Ok(ResponseFormat::JsonObject),
        "json_schema" => {
            let schema = object.required("json_schema")?;
            match schema.value() {
                Value::Object(_) => {}
                _ => return Err(schema.type_error("a map")),
            }
            let Value::Object(schema) = schema.into_value() else { unreachable!("checked above to be an object") };
            Ok(ResponseFormat::JsonSchema(schema))
        }
        other => Ok(ResponseFormat::Unknown(other.into())),
    }
}

/// Parses a string, or a list of strings.
pub(crate) fn parse_stop(field: Field) -> Result<Vec<String>, Error> {
    match field.value() {
        Value::String(_) => Ok(vec![field.string()?]),
        Value::Array(_) => field.array()?.map(Field::string).collect(),
        _ => Err(field.type_error("a string or a sequence of strings")),
    }
}

/// The temperature, nucleus and penalties of a request.
pub(crate) fn parse_sampling(object: &mut Object) -> Result<Sampling, Error> {
    let mut number = |key| object.optional(key).map(Field::number).transpose();
    Ok(Sampling {
        temperature: number("temperature")?,
        top_p: number("top_p")?,
        frequency_penalty: number("frequency_penalty")?,
        presence_penalty: number("presence_penalty")?,
        ..Sampling::default()
    })
}

/// Parses an object of token ids and numbers.
pub(crate) fn parse_logit_bias(field: Field) -> Result<Vec<(u32, f64)>, Error> {
    let entry = |(key, bias): (String, Field)| match key.parse::<u32>() {
        Ok(token) => Ok((token, bias.number()?)),
        Err(_) => Err(bias.error_at("invalid key, expected a token id")),
    };
    field.object()?.entries().map(entry).collect()
}
