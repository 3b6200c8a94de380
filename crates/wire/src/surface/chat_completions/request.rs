//! The request body of `POST /chat/completions`: OpenAI's, with DeepSeek's fields.

use chat::{Attention, Chat, Error, Input, Sampling};

use serde_json::Value;

use crate::field_reader::{Field, Object};
use crate::json;
use crate::surface::cache_control::cache_control_of_tools;
use crate::surface::chat_completions::engine_fields::take_engine_fields;
use crate::surface::chat_completions::fields;
use crate::surface::chat_completions::reasoning::{parse_reasoning_effort, parse_thinking};
use crate::surface::uncarried::take_uncarried;

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatCompletionRequest {
    pub chat: Chat,
    pub stream: bool,
    /// Whether a streamed answer ends with a chunk of usage.
    pub include_usage: bool,
}

/// The fields of OpenAI's API that have no place in a chat.
const UNCARRIED: [&str; 13] = [
    "audio",
    "function_call",
    "functions",
    "metadata",
    "modalities",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "verbosity",
    "web_search_options",
];
/// Maximum number of choices that are answered as chats of their own.
const MAX_CHOICES: i64 = 8;

impl ChatCompletionRequest {
    /// The number of choices. An invalid `n` is left to the provider.
    fn choices(&self) -> usize {
        let n = self.chat.n.filter(|n| (2..=MAX_CHOICES).contains(n));
        n.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
    }

    /// The approximate number of bytes that the chats of all choices take.
    pub fn memory_bytes(&self) -> usize {
        self.chat.memory_bytes().saturating_mul(self.choices())
    }

    /// One chat for each choice.
    pub fn into_chats(self) -> Vec<Chat> {
        match self.choices() {
            1 => vec![self.chat],
            count => (0..count as u32).map(|choice| Chat { choice: Some(choice), ..self.chat.clone() }).collect(),
        }
    }
}

/// Parses a request body. Unknown fields are ignored at every level; null means absent.
///
/// `chat.beta` stays false: it depends on the path of the request.
///
/// # Errors
/// `InvalidRequest`: bytes that are not strict JSON, or a field of the wrong type, with its path.
/// Ranges are validated later.
pub fn parse_request(body: &[u8]) -> Result<ChatCompletionRequest, Error> {
    request_from_json(json::parse(body)?)
}

/// Converts a parsed body.
///
/// # Errors
/// As [`parse_request`].
pub fn request_from_json(body: Value) -> Result<ChatCompletionRequest, Error> {
    let mut object = Field::root(body).object()?;
    let mut chat = Chat { model: object.required("model")?.string()?, ..Chat::default() };
    let messages = object.required("messages")?;
    let uncarried = uncarried_in_messages(messages.value());
    chat.input = Input::Messages(messages.array()?.map(fields::parse_message).collect::<Result<_, _>>()?);

    if let Some(thinking) = object.optional("thinking") {
        (chat.thinking, chat.reasoning_effort) = parse_thinking(thinking)?;
    }
    if let Some(effort) = object.optional("reasoning_effort") {
        chat.reasoning_effort = Some(parse_reasoning_effort(effort)?);
    }
    let StreamOptions { stream, include_usage } = common_fields(&mut chat, &mut object)?;
    chat.response_format =
        object.optional("response_format").map(fields::parse_response_format).transpose()?.unwrap_or_default();

    if let Some(tools) = object.optional("tools") {
        chat.tools_cache_control = cache_control_of_tools(tools.value());
        chat.tools = tools.array()?.map(fields::parse_tool).collect::<Result<_, _>>()?;
        chat.empty_tools = chat.tools.is_empty();
    }
    chat.cache_control = object.optional("cache_control").map(Field::into_value);
    chat.tool_choice = object.optional("tool_choice").map(fields::parse_tool_choice).transpose()?;
    chat.parallel_tool_calls = object.optional("parallel_tool_calls").map(Field::bool).transpose()?;

    chat.logprobs = object.optional("logprobs").map(Field::bool).transpose()?;
    chat.top_logprobs = object.optional("top_logprobs").map(Field::integer).transpose()?;
    chat.uncarried = take_uncarried(&mut object, &UNCARRIED);
    chat.uncarried.extend(uncarried);
    Ok(ChatCompletionRequest { chat, stream, include_usage })
}

