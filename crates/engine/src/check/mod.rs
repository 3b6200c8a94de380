//! Judges a chat as DeepSeek's own service does, before anything is queued: value ranges in the
//! order of the API document, then the structure of the conversation. Nouns in, verdict out;
//! prompts and tokens are not seen here.
//!
//! The lenient profile accepts a few things the service refuses, brings them into plain form
//! and leaves a note.

mod completion;
mod messages;
#[cfg(test)]
mod tests;

use chat::{Chat, Error, Input, Message, Part, ResponseFormat, Role, Tool, ToolChoice};
use serde_json::Value;
use text::{format_schema, strict_schema};

use messages::check_messages;

const MAX_TOOLS: usize = 128;
const MAX_STOPS: usize = 16;
const NAME_PATTERN: &str = "^[a-zA-Z0-9_-]+$";

/// What the loaded model and the operator's settings allow.
#[derive(Clone, Debug)]
pub struct ValidationRules {
    /// Most tokens of prompt and answer together.
    pub context: u32,
    /// The encoding has a thinking mode.
    pub supports_thinking: bool,
    /// The encoding has a non-thinking mode.
    pub supports_non_thinking: bool,
    pub profile: Profile,
    pub reasoning_rules: ReasoningRules,
    /// Token ids are below this.
    pub vocab_size: u32,
}

/// How closely refusals follow DeepSeek's own service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    DeepSeek,
    #[default]
    Lenient,
}

/// Which period's rules hold for reasoning and tools in thinking mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReasoningRules {
    /// Thinks and calls; the reasoning of the current turn comes back with its calls.
    #[default]
    V32,
    /// Reasoning in the input is ignored; a thinking request with tools is answered
    /// without thinking.
    V32Exp,
    /// Reasoning in the input is ignored; a thinking request with tools is refused.
    R1,
}

/// Judges `chat` and brings it into the form the engine reads.
///
/// Afterwards `thinking` is set and final (tools may have switched it off), sampling fields without
/// effect are gone, an alias stands in its proper field, and reasoning the prompt must not see is
/// gone. `max_tokens` stays `None` when the caller gave none: `max_new_tokens` fills it in once the
/// prompt's length is known.
///
/// # Errors
/// `Invalid`, with the text of the API document; the first fault in the document's order wins.
pub fn check(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    completion::check_completion(chat, rules)?;
    check_thinking_mode(chat, rules)?;
    check_length(chat)?;
    check_sampling(chat)?;
    check_response_format(chat, rules)?;
    check_tools(chat, rules)?;
    check_logprobs(chat)?;
    check_logit_bias(chat, rules)?;
    check_user_id(chat)?;
    check_messages(chat, rules)
}

/// The most tokens the answer may have, given the length of its prompt.
///
/// # Errors
/// [`context_length_error`] when the prompt, or the prompt and an explicit `max_tokens`, exceed the
/// context. A default is cut to fit instead.
pub(crate) fn max_new_tokens(chat: &Chat, rules: &ValidationRules, prompt_tokens: usize) -> Result<usize, Error> {
    let context = rules.context as usize;
    let explicit = chat.max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(0));
    if prompt_tokens >= context || prompt_tokens + explicit.unwrap_or(0) > context {
        return Err(context_length_error(context, prompt_tokens, explicit));
    }
    let default = match (&chat.input, chat.thinking) {
        (Input::Messages(_), Some(true)) => 32768,
        (Input::Messages(_), _) => 4096,
        _ => completion::default_max_tokens(chat),
    };
    let paid = chat.affordable_tokens.map_or(usize::MAX, |tokens| usize::try_from(tokens).unwrap_or(0));
    Ok(explicit.unwrap_or(default).min(context - prompt_tokens).min(paid))
}

/// The refusal of a prompt that does not fit. `max_tokens` is the caller's own, not a default.
///
/// LiteLLM recognises it by its first words.
pub(crate) fn context_length_error(context: usize, prompt_tokens: usize, max_tokens: Option<usize>) -> Error {
    build_context_length_error(context, "", prompt_tokens, max_tokens)
}

/// The same of a prompt that has at least so many tokens: it was not counted to its end.
pub(crate) fn uncounted_context_length_error(chat: &Chat, context: usize, at_least: usize) -> Error {
    let explicit = chat.max_tokens.map(|tokens| usize::try_from(tokens).unwrap_or(0));
    build_context_length_error(context, "at least ", at_least, explicit)
}

fn build_context_length_error(
    context: usize,
    at_least: &str,
    prompt_tokens: usize,
    max_tokens: Option<usize>,
) -> Error {
    let completion = max_tokens.unwrap_or(0);
    Error::invalid(format!(
        "This model's maximum context length is {context} tokens. However, you requested {at_least}{} tokens \
         ({prompt_tokens} in the messages, {completion} in the completion). Please reduce the length of the messages or \
         completion.",
        prompt_tokens + completion
    ))
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::invalid(message))
}

