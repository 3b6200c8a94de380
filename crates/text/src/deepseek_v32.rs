//! The prompt format of V3.2, whose tool calls are DSML. V3.2 is released with a Python encoder
//! instead of a template; this format reproduces its text.

use chat::{Chat, Error, Message, ResponseFormat, Role, Tool, ToolCall};
use serde_json::{Map, Value, json};

use crate::call_parser::CallParser;
use crate::control_tokens::{DSML, END_THINK, EOS, THINK, USER};
use crate::dsml::{self, DsmlParser};
use crate::grammar::{CallRules, ToolSignature};
use crate::prompt_format::{PromptFormat, ResponseStart};
use crate::prompt_writer::PromptWriter;
use crate::python_json::python_json;
use crate::tokenizer::Tokenizer;
use crate::turns::{Turn, turns};

const TOOLS_TEMPLATE: &str = "\n\n## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a \"<｜DSML｜function_calls>\" block like the following as part of your reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name=\"$FUNCTION_NAME\">
<｜DSML｜parameter name=\"$PARAMETER_NAME\" string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name=\"$FUNCTION_NAME2\">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. \
The \"string\" attribute should be set to \"true\" for string type parameters and \"false\" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
";

const RESPONSE_FORMAT_TEMPLATE: &str =
    "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

/// The prompt format of V3.2.
pub(crate) struct DeepSeekV32;

impl PromptFormat for DeepSeekV32 {
    fn write_prompt(
        &self,
        chat: &Chat,
        messages: &[Message],
        _generate: bool,
        prompt: &mut PromptWriter<'_>,
    ) -> Result<Option<ResponseStart>, Error> {
        let thinking = chat.thinking == Some(true);
        let kept = drop_old_developer_messages(messages, thinking);
        let attachment = Attachment::new(chat, &kept);
        if attachment.carrier.is_none() {
            attachment.write(prompt);
        }
        write_turns(&turns(kept)?, thinking, &attachment, prompt)
    }

    fn call_parser(&self, tokenizer: &Tokenizer, tools: &[Tool]) -> Box<dyn CallParser> {
        Box::new(DsmlParser::new(tokenizer, tools))
    }

    fn required_tokens(&self) -> &'static [&'static str] {
        &[THINK, END_THINK, DSML]
    }

    fn call_tokens(&self) -> &'static [&'static str] {
        &[DSML]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[ToolSignature], allow_parallel: bool) -> CallRules {
        let marker = tokenizer.added_token_id(DSML).expect("the encoding was refused without its marker");
        dsml::grammar::call_rules(marker, tools, allow_parallel)
    }
}

/// The tool definitions and the response format, which follow one of the messages.
struct Attachment<'a> {
    tools: &'a [Tool],
    format: Option<Value>,
    /// The message that they follow: the first system message, or else the first developer message.
    /// `None`: they stand at the front.
    carrier: Option<&'a Message>,
}

impl<'a> Attachment<'a> {
    fn new(chat: &'a Chat, messages: &[&'a Message]) -> Self {
        let format = match &chat.response_format {
            ResponseFormat::JsonSchema(schema) => Some(json!({ "type": "json_schema", "json_schema": schema })),
            // JSON mode adds no text: the caller's messages must request JSON.
            ResponseFormat::Text | ResponseFormat::JsonObject | ResponseFormat::Unknown(_) => None,
        };
        let first = |role| messages.iter().copied().find(|message| message.role == role);
        Self { tools: &chat.tools, format, carrier: first(Role::System).or_else(|| first(Role::Developer)) }
    }

    fn write(&self, prompt: &mut PromptWriter<'_>) {
        if !self.tools.is_empty() {
            prompt.push_template(TOOLS_TEMPLATE);
            for tool in self.tools {
                prompt.push_content(&python_json(&Value::Object(tool.function.clone())));
                prompt.push_template("\n");
            }
            prompt.push_template("</functions>\n");
        }
        if let Some(format) = &self.format {
            prompt.push_template(RESPONSE_FORMAT_TEMPLATE);
            prompt.push_content(&python_json(format));
        }
    }

    fn write_after(&self, message: &Message, prompt: &mut PromptWriter<'_>) {
        if self.carrier.is_some_and(|carrier| std::ptr::eq(carrier, message)) {
            self.write(prompt);
        }
    }
}