/// The names of the parts of earlier answers that have no place in a chat.
fn uncarried_in_messages(messages: &Value) -> Vec<&'static str> {
    let has = |name: &str| {
        let of_message = |message: &Value| message.get(name).is_some_and(|value| !value.is_null());
        messages.as_array().is_some_and(|messages| messages.iter().any(of_message))
    };
    let names = [("audio", "audio of earlier answers"), ("function_call", "function_call of earlier answers")];
    names.into_iter().filter(|(name, _)| has(name)).map(|(_, note)| note).collect()
}

/// The options of streaming.
pub(crate) struct StreamOptions {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
}

/// Parses the fields that chat completions and text completions share.
pub(crate) fn common_fields(chat: &mut Chat, object: &mut Object) -> Result<StreamOptions, Error> {
    let mut integer = |key| object.optional(key).map(Field::integer).transpose();
    chat.n = integer("n")?;
    chat.max_tokens = integer("max_tokens")?;
    chat.max_completion_tokens = integer("max_completion_tokens")?;
    let seed = integer("seed")?;
    let sampling = fields::parse_sampling(object)?;
    chat.sampling = Sampling {
        seed,
        logit_bias: object.optional("logit_bias").map(fields::parse_logit_bias).transpose()?.unwrap_or_default(),
        ..sampling
    };
    chat.engine_fields = take_engine_fields(object);
    chat.stop = object.optional("stop").map(fields::parse_stop).transpose()?.unwrap_or_default();
    chat.user = object.optional("user").map(Field::string).transpose()?;
    chat.user_id = object.optional("user_id").map(Field::string).transpose()?;
    if let Some(own) = object.optional("cachalot") {
        chat.is_local_only = true;
        chat.attention = parse_attention(own)?;
    }
    let stream = object.optional("stream").map(Field::bool).transpose()?.unwrap_or(false);
    let include_usage = object.optional("stream_options").map(parse_include_usage).transpose()?.unwrap_or(false);
    Ok(StreamOptions { stream, include_usage })
}

/// Parses `{"attention": "dense" | "sparse"}`. Fields that this version does not know are refused.
fn parse_attention(field: Field) -> Result<Option<Attention>, Error> {
    let mut own = field.object()?;
    let attention = own
        .optional("attention")
        .map(|field| field.variant(&[("dense", Attention::Dense), ("sparse", Attention::Sparse)]));
    let attention = attention.transpose()?;
    match own.entries().find(|(key, _)| key != "attention") {
        Some((key, field)) => Err(field.error_at(&format!("unknown field `{key:.64}`, expected `attention`"))),
        None => Ok(attention),
    }
}