fn check_thinking_mode(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let mut thinking = chat.thinking.unwrap_or(false);
    if rules.reasoning_rules == ReasoningRules::V32Exp && !chat.tools.is_empty() {
        thinking = false;
    }
    chat.thinking = Some(thinking);
    match thinking {
        true if !rules.supports_thinking => invalid(format!("{} does not support thinking", chat.model)),
        false if !rules.supports_non_thinking => invalid(format!("{} does not support non-thinking", chat.model)),
        _ => Ok(()),
    }
}

fn check_length(chat: &mut Chat) -> Result<(), Error> {
    if chat.n.is_some_and(|n| n != 1) {
        return invalid("Invalid n value (currently only n = 1 is supported)");
    }
    let name = if chat.max_tokens.is_some() { "max_tokens" } else { "max_completion_tokens" };
    let alias = chat.max_completion_tokens.take();
    chat.max_tokens = chat.max_tokens.or(alias);
    let most = match (&chat.input, chat.thinking) {
        (Input::Messages(_), Some(true)) => 65536,
        (Input::Messages(_), _) => 8192,
        _ => completion::MAX_TOKENS,
    };
    if chat.clamp_max_tokens {
        chat.max_tokens = chat.max_tokens.map(|tokens| tokens.min(most));
    }
    match chat.max_tokens {
        Some(tokens) if !(1..=most).contains(&tokens) => {
            invalid(format!("Invalid {name} value, the valid range of {name} is [1, {most}]"))
        }
        _ => Ok(()),
    }
}

