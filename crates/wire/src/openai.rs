//! The shapes of OpenAI's chat completions: messages, tools, formats, model lists.

use chat::{Error, Format, Message, Part, Role, Tool, ToolCall, ToolChoice};
use serde::Serialize;
use serde_json::Value;

use crate::reader::{Field, Object};

pub(crate) fn message(field: Field) -> Result<Message, Error> {
    let mut object = field.object()?;
    let role = object.required("role")?.variant(&[
        ("system", Role::System),
        ("user", Role::User),
        ("assistant", Role::Assistant),
        ("tool", Role::Tool),
        ("developer", Role::System),
    ])?;
    let mut message = Message { content: None, ..Message::new(role, "") };
    message.content = match role {
        Role::Assistant => object.optional("content").map(content).transpose()?,
        _ => Some(content(object.required("content")?)?),
    };
    message.name = object.optional("name").map(Field::text).transpose()?;
    match role {
        Role::Assistant => assistant(&mut message, object)?,
        Role::Tool => message.tool_call_id = Some(object.required("tool_call_id")?.text()?),
        _ => {}
    }
    Ok(message)
}

fn assistant(message: &mut Message, mut object: Object) -> Result<(), Error> {
    message.reasoning = object.optional("reasoning_content").map(Field::text).transpose()?;
    message.prefix = object.optional("prefix").map(Field::bool).transpose()?.unwrap_or(false);
    if let Some(calls) = object.optional("tool_calls") {
        message.tool_calls = Some(calls.list()?.map(tool_call).collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// A string, or a list of parts.
fn content(field: Field) -> Result<Vec<Part>, Error> {
    match field.value() {
        Value::Array(_) => field.list()?.map(part).collect(),
        _ => Ok(vec![Part::Text(field.text()?)]),
    }
}

fn part(field: Field) -> Result<Part, Error> {
    match field.value().get("type") {
        Some(Value::String(kind)) if kind != "text" => {
            Ok(Part::Other { kind: kind.clone(), value: field.into_value() })
        }
        _ => {
            let mut object = field.object()?;
            object.required("type")?.variant(&[("text", ())])?;
            Ok(Part::Text(object.required("text")?.text()?))
        }
    }
}

fn tool_call(field: Field) -> Result<ToolCall, Error> {
    let mut object = field.object()?;
    let id = object.required("id")?.text()?;
    object.required("type")?.variant(&[("function", ())])?;
    let mut function = object.required("function")?.object()?;
    Ok(ToolCall { id, name: function.required("name")?.text()?, arguments: function.required("arguments")?.text()? })
}

pub(crate) fn tool(field: Field) -> Result<Tool, Error> {
    let mut object = field.object()?;
    object.required("type")?.variant(&[("function", ())])?;
    let mut function = object.required("function")?.object()?;
    let name = function.required("name")?.text()?;
    function.keep("name", name.clone().into());
    // They go on as they are: a schema is not copied.
    if let Some(description) = function.optional("description").map(Field::text).transpose()? {
        function.keep("description", description.into());
    }
    if let Some(parameters) = function.optional("parameters").map(Field::object).transpose()? {
        function.keep("parameters", Value::Object(parameters.into_fields()));
    }
    let strict = function.optional("strict").map(Field::bool).transpose()?;
    if let Some(strict) = strict {
        function.keep("strict", strict.into());
    }
    let strict = strict.unwrap_or(false);
    let mut function = function.into_fields();
    for key in ["description", "parameters", "strict"] {
        if function.get(key).is_some_and(Value::is_null) {
            function.shift_remove(key);
        }
    }
    Ok(Tool { name, strict, function })
}

#[derive(Clone, Copy)]
enum Choice {
    None,
    Auto,
    Required,
}

pub(crate) fn tool_choice(field: Field) -> Result<ToolChoice, Error> {
    if field.value().is_object() {
        let mut object = field.object()?;
        object.required("type")?.variant(&[("function", ())])?;
        return Ok(ToolChoice::Named(object.required("function")?.object()?.required("name")?.text()?));
    }
    let words = [("none", Choice::None), ("auto", Choice::Auto), ("required", Choice::Required)];
    Ok(match field.variant(&words)? {
        Choice::None => ToolChoice::None,
        Choice::Auto => ToolChoice::Auto,
        Choice::Required => ToolChoice::Required,
    })
}

pub(crate) fn format(field: Field) -> Result<Format, Error> {
    let mut object = field.object()?;
    match object.required("type")?.text()?.as_str() {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" => {
            let schema = object.required("json_schema")?;
            match schema.value() {
                Value::Object(_) => {}
                _ => return Err(schema.mismatch("a map")),
            }
            let Value::Object(schema) = schema.into_value() else { unreachable!("just seen to be an object") };
            Ok(Format::JsonSchema(schema))
        }
        other => Ok(Format::Unknown(other.into())),
    }
}

/// A string, or a list of strings.
pub(crate) fn stop(field: Field) -> Result<Vec<String>, Error> {
    match field.value() {
        Value::String(_) => Ok(vec![field.text()?]),
        Value::Array(_) => field.list()?.map(Field::text).collect(),
        _ => Err(field.mismatch("a string or a sequence of strings")),
    }
}

/// An object of token ids and numbers.
pub(crate) fn logit_bias(field: Field) -> Result<Vec<(u32, f64)>, Error> {
    let entry = |(key, bias): (String, Field)| match key.parse::<u32>() {
        Ok(token) => Ok((token, bias.number()?)),
        Err(_) => Err(bias.fault("invalid key, expected a token id")),
    };
    field.object()?.entries().map(entry).collect()
}

/// One line of `GET /models`.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    pub id: String,
    object: &'static str,
    created: u64,
    pub owned_by: String,
}

impl Model {
    /// `created` is the day of the release of V3.2: OpenAI's type wants a number and no better one is known.
    pub fn new(id: impl Into<String>, owned_by: impl Into<String>) -> Self {
        Self { id: id.into(), object: "model", created: 1_764_547_200, owned_by: owned_by.into() }
    }

    pub fn render(&self) -> String {
        serde_json::to_string(self).expect("a model is plain data")
    }
}

/// The body of `GET /models`.
pub fn models(data: &[Model]) -> String {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: &'a [Model],
    }
    serde_json::to_string(&List { object: "list", data }).expect("a list of models is plain data")
}