fn parse_include_usage(field: Field) -> Result<bool, Error> {
    Ok(field.object()?.optional("include_usage").map(Field::bool).transpose()?.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::{Part, ResponseFormat, Role, ToolChoice};
    use proptest::prelude::*;

    /// A body with `rest` after the two required fields.
    fn body_with(rest: &str) -> String {
        format!(r#"{{"model":"deepseek-chat","messages":[{{"role":"user","content":"Say hi"}}]{rest}}}"#)
    }

    fn parse(rest: &str) -> Chat {
        parse_request(body_with(rest).as_bytes()).expect("this body is accepted").chat
    }

    fn parse_error(body: &str) -> String {
        let message = parse_request(body.as_bytes()).expect_err("this body is refused").message;
        let prefix = "Failed to deserialize the JSON body into the target type: ";
        message.strip_prefix(prefix).expect("the prefix stands").to_owned()
    }

    fn body_with_messages(list: &str) -> String {
        format!(r#"{{"model":"deepseek-chat","messages":{list}}}"#)
    }

    #[test]
    fn every_field_finds_its_place() {
        let chat = parse(
            r#","thinking":{"type":"enabled","budget_tokens":5},"reasoning_effort":"low","n":1,"max_tokens":512.0,
            "max_completion_tokens":9,"temperature":0,"top_p":0.5,"frequency_penalty":1,"presence_penalty":-1,
            "stop":["a","b"],"response_format":{"type":"json_object"},
            "tools":[{"type":"function","function":{"name":"f","parameters":null,"strict":true,"z":1}}],
            "tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,"logprobs":true,
            "top_logprobs":3,"seed":-4,"logit_bias":{"17":-2.5},"user":"u","user_id":"v""#,
        );
        assert_eq!((chat.thinking, chat.reasoning_effort.as_deref()), (Some(true), Some("low")));
        assert_eq!((chat.n, chat.max_tokens, chat.max_completion_tokens), (Some(1), Some(512), Some(9)));
        assert_eq!((chat.sampling.temperature, chat.sampling.top_p), (Some(0.0), Some(0.5)));
        assert_eq!((chat.sampling.frequency_penalty, chat.sampling.presence_penalty), (Some(1.0), Some(-1.0)));
        assert_eq!((chat.sampling.seed, chat.sampling.logit_bias.as_slice()), (Some(-4), [(17, -2.5)].as_slice()));
        assert_eq!((chat.stop, chat.response_format), (vec!["a".to_owned(), "b".into()], ResponseFormat::JsonObject));
        assert_eq!(serde_json::to_string(&chat.tools[0].function).unwrap(), r#"{"name":"f","strict":true,"z":1}"#);
        assert_eq!((chat.tool_choice, chat.parallel_tool_calls), (Some(ToolChoice::Named("f".into())), Some(false)));
        assert_eq!((chat.logprobs, chat.top_logprobs), (Some(true), Some(3)));
        assert_eq!((chat.user.as_deref(), chat.user_id.as_deref()), (Some("u"), Some("v")));
    }

    #[test]
    fn the_object_of_this_server_has_known_fields_only() {
        let own = |value: &str| parse(&format!(r#","cachalot":{value}"#));
        for (value, attention) in [
            (r#"{"attention":"dense"}"#, Some(Attention::Dense)),
            (r#"{"attention":"sparse"}"#, Some(Attention::Sparse)),
            (r#"{"attention":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!((own(value).attention, own(value).is_local_only), (attention, true), "{value}");
        }
        assert!(!own("null").is_local_only);
        for (value, error) in [
            (r#"{"attention":"all"}"#, "cachalot.attention: unknown variant `all`, expected one of `dense`, `sparse`"),
            (r#"{"attention":1}"#, "cachalot.attention: invalid type: integer `1`, expected a string"),
            (r#"{"atention":"dense"}"#, "cachalot.atention: unknown field `atention`, expected `attention`"),
            (r#"{"attention":"dense","trace":true}"#, "cachalot.trace: unknown field `trace`, expected `attention`"),
            ("[]", "cachalot: invalid type: sequence, expected a map"),
        ] {
            assert_eq!(parse_error(&body_with(&format!(r#","cachalot":{value}"#))), error);
        }
    }

    #[test]
    fn unknown_and_null_fields_are_as_good_as_absent() {
        let rest = r#","foo":1,"store":false,"metadata":{},"bar":{"a":"b"},"functions":[],"tools":null,"stop":null,"stream":null,
            "logprobs":null,"thinking":null,"response_format":null,"stream_options":null,"logit_bias":null"#;
        assert_eq!(
            parse_request(body_with(rest).as_bytes()).unwrap(),
            parse_request(body_with("").as_bytes()).unwrap()
        );
    }

    #[test]
    fn fields_without_a_place_are_named() {
        let chat = parse(r#","store":true,"metadata":{"a":"b"},"functions":[1],"service_tier":"flex""#);
        assert_eq!(chat.uncarried, ["functions", "metadata", "service_tier", "store"]);
    }

    #[test]
    fn messages_of_every_role_are_read() {
        let request = parse_request(
            body_with_messages(
                r#"[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"text","text":"a"},
                {"type":"image_url","image_url":{"url":"x"}}],"name":"n"},{"role":"assistant","content":null,"prefix":true,
                "reasoning_content":"r","tool_calls":[{"id":"1","type":"function","function":{"name":"f",
                "arguments":"not json"}}]},{"role":"tool","tool_call_id":"1","content":"24","prefix":"ignored here"}]"#,
            )
            .as_bytes(),
        );
        let Input::Messages(messages) = request.unwrap().chat.input else { unreachable!() };
        assert_eq!(
            messages.iter().map(|m| m.role).collect::<Vec<_>>(),
            [Role::System, Role::User, Role::Assistant, Role::Tool]
        );
        assert_eq!((messages[1].text().as_str(), messages[1].name.as_deref()), ("a", Some("n")));
        assert!(matches!(&messages[1].content.as_ref().unwrap()[1], Part::Other { kind, .. } if kind == "image_url"));
        assert_eq!((messages[2].prefix, messages[2].reasoning.as_deref()), (true, Some("r")));
        assert_eq!((messages[2].content.as_ref(), messages[2].calls()[0].arguments.as_str()), (None, "not json"));
        assert_eq!(messages[3].tool_call_id.as_deref(), Some("1"));
    }

    #[test]
    fn reasoning_of_other_services_is_read() {
        for (fields, reasoning) in [
            (r#""reasoning":"r""#, Some("r")),
            (r#""reasoning":"r","reasoning_content":"c""#, Some("c")),
            (
                r#""reasoning_details":[{"type":"reasoning.text","text":"a"},{"type":"reasoning.encrypted","data":"x"},{"type":"reasoning.summary","summary":"b"}]"#,
                Some("ab"),
            ),
            (r#""reasoning":null,"reasoning_details":[]"#, None),
            (r#""reasoning":{"effort":"low"}"#, None),
        ] {
            let messages = format!(r#"[{{"role":"assistant","content":"a",{fields}}}]"#);
            let chat = parse_request(body_with_messages(&messages).as_bytes()).unwrap().chat;
            let Input::Messages(messages) = chat.input else { unreachable!() };
            assert_eq!(messages[0].reasoning.as_deref(), reasoning, "{fields}");
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_by_its_path() {
        assert_eq!(parse_error(r#"{"messages":[]}"#), "missing field `model`");
        assert_eq!(parse_error("null"), "invalid type: null, expected a map");
        assert_eq!(
            parse_error(&body_with_messages("\"hi\"")),
            "messages: invalid type: string \"hi\", expected a sequence"
        );
        assert_eq!(
            parse_error(&body_with_messages(r#"[{"role":"wizard","content":"x"}]"#)),
            "messages[0].role: unknown variant `wizard`, expected one of `system`, `user`, `assistant`, `tool`, \
             `developer`"
        );
        assert_eq!(
            parse_error(&body_with_messages(r#"[{"role":"user","content":"x"},{"role":"user"}]"#)),
            "messages[1]: missing field `content`"
        );
        let flat = r#"[{"role":"assistant","tool_calls":[{"id":"1","type":"function","name":"f"}]}]"#;
        assert_eq!(parse_error(&body_with_messages(flat)), "messages[0].tool_calls[0]: missing field `function`");
        for (rest, text) in [
            (r#","max_tokens":"512""#, "max_tokens: invalid type: string \"512\", expected i64"),
            (r#","max_tokens":1.5"#, "max_tokens: invalid type: floating point `1.5`, expected i64"),
            (r#","temperature":"hot""#, "temperature: invalid type: string \"hot\", expected a number"),
            (r#","stream":"yes""#, "stream: invalid type: string \"yes\", expected a boolean"),
            (r#","stream":1"#, "stream: invalid type: integer `1`, expected a boolean"),
            (r#","stop":5"#, "stop: invalid type: integer `5`, expected a string or a sequence of strings"),
            (r#","stop":[5]"#, "stop[0]: invalid type: integer `5`, expected a string"),
            (
                r#","thinking":{"type":"maybe"}"#,
                "thinking.type: unknown variant `maybe`, expected one of `enabled`, `disabled`, `auto`, `adaptive`",
            ),
            (r#","tools":[{"type":"web"}]"#, "tools[0].type: unknown variant `web`, expected `function`"),
            (r#","logit_bias":{"x":1}"#, "logit_bias.x: invalid key, expected a token id"),
        ] {
            assert_eq!(parse_error(&body_with(rest)), text);
        }
        assert!(
            parse_error(&body_with(r#","reasoning_effort":"much""#))
                .starts_with("reasoning_effort: unknown variant `much`")
        );
    }

    #[test]
    fn an_error_does_not_repeat_a_long_value() {
        assert!(parse_error(&body_with_messages(&format!("\"{}\"", "é".repeat(100_000)))).len() < 400);
    }

    #[test]
    fn an_empty_list_of_tools_differs_from_an_absent_one() {
        assert!(parse(r#","tools":[]"#).empty_tools);
        assert!(!parse("").empty_tools);
    }

    const PIECES: [&str; 14] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "1e3",
        "\"\\ud800\"",
        "\"role\"",
        "\"tool\"",
        "true",
        "\u{feff}",
        "\"\"",
    ];

    proptest! {
        #[test]
        fn no_body_makes_the_parser_panic(at in 0usize..600, cut in 0usize..40, pieces in prop::collection::vec(0usize..14, 0..6)) {
            let mut bytes = body_with(
                r#","thinking":{"type":"enabled"},"stop":["a"],"response_format":{"type":"json_schema","json_schema":{}},
                "tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto","logit_bias":{"17":-2.5},
                "stream_options":{"include_usage":true},"seed":18446744073709551615"#,
            )
            .into_bytes();
            let at = at.min(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, pieces.iter().flat_map(|&piece| PIECES[piece].bytes()));
            if let Err(error) = parse_request(&bytes) {
                prop_assert!(error.message.starts_with("Failed to "));
            }
        }
    }
}