fn last_user_index<'a>(roles: impl DoubleEndedIterator<Item = &'a Message> + ExactSizeIterator) -> Option<usize> {
    let mut roles = roles.into_iter();
    roles.rposition(|message| matches!(message.role, Role::User | Role::Developer))
}

/// Drops developer messages before the last user message in thinking mode, as the authors' encoder
/// does.
fn drop_old_developer_messages(messages: &[Message], thinking: bool) -> Vec<&Message> {
    let last = last_user_index(messages.iter()).unwrap_or(0);
    let dropped = |index: usize, message: &Message| thinking && index < last && message.role == Role::Developer;
    let kept = messages.iter().enumerate().filter(|(index, message)| !dropped(*index, message));
    kept.map(|(_, message)| message).collect()
}

/// Writes the turns. The turn before an answer writes the tag that opens it.
fn write_turns(
    turns: &[Turn<'_>],
    thinking: bool,
    attachment: &Attachment<'_>,
    prompt: &mut PromptWriter<'_>,
) -> Result<Option<ResponseStart>, Error> {
    let last_user = last_user_index(turns.iter().map(|turn| turn.message));
    let mut open = None;
    for (index, turn) in turns.iter().enumerate() {
        match turn.message.role {
            Role::System => {
                prompt.push_content(&turn.text);
                attachment.write_after(turn.message, prompt);
            }
            Role::User | Role::Developer => {
                prompt.push_template(USER);
                if turn.message.role == Role::Developer {
                    write_developer(turn, attachment, prompt)?;
                } else {
                    prompt.push_content(&turn.text);
                }
                prompt.push_template("<｜Assistant｜>");
                open = Some(open_response(thinking && last_user == Some(index), prompt));
            }
            Role::Assistant | Role::Tool => {
                let thinks = thinking && last_user.is_none_or(|last_user| index > last_user);
                if turn.message.prefix {
                    return Ok(Some(write_prefix(turn, thinks, open, prompt)));
                }
                if thinks {
                    prompt.push_content(turn.message.reasoning.as_deref().unwrap_or_default());
                    prompt.push_template(END_THINK);
                }
                prompt.push_content(&turn.text);
                write_calls(turn.message.calls(), prompt);
                prompt.push_template(EOS);
                open = write_results(turn, thinks, prompt);
            }
        }
    }
    let ends_open = turns.last().is_some_and(|turn| turn.message.role != Role::System);
    Ok(open.filter(|_| ends_open))
}

fn open_response(thinks: bool, prompt: &mut PromptWriter<'_>) -> ResponseStart {
    prompt.push_template(if thinks { THINK } else { END_THINK });
    if thinks { ResponseStart::Reasoning } else { ResponseStart::Content }
}

fn write_developer(turn: &Turn<'_>, attachment: &Attachment<'_>, prompt: &mut PromptWriter<'_>) -> Result<(), Error> {
    if turn.text.is_empty() {
        return Err(Error::invalid("Invalid developer message: content must be set"));
    }
    attachment.write_after(turn.message, prompt);
    prompt.push_template("\n\n# The user's message is: ");
    prompt.push_content(&turn.text);
    Ok(())
}

/// Writes the prefilled beginning of an answer. In thinking mode, content without reasoning begins
/// the reasoning.
fn write_prefix(
    turn: &Turn<'_>,
    thinks: bool,
    open: Option<ResponseStart>,
    prompt: &mut PromptWriter<'_>,
) -> ResponseStart {
    let reasoning = turn.message.reasoning.as_deref().filter(|_| thinks);
    if let Some(reasoning) = reasoning {
        prompt.push_content(reasoning);
        if turn.text.is_empty() {
            return ResponseStart::Reasoning;
        }
        prompt.push_template(END_THINK);
    }
    prompt.push_content(&turn.text);
    if reasoning.is_some() { ResponseStart::Content } else { open.unwrap_or(ResponseStart::Content) }
}

fn write_calls(calls: &[ToolCall], prompt: &mut PromptWriter<'_>) {
    if calls.is_empty() {
        return;
    }
    prompt.push_template("\n\n<｜DSML｜function_calls>\n");
    for call in calls {
        prompt.push_template("<｜DSML｜invoke name=\"");
        prompt.push_content(&call.name);
        prompt.push_template("\">\n");
        for (index, (key, value)) in call_parameters(call).iter().enumerate() {
            prompt.push_template(if index == 0 { "" } else { "\n" });
            prompt.push_template("<｜DSML｜parameter name=\"");
            prompt.push_content(key);
            match value {
                Value::String(text) => {
                    prompt.push_template("\" string=\"true\">");
                    prompt.push_content(text);
                }
                value => {
                    prompt.push_template("\" string=\"false\">");
                    prompt.push_content(&python_json(value));
                }
            }
            prompt.push_template("</｜DSML｜parameter>");
        }
        prompt.push_template("\n</｜DSML｜invoke>\n");
    }
    prompt.push_template("</｜DSML｜function_calls>");
}

/// Maximum length of arguments that are parsed. Longer ones do not fit into the context, and their
/// parsed values would take many times the memory of the text.
const MAX_ARGUMENTS_BYTES: usize = 4 << 20;

/// The parameters of a call. Arguments that are not a JSON object become one parameter with their
/// text.
fn call_parameters(call: &ToolCall) -> Map<String, Value> {
    let text = Some(call.arguments.as_str()).filter(|text| text.len() <= MAX_ARGUMENTS_BYTES);
    let parsed = text.and_then(|text| serde_json::from_str(text).ok());
    parsed.unwrap_or_else(|| Map::from_iter([("arguments".to_owned(), Value::from(call.arguments.as_str()))]))
}

/// Writes the results of a turn's calls and the tag after them.
fn write_results(turn: &Turn<'_>, thinks: bool, prompt: &mut PromptWriter<'_>) -> Option<ResponseStart> {
    if turn.results.is_empty() {
        return None;
    }
    prompt.push_template("\n\n<function_results>");
    for result in &turn.results {
        prompt.push_template("\n<result>");
        prompt.push_content(result);
        prompt.push_template("</result>");
    }
    prompt.push_template("\n</function_results>\n\n");
    Some(open_response(thinks, prompt))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::byte_tokenizer;

    const HEADER: &str = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

    /// The text of `messages` with `format` after message `to`, which a [`Chat`] cannot request.
    fn rendered_with_attachment(messages: &[Message], format: Value, to: usize) -> String {
        let tokenizer = byte_tokenizer(&[]);
        let mut prompt = PromptWriter::new(&tokenizer);
        let attachment = Attachment { tools: &[], format: Some(format), carrier: Some(&messages[to]) };
        write_turns(&turns(messages).unwrap(), false, &attachment, &mut prompt).unwrap();
        prompt.finish().0
    }

    #[test]
    fn arguments_that_fit_no_context_are_not_taken_apart() {
        let call = |values: usize| ToolCall {
            id: "a".into(),
            name: "f".into(),
            arguments: format!("{{\"x\": [{}0]}}", "0,".repeat(values)),
        };
        assert!(call_parameters(&call(1000))["x"].is_array());
        assert_eq!(call_parameters(&call(3_000_000)).keys().collect::<Vec<_>>(), ["arguments"]);
    }

    /// The authors' encoder can attach a format to a developer message although there is a system
    /// message, and a format that is not a schema (cases 12 and 32 of `dsml_v3.2.json`, case
    /// "response format" of `chat_vectors.json`).
    #[test]
    fn formats_look_as_the_authors_write_them_wherever_they_hang() {
        let messages = [Message::new(Role::System, "s"), Message::new(Role::Developer, "Do X")];
        let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": { "名": 1 } } });
        assert_eq!(
            rendered_with_attachment(&messages, format, 1),
            format!(
                "s<｜User｜>\n\n{HEADER}{{\"type\": \"json_schema\", \"json_schema\": {{\"name\": \"x\", \"schema\": \
                 {{\"名\": 1}}}}}}\n\n# The user's message is: Do X<｜Assistant｜></think>"
            )
        );
        let messages = [Message::new(Role::System, "S"), Message::new(Role::User, "u")];
        assert_eq!(
            rendered_with_attachment(&messages, json!({ "type": "json_object" }), 0),
            format!("S\n\n{HEADER}{{\"type\": \"json_object\"}}<｜User｜>u<｜Assistant｜></think>")
        );
    }
}
