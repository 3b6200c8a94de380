//! The prompt of V3.2, whose tool calls are DSML. V3.2 ships no template but a Python encoder; this reproduces its text.

use chat::{Chat, Error, Format, Message, Role, Tool, ToolCall};
use serde_json::{Map, Value, json};

use crate::Tokenizer;
use crate::calls::CallParser;
use crate::dsml::{self, Dsml};
use crate::grammar::{CallRules, Callable};
use crate::pieces::Pieces;
use crate::prompt::{DSML, END_THINK, EOS, Prompt, Start, THINK, USER};
use crate::python_json::python_json;
use crate::turns::{Turn, turns};

const TOOLS: &str = "\n\n## Tools

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

const FORMAT: &str = "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

pub(crate) struct DeepSeekV32;

impl Prompt for DeepSeekV32 {
    fn write(
        &self,
        chat: &Chat,
        messages: &[Message],
        _generate: bool,
        to: &mut Pieces<'_>,
    ) -> Result<Option<Start>, Error> {
        let thinking = chat.thinking == Some(true);
        let kept = without_old_developers(messages, thinking);
        let attachment = Attachment::of(chat, &kept);
        if attachment.to.is_none() {
            attachment.write(to);
        }
        conversation(&turns(kept)?, thinking, &attachment, to)
    }

    fn calls(&self, tokenizer: &Tokenizer, tools: &[Tool]) -> Box<dyn CallParser> {
        Box::new(Dsml::new(tokenizer, tools))
    }

    fn markers(&self) -> &'static [&'static str] {
        &[THINK, END_THINK, DSML]
    }

    fn call_markers(&self) -> &'static [&'static str] {
        &[DSML]
    }

    fn call_rules(&self, tokenizer: &Tokenizer, tools: &[Callable], many: bool) -> CallRules {
        let marker = tokenizer.marker(DSML).expect("the encoding was refused without its marker");
        dsml::grammar::rules(marker, tools, many)
    }
}

/// What goes into the prompt beside the messages, and the message it goes behind.
struct Attachment<'a> {
    tools: &'a [Tool],
    format: Option<Value>,
    /// The first system message, or else the first developer message; without either it stands at the front.
    to: Option<&'a Message>,
}

impl<'a> Attachment<'a> {
    fn of(chat: &'a Chat, messages: &[&'a Message]) -> Self {
        let format = match &chat.format {
            Format::JsonSchema(schema) => Some(json!({ "type": "json_schema", "json_schema": schema })),
            // JSON mode adds no text: the caller's own words must ask for JSON.
            Format::Text | Format::JsonObject | Format::Unknown(_) => None,
        };
        let first = |role| messages.iter().copied().find(|message| message.role == role);
        Self { tools: &chat.tools, format, to: first(Role::System).or_else(|| first(Role::Developer)) }
    }

    fn write(&self, to: &mut Pieces<'_>) {
        if !self.tools.is_empty() {
            to.template(TOOLS);
            for tool in self.tools {
                to.content(&python_json(&Value::Object(tool.function.clone())));
                to.template("\n");
            }
            to.template("</functions>\n");
        }
        if let Some(format) = &self.format {
            to.template(FORMAT);
            to.content(&python_json(format));
        }
    }

    fn write_behind(&self, message: &Message, to: &mut Pieces<'_>) {
        if self.to.is_some_and(|carrier| std::ptr::eq(carrier, message)) {
            self.write(to);
        }
    }
}

fn last_user<'a>(roles: impl DoubleEndedIterator<Item = &'a Message> + ExactSizeIterator) -> Option<usize> {
    let mut roles = roles.into_iter();
    roles.rposition(|message| matches!(message.role, Role::User | Role::Developer))
}

/// The authors' encoder drops old reasoning in thinking mode, and old developer messages with it.
fn without_old_developers(messages: &[Message], thinking: bool) -> Vec<&Message> {
    let last = last_user(messages.iter()).unwrap_or(0);
    let dropped = |index: usize, message: &Message| thinking && index < last && message.role == Role::Developer;
    let kept = messages.iter().enumerate().filter(|(index, message)| !dropped(*index, message));
    kept.map(|(_, message)| message).collect()
}