fn check_sampling(chat: &mut Chat) -> Result<(), Error> {
    let sampling = &mut chat.sampling;
    let within = |name: &str, value: Option<f64>, low: f64, high: f64| match value {
        Some(value) if !(low..=high).contains(&value) => {
            invalid(format!("Invalid {name} value, the valid range of {name} is [{low}, {high}]"))
        }
        _ => Ok(()),
    };
    within("temperature", sampling.temperature, 0.0, 2.0)?;
    if sampling.top_p.is_some_and(|top_p| !(top_p > 0.0 && top_p <= 1.0)) {
        return invalid("Invalid top_p value, the valid range of top_p is (0, 1.0]");
    }
    within("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?;
    within("presence_penalty", sampling.presence_penalty, -2.0, 2.0)?;
    if chat.thinking == Some(true) {
        sampling.temperature = None;
        sampling.top_p = None;
        sampling.frequency_penalty = None;
        sampling.presence_penalty = None;
    }
    if chat.stop.len() > MAX_STOPS {
        return invalid("Invalid stop value, at most 16 stop sequences are supported");
    }
    if chat.stop.iter().any(|stop| !(1..=256).contains(&stop.chars().count())) {
        return invalid("Invalid stop value, a stop sequence must have 1 to 256 characters");
    }
    Ok(())
}

/// JSON output must be asked for in words too: a model that does not know of it writes white space
/// until it is cut.
fn check_response_format(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    match &chat.response_format {
        ResponseFormat::Text => Ok(()),
        ResponseFormat::Unknown(_) => invalid("This response_format type is unavailable now"),
        ResponseFormat::JsonSchema(format) => {
            let name = format.get("name").and_then(Value::as_str).unwrap_or_default();
            if !matches_name_pattern(name) || name.len() > 64 {
                return invalid(
                    "Invalid 'response_format.json_schema.name': expected a string that matches the pattern \
                     '^[a-zA-Z0-9_-]{1,64}$'.",
                );
            }
            format_schema(format).map(|_| ())
        }
        ResponseFormat::JsonObject => {
            let Input::Messages(messages) = &mut chat.input else { return Ok(()) };
            if messages.is_empty() || messages.iter().any(|message| message.text().to_lowercase().contains("json")) {
                return Ok(());
            }
            if rules.profile == Profile::DeepSeek {
                return invalid(
                    "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
                );
            }
            add_json_instruction(messages);
            chat.notes.push("`json_object` without the word json in the prompt: an instruction was added".into());
            Ok(())
        }
    }
}

fn add_json_instruction(messages: &mut Vec<Message>) {
    const JSON_INSTRUCTION: &str = "Respond with one JSON object.";
    match messages.iter_mut().find(|message| message.role == Role::System) {
        Some(system) => system.content.get_or_insert_default().push(Part::Text(format!("\n\n{JSON_INSTRUCTION}"))),
        None => messages.insert(0, Message::new(Role::System, JSON_INSTRUCTION)),
    }
}

fn check_tools(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    if std::mem::take(&mut chat.empty_tools) {
        if rules.profile == Profile::DeepSeek {
            return invalid(empty_array_error("tools"));
        }
        chat.notes.push("an empty `tools` is treated as absent".into());
    }
    if chat.tools.len() > MAX_TOOLS {
        return invalid(array_too_long_error("tools", MAX_TOOLS, chat.tools.len()));
    }
    for (index, tool) in chat.tools.iter().enumerate() {
        check_tool_name(index, tool, &chat.tools[..index])?;
    }
    if rules.reasoning_rules == ReasoningRules::R1 && chat.thinking == Some(true) && !chat.tools.is_empty() {
        return invalid(format!("{} does not support Function Calling", chat.model));
    }
    check_strict(chat, rules)?;
    check_tool_choice(chat, rules)
}

fn check_tool_name(index: usize, tool: &Tool, earlier: &[Tool]) -> Result<(), Error> {
    let field = format!("tools[{index}].function.name");
    if !matches_name_pattern(&tool.name) {
        return invalid(pattern_error(&field));
    }
    if tool.name.len() > 64 {
        return invalid(format!(
            "Invalid '{field}': string too long. Expected a string with maximum length 64, but got a string with length \
             {} instead.",
            tool.name.len()
        ));
    }
    if earlier.iter().any(|other| other.name == tool.name) {
        return invalid("Tool names must be unique.");
    }
    Ok(())
}

/// The beta root promises arguments that match their schema; elsewhere the flag is a wish, granted
/// where it can be.
fn check_strict(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    if !chat.tools.iter().any(|tool| tool.strict) {
        return Ok(());
    }
    if chat.beta && !chat.tools.iter().all(|tool| tool.strict) {
        return invalid("All tools must set strict to true in strict mode");
    }
    for tool in chat.tools.iter_mut().filter(|tool| tool.strict) {
        match strict_schema(tool) {
            Ok(_) => {}
            Err(fault) if chat.beta => return Err(fault),
            Err(_) => {
                tool.strict = false;
                if rules.profile == Profile::Lenient {
                    chat.notes.push(format!(
                        "`strict` of the tool {} is not honoured: its schema is not supported",
                        tool.name
                    ));
                }
            }
        }
    }
    Ok(())
}

fn check_tool_choice(chat: &mut Chat, rules: &ValidationRules) -> Result<(), Error> {
    let named = match &chat.tool_choice {
        Some(ToolChoice::Required) => None,
        Some(ToolChoice::Named(name)) => Some(name),
        Some(ToolChoice::None | ToolChoice::Auto) | None => return Ok(()),
    };
    if chat.tools.is_empty() {
        return invalid("Tool choice is set but no tools are provided");
    }
    if let Some(name) = named.filter(|&name| chat.tools.iter().all(|tool| tool.name != *name)) {
        return invalid(format!("Tool '{name}' not found in tools"));
    }
    if chat.thinking == Some(true) {
        if rules.profile == Profile::DeepSeek {
            return invalid(format!("{} does not support this tool_choice", chat.model));
        }
        chat.notes.push("a forced `tool_choice` in thinking mode is honoured after the reasoning".into());
    }
    Ok(())
}

fn check_logprobs(chat: &Chat) -> Result<(), Error> {
    let unsupported = |name| invalid(format!("{} does not support the parameter `{name}`", chat.model));
    let thinking = chat.thinking == Some(true);
    if thinking && chat.logprobs == Some(true) {
        return unsupported("logprobs");
    }
    let Some(top) = chat.top_logprobs else { return Ok(()) };
    if thinking {
        return unsupported("top_logprobs");
    }
    if !(0..=20).contains(&top) {
        return invalid("Invalid top_logprobs value, the valid range of top_logprobs is [0, 20]");
    }
    if chat.logprobs != Some(true) {
        return invalid("Invalid top_logprobs and logprobs value, logprobs must be set to true if top_logprobs is set");
    }
    Ok(())
}

fn check_logit_bias(chat: &Chat, rules: &ValidationRules) -> Result<(), Error> {
    for &(token, bias) in &chat.sampling.logit_bias {
        if token >= rules.vocab_size {
            return invalid(format!("Invalid logit_bias token id {token}, ids are below {}", rules.vocab_size));
        }
        if !(-100.0..=100.0).contains(&bias) {
            return invalid("Invalid logit_bias value, the valid range of logit_bias is [-100, 100]");
        }
    }
    Ok(())
}

fn check_user_id(chat: &mut Chat) -> Result<(), Error> {
    let Some(id) = chat.user_id.take() else { return Ok(()) };
    if !matches_name_pattern(&id) {
        return invalid(pattern_error("user_id"));
    }
    if id.len() > 512 {
        return invalid(format!(
            "Invalid 'user_id': string too long. Expected a string with maximum length 512, but got a string with length \
             {} instead.",
            id.len()
        ));
    }
    chat.user = Some(id);
    Ok(())
}

fn matches_name_pattern(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn pattern_error(field: &str) -> String {
    format!(
        "Invalid '{field}': string does not match pattern. Expected a string that matches the pattern '{NAME_PATTERN}'."
    )
}

fn empty_array_error(field: &str) -> String {
    format!("Invalid '{field}': empty array. Expected an array with minimum length 1, but got an empty array instead.")
}

fn array_too_long_error(field: &str, max: usize, found: usize) -> String {
    format!(
        "Invalid '{field}': array too long. Expected an array with maximum length {max}, but got an array with length \
         {found} instead."
    )
}
