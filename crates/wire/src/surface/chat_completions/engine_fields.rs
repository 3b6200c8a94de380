//! Fields of the APIs of other engines, in the bodies of chat completions and text completions.

use chat::{EngineFields, ResponseFormat};
use serde_json::{Value, json};

use crate::field_reader::Object;
use crate::surface::chat_completions::reasoning::openrouter_effort;

/// Most `stop_token_ids` of a request.
const MAX_END_TOKENS: usize = 64;
/// Fields that would change the answer, and are not honoured.
const IGNORED: [&str; 13] = [
    "bad_words",
    "dry_multiplier",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_regex",
    "ignore_eos",
    "length_penalty",
    "min_tokens",
    "mirostat",
    "regex",
    "typical_p",
    "use_beam_search",
];

/// Takes the fields of other engines. Their APIs are not ours, so that a value of another type is
/// ignored, by name, and never refused.
pub(crate) fn take_engine_fields(object: &mut Object) -> EngineFields {
    let mut taker = Taker { object, names: Vec::new(), ignored: Vec::new() };
    let thinking = taker.take("chat_template_kwargs", template_thinking);
    let thinking = taker.take("enable_thinking", Value::as_bool).or(thinking);
    let format = taker.take("guided_json", json_format);
    let response_format = taker.take("structured_outputs", structured_output).or(format);
    let penalty = taker.take("repeat_penalty", Value::as_f64);
    let fields = EngineFields {
        thinking,
        reasoning_effort: taker.take("reasoning", openrouter_effort),
        response_format,
        top_k: taker.take("top_k", Value::as_i64),
        min_p: taker.take("min_p", Value::as_f64),
        repetition_penalty: taker.take("repetition_penalty", Value::as_f64).or(penalty),
        end_tokens: taker.take("stop_token_ids", token_ids).unwrap_or_default(),
        ..EngineFields::default()
    };
    let Taker { object, names, mut ignored } = taker;
    let has = |name: &&str| object.optional(name).is_some_and(|field| *field.value() != json!(false));
    ignored.extend(IGNORED.into_iter().filter(has));
    EngineFields { names, ignored, ..fields }
}

/// Takes fields by name, and notes which of them can be used.
struct Taker<'a> {
    object: &'a mut Object,
    names: Vec<&'static str>,
    ignored: Vec<&'static str>,
}

impl Taker<'_> {
    fn take<T>(&mut self, name: &'static str, parse: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let parsed = parse(&self.object.optional(name)?.into_value());
        let list = if parsed.is_some() { &mut self.names } else { &mut self.ignored };
        list.push(name);
        parsed
    }
}

fn template_thinking(settings: &Value) -> Option<bool> {
    ["thinking", "enable_thinking"].iter().find_map(|name| settings.get(*name)?.as_bool())
}

/// The format of a JSON schema, which may be an object or the text of one.
fn json_format(schema: &Value) -> Option<ResponseFormat> {
    let schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::String(text) => serde_json::from_str(text).ok().filter(Value::is_object)?,
        _ => return None,
    };
    Some(ResponseFormat::of_schema(schema))
}

/// The format of `structured_outputs`: its `json` or `json_object`.
fn structured_output(value: &Value) -> Option<ResponseFormat> {
    match (value.get("json"), value.get("json_object")) {
        (Some(schema), _) if !schema.is_null() => json_format(schema),
        (_, Some(Value::Bool(true))) => Some(ResponseFormat::JsonObject),
        _ => None,
    }
}

fn token_ids(value: &Value) -> Option<Vec<u32>> {
    let ids = value.as_array().filter(|ids| ids.len() <= MAX_END_TOKENS)?;
    ids.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::field_reader::Field;

    fn take(body: Value) -> EngineFields {
        let Ok(mut object) = Field::root(body).object() else { panic!("an object") };
        take_engine_fields(&mut object)
    }

    #[test]
    fn every_spelling_is_taken() {
        for body in [
            json!({ "chat_template_kwargs": { "thinking": true } }),
            json!({ "chat_template_kwargs": { "enable_thinking": true } }),
            json!({ "enable_thinking": true }),
        ] {
            let fields = take(body);
            assert_eq!((fields.thinking, fields.names.len(), fields.ignored.len()), (Some(true), 1, 0));
        }
        for (reasoning, effort) in [
            (json!({ "effort": "low" }), "low"),
            (json!({ "max_tokens": 9000, "exclude": true }), "medium"),
            (json!({ "enabled": false }), "none"),
        ] {
            let fields = take(json!({ "reasoning": reasoning }));
            assert_eq!((fields.reasoning_effort.as_deref(), fields.names), (Some(effort), vec!["reasoning"]));
        }
        let schema = json!({ "type": "object" });
        let format = json_format(&schema);
        for body in [
            json!({ "guided_json": schema }),
            json!({ "guided_json": schema.to_string() }),
            json!({ "structured_outputs": { "json": schema } }),
        ] {
            assert_eq!(take(body).response_format, format);
        }
        let object = take(json!({ "structured_outputs": { "json_object": true } }));
        assert_eq!(object.response_format, Some(ResponseFormat::JsonObject));
        let sampling = take(json!({ "top_k": 20, "min_p": 0.05, "repeat_penalty": 1.1, "stop_token_ids": [3, 4] }));
        assert_eq!((sampling.top_k, sampling.min_p, sampling.repetition_penalty), (Some(20), Some(0.05), Some(1.1)));
        assert_eq!((sampling.end_tokens, sampling.names.len()), (vec![3, 4], 4));
    }

    #[test]
    fn what_cannot_be_honoured_is_named_and_never_refused() {
        for (name, value) in [
            ("chat_template_kwargs", json!({ "custom": 1 })),
            ("enable_thinking", json!("yes")),
            ("reasoning", json!({ "effort": "much" })),
            ("guided_json", json!("{")),
            ("structured_outputs", json!({ "regex": "a+" })),
            ("guided_regex", json!("a+")),
            ("top_k", json!("many")),
            ("min_p", json!([])),
            ("stop_token_ids", json!([-1])),
            ("ignore_eos", json!(true)),
        ] {
            let fields = take(Value::Object(Map::from_iter([(name.to_owned(), value)])));
            assert_eq!((fields.ignored, fields.names.len()), (vec![name], 0));
        }
        assert_eq!(take(json!({ "ignore_eos": false, "top_k": null, "user": "u" })), EngineFields::default());
    }
}