/// Writes the turns. The tag that opens an answer is written by the turn before it.
fn conversation(
    turns: &[Turn<'_>],
    thinking: bool,
    attachment: &Attachment<'_>,
    to: &mut Pieces<'_>,
) -> Result<Option<Start>, Error> {
    let last_user = last_user(turns.iter().map(|turn| turn.message));
    let mut open = None;
    for (index, turn) in turns.iter().enumerate() {
        match turn.message.role {
            Role::System => {
                to.content(&turn.text);
                attachment.write_behind(turn.message, to);
            }
            Role::User | Role::Developer => {
                to.template(USER);
                if turn.message.role == Role::Developer {
                    developer(turn, attachment, to)?;
                } else {
                    to.content(&turn.text);
                }
                to.template("<｜Assistant｜>");
                open = Some(tag(thinking && last_user == Some(index), to));
            }
            Role::Assistant | Role::Tool => {
                let thinks = thinking && last_user.is_none_or(|last_user| index > last_user);
                if turn.message.prefix {
                    return Ok(Some(prefix(turn, thinks, open, to)));
                }
                if thinks {
                    to.content(turn.message.reasoning.as_deref().unwrap_or_default());
                    to.template(END_THINK);
                }
                to.content(&turn.text);
                calls(turn.message.calls(), to);
                to.template(EOS);
                open = results(turn, thinks, to);
            }
        }
    }
    let ends_open = turns.last().is_some_and(|turn| turn.message.role != Role::System);
    Ok(open.filter(|_| ends_open))
}

fn tag(thinks: bool, to: &mut Pieces<'_>) -> Start {
    to.template(if thinks { THINK } else { END_THINK });
    if thinks { Start::Reasoning } else { Start::Content }
}

fn developer(turn: &Turn<'_>, attachment: &Attachment<'_>, to: &mut Pieces<'_>) -> Result<(), Error> {
    if turn.text.is_empty() {
        return Err(Error::invalid("Invalid developer message: content must be set"));
    }
    attachment.write_behind(turn.message, to);
    to.template("\n\n# The user's message is: ");
    to.content(&turn.text);
    Ok(())
}

/// The beginning of an answer, given by the caller. In thinking mode a content without reasoning begins the reasoning.
fn prefix(turn: &Turn<'_>, thinks: bool, open: Option<Start>, to: &mut Pieces<'_>) -> Start {
    let reasoning = turn.message.reasoning.as_deref().filter(|_| thinks);
    if let Some(reasoning) = reasoning {
        to.content(reasoning);
        if turn.text.is_empty() {
            return Start::Reasoning;
        }
        to.template(END_THINK);
    }
    to.content(&turn.text);
    if reasoning.is_some() { Start::Content } else { open.unwrap_or(Start::Content) }
}

fn calls(calls: &[ToolCall], to: &mut Pieces<'_>) {
    if calls.is_empty() {
        return;
    }
    to.template("\n\n<｜DSML｜function_calls>\n");
    for call in calls {
        to.template("<｜DSML｜invoke name=\"");
        to.content(&call.name);
        to.template("\">\n");
        for (index, (key, value)) in arguments(call).iter().enumerate() {
            to.template(if index == 0 { "" } else { "\n" });
            to.template("<｜DSML｜parameter name=\"");
            to.content(key);
            match value {
                Value::String(text) => {
                    to.template("\" string=\"true\">");
                    to.content(text);
                }
                value => {
                    to.template("\" string=\"false\">");
                    to.content(&python_json(value));
                }
            }
            to.template("</｜DSML｜parameter>");
        }
        to.template("\n</｜DSML｜invoke>\n");
    }
    to.template("</｜DSML｜function_calls>");
}

/// No context has room for more, and a tree of values takes many times the memory of its text.
const MOST_ARGUMENTS_BYTES: usize = 4 << 20;

/// The parameters of a call. Arguments that are no JSON object become one parameter that holds their text.
fn arguments(call: &ToolCall) -> Map<String, Value> {
    let text = Some(call.arguments.as_str()).filter(|text| text.len() <= MOST_ARGUMENTS_BYTES);
    let parsed = text.and_then(|text| serde_json::from_str(text).ok());
    parsed.unwrap_or_else(|| Map::from_iter([("arguments".to_owned(), Value::from(call.arguments.as_str()))]))
}

/// The results of a turn's calls, and the tag after them.
fn results(turn: &Turn<'_>, thinks: bool, to: &mut Pieces<'_>) -> Option<Start> {
    if turn.results.is_empty() {
        return None;
    }
    to.template("\n\n<function_results>");
    for result in &turn.results {
        to.template("\n<result>");
        to.content(result);
        to.template("</result>");
    }
    to.template("\n</function_results>\n\n");
    Some(tag(thinks, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::tiny;

    const HEADER: &str = "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n";

    /// The text of `messages` with `format` behind the message `to`: an attachment no [`Chat`] asks for.
    fn attached(messages: &[Message], format: Value, to: usize) -> String {
        let tokenizer = tiny(&[]);
        let mut pieces = Pieces::new(&tokenizer);
        let attachment = Attachment { tools: &[], format: Some(format), to: Some(&messages[to]) };
        conversation(&turns(messages).unwrap(), false, &attachment, &mut pieces).unwrap();
        pieces.finish().0
    }

    #[test]
    fn arguments_that_fit_no_context_are_not_taken_apart() {
        let call = |values: usize| ToolCall {
            id: "a".into(),
            name: "f".into(),
            arguments: format!("{{\"x\": [{}0]}}", "0,".repeat(values)),
        };
        assert!(arguments(&call(1000))["x"].is_array());
        assert_eq!(arguments(&call(3_000_000)).keys().collect::<Vec<_>>(), ["arguments"]);
    }

    /// The authors' encoder can attach a format to a developer message although there is a system message, and a format
    /// that is no schema (cases 12 and 32 of `dsml_v3.2.json`, case "response format" of `chat_vectors.json`).
    #[test]
    fn formats_look_as_the_authors_write_them_wherever_they_hang() {
        let messages = [Message::new(Role::System, "s"), Message::new(Role::Developer, "Do X")];
        let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": { "名": 1 } } });
        assert_eq!(
            attached(&messages, format, 1),
            format!(
                "s<｜User｜>\n\n{HEADER}{{\"type\": \"json_schema\", \"json_schema\": {{\"name\": \"x\", \"schema\": \
                 {{\"名\": 1}}}}}}\n\n# The user's message is: Do X<｜Assistant｜></think>"
            )
        );
        let messages = [Message::new(Role::System, "S"), Message::new(Role::User, "u")];
        assert_eq!(
            attached(&messages, json!({ "type": "json_object" }), 0),
            format!("S\n\n{HEADER}{{\"type\": \"json_object\"}}<｜User｜>u<｜Assistant｜></think>")
        );
    }
}
