//! The commands of a conversation: lines that begin with `/`.

use std::fmt;
use std::path::PathBuf;

use super::reasoning_display::ReasoningDisplay;

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SlashCommand {
    Help,
    /// Begins a new conversation.
    New,
    /// Begins a new conversation on an empty screen.
    Clear,
    /// Shows or sets whether the model thinks before it answers.
    Think(Option<bool>),
    /// Prints the last reasoning, or sets how reasoning is shown.
    Reasoning(Option<ReasoningDisplay>),
    /// Shows, sets or removes (an empty text) the system prompt.
    System(Option<String>),
    /// Shows the settings.
    ShowSettings,
    Set(Setting),
    Save(PathBuf),
    Load(PathBuf),
    /// Shows the models, or changes to one.
    Model(Option<String>),
    Verbose(Option<bool>),
    Exit,
}

/// A setting of `/set` with its value; `None`: the default of the model or its server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Setting {
    Temperature(Option<f64>),
    TopP(Option<f64>),
    Seed(Option<i64>),
    MaxTokens(Option<i64>),
}

impl Setting {
    /// Every setting with its default.
    pub(super) const DEFAULTS: [Self; 4] =
        [Self::Temperature(None), Self::TopP(None), Self::Seed(None), Self::MaxTokens(None)];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Temperature(_) => "temperature",
            Self::TopP(_) => "top_p",
            Self::Seed(_) => "seed",
            Self::MaxTokens(_) => "max_tokens",
        }
    }

    /// Whether the value is in range.
    pub(super) fn is_in_range(self) -> bool {
        match self {
            Self::Temperature(value) => value.is_none_or(|value| (0.0..=2.0).contains(&value)),
            Self::TopP(value) => value.is_none_or(|value| value > 0.0 && value <= 1.0),
            Self::Seed(_) => true,
            Self::MaxTokens(value) => value.is_none_or(|value| value >= 1),
        }
    }

    /// The values that it takes.
    fn rule(self) -> &'static str {
        match self {
            Self::Temperature(_) => "a number from 0 to 2",
            Self::TopP(_) => "a number above 0 and up to 1",
            Self::Seed(_) => "a whole number of 64 bits",
            Self::MaxTokens(_) => "a whole number from 1",
        }
    }

    /// The same setting with the value of a text; `None` for a text that is not such a value.
    fn with_value(self, text: &str) -> Option<Self> {
        let setting = match self {
            Self::Temperature(_) => Self::Temperature(Some(text.parse().ok()?)),
            Self::TopP(_) => Self::TopP(Some(text.parse().ok()?)),
            Self::Seed(_) => Self::Seed(Some(text.parse().ok()?)),
            Self::MaxTokens(_) => Self::MaxTokens(Some(text.parse().ok()?)),
        };
        Some(setting).filter(|setting| setting.is_in_range())
    }
}

/// "seed is 7", "seed is the default".
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self {
            Self::Temperature(value) | Self::TopP(value) => value.map(|value| value.to_string()),
            Self::Seed(value) | Self::MaxTokens(value) => value.map(|value| value.to_string()),
        };
        write!(f, "{} is {}", self.name(), value.as_deref().unwrap_or("the default"))
    }
}

/// Names, arguments and explanations, in the order of `/help`.
const COMMANDS: [(&str, &str, &str); 14] = [
    ("/help", "", "list the commands"),
    ("/new", "", "begin a new conversation"),
    ("/clear", "", "begin a new conversation on an empty screen"),
    ("/think", "[on|off]", "let the model think before it answers"),
    ("/reasoning", "[show|fold]", "print the last reasoning; show it dimmed or fold it into a line"),
    ("/system", "[TEXT|none]", "show, set or remove the system prompt"),
    ("/set", "[NAME VALUE]", "temperature, top_p, seed or max_tokens; the value `default` undoes it"),
    ("/save", "FILE", "write the conversation to a file"),
    ("/load", "FILE", "continue the conversation of a file"),
    ("/model", "[NAME]", "list the models, or talk to another one"),
    ("/verbose", "[on|off]", "print the speed of each answer"),
    ("/exit", "", "end (also Ctrl-D)"),
    ("/quit", "", "the same"),
    ("/bye", "", "the same"),
];

/// The text of `/help`.
pub(super) fn help() -> String {
    let mut text = String::new();
    for (name, arguments, explanation) in COMMANDS.iter().filter(|(.., explanation)| *explanation != "the same") {
        text.push_str(&format!("  {:<24} {explanation}\n", format!("{name} {arguments}")));
    }
    text.push_str(
        "\nCtrl-C stops an answer. Pasted text is one message. \"\"\" before and after a message lets it have\n\
         several lines; a line that ends with \\ is continued. A message that begins with / is written\n\
         after a space.\n",
    );
    text
}

/// The names of commands that begin with `start`.
pub(super) fn completions(start: &str) -> Vec<String> {
    let names = COMMANDS.iter().map(|(name, ..)| (*name).to_owned());
    names.filter(|name| start.starts_with('/') && name.starts_with(start)).collect()
}

/// Reads a command. `None` for a message: a text without a leading slash, or a path such as
/// `/usr/bin`.
///
/// # Errors
/// A command that does not exist, or arguments that it does not take.
pub(super) fn parse(line: &str) -> Option<Result<SlashCommand, String>> {
    let line = line.trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let word = name.strip_prefix('/')?;
    if !word.chars().all(|c| c.is_ascii_alphabetic() || c == '?') {
        return None;
    }
    Some(parse_command(name, rest.trim()))
}

fn parse_command(name: &str, rest: &str) -> Result<SlashCommand, String> {
    let command = match name {
        "/help" | "/?" => SlashCommand::Help,
        "/new" => SlashCommand::New,
        "/clear" => SlashCommand::Clear,
        "/exit" | "/quit" | "/bye" => SlashCommand::Exit,
        "/think" => return Ok(SlashCommand::Think(parse_switch(name, rest)?)),
        "/verbose" => return Ok(SlashCommand::Verbose(parse_switch(name, rest)?)),
        "/reasoning" => return parse_reasoning(rest),
        "/system" => {
            let text = if rest == "none" { "" } else { rest };
            return Ok(SlashCommand::System((!rest.is_empty()).then(|| text.to_owned())));
        }
        "/set" => return parse_setting(rest),
        "/save" => return parse_file(name, rest).map(SlashCommand::Save),
        "/load" => return parse_file(name, rest).map(SlashCommand::Load),
        "/model" => return Ok(SlashCommand::Model((!rest.is_empty()).then(|| rest.to_owned()))),
        _ => return Err(unknown(name)),
    };
    if rest.is_empty() { Ok(command) } else { Err(format!("`{name}` takes no argument, and there is `{rest}`")) }
}

fn unknown(name: &str) -> String {
    let known = COMMANDS.iter().map(|(name, ..)| *name);
    match crate::suggestion::nearest(name, known) {
        Some(near) => format!("there is no command `{name}`: did you mean `{near}`?"),
        None => format!("there is no command `{name}`: /help lists them"),
    }
}

fn parse_switch(name: &str, text: &str) -> Result<Option<bool>, String> {
    match text {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        _ => Err(format!("`{name}` takes `on` or `off`, not `{text}`")),
    }
}

fn parse_reasoning(text: &str) -> Result<SlashCommand, String> {
    match text {
        "" => Ok(SlashCommand::Reasoning(None)),
        "show" => Ok(SlashCommand::Reasoning(Some(ReasoningDisplay::Show))),
        "fold" => Ok(SlashCommand::Reasoning(Some(ReasoningDisplay::Fold))),
        _ => Err(format!("`/reasoning` takes `show` or `fold`, not `{text}`")),
    }
}

fn parse_setting(text: &str) -> Result<SlashCommand, String> {
    if text.is_empty() {
        return Ok(SlashCommand::ShowSettings);
    }
    let names = || Setting::DEFAULTS.map(Setting::name).join(", ");
    let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let default = Setting::DEFAULTS.into_iter().find(|setting| setting.name() == name);
    let default = default.ok_or_else(|| format!("there is no setting `{name}`: `/set` takes {}", names()))?;
    let setting = match value.trim() {
        "default" => Some(default),
        value => default.with_value(value),
    };
    let fault = || {
        let found = if value.trim().is_empty() { String::new() } else { format!(", not `{}`", value.trim()) };
        format!("`{name}` takes {} or `default`{found}", default.rule())
    };
    setting.map(SlashCommand::Set).ok_or_else(fault)
}

fn parse_file(name: &str, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err(format!("`{name}` takes the path of a file")) } else { Ok(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let read = |line: &str| parse(line).unwrap().unwrap();
        assert_eq!(read("/help "), SlashCommand::Help);
        assert_eq!(read("/think"), SlashCommand::Think(None));
        assert_eq!(read("/think off"), SlashCommand::Think(Some(false)));
        assert_eq!(read("/system Be brief.\nRhyme."), SlashCommand::System(Some("Be brief.\nRhyme.".into())));
        assert_eq!(read("/system none"), SlashCommand::System(Some(String::new())));
        assert_eq!(read("/set temperature  0.2"), SlashCommand::Set(Setting::Temperature(Some(0.2))));
        assert_eq!(read("/set seed default"), SlashCommand::Set(Setting::Seed(None)));
        // A 64-bit float cannot represent it.
        let seed = 9_007_199_254_740_993;
        assert_eq!(read(&format!("/set seed {seed}")), SlashCommand::Set(Setting::Seed(Some(seed))));
        assert_eq!(Setting::Seed(Some(seed)).to_string(), "seed is 9007199254740993");
        assert_eq!(read("/save a b.json"), SlashCommand::Save("a b.json".into()));
        assert_eq!(read("/bye"), SlashCommand::Exit);
    }

    #[test]
    fn messages_are_not_commands() {
        for message in ["hello", " /help", "/usr/bin/env is what?", "/", "", "/2 of it", "// a comment"] {
            assert!(matches!(parse(message), None | Some(Err(_))), "{message}");
        }
        assert!(parse(" /help").is_none() && parse("/usr/bin/env is what?").is_none() && parse("").is_none());
    }

    #[test]
    fn faults_are_named_with_the_remedy() {
        for (line, fault) in [
            ("/hlep", "did you mean `/help`?"),
            ("/frobnicate", "/help lists them"),
            ("/think maybe", "takes `on` or `off`, not `maybe`"),
            ("/reasoning off", "takes `show` or `fold`"),
            ("/set temperature 2.1", "takes a number from 0 to 2 or `default`, not `2.1`"),
            ("/set temperature NaN", "a number from 0 to 2"),
            ("/set top_p 0", "a number above 0"),
            ("/set max_tokens 1.5", "a whole number from 1"),
            ("/set seed 9223372036854775808", "a whole number of 64 bits"),
            ("/set", ""),
            ("/set warmth 1", "`/set` takes temperature, top_p, seed, max_tokens"),
            ("/save", "takes the path of a file"),
            ("/exit now", "takes no argument"),
        ] {
            match parse(line).unwrap() {
                Err(error) => assert!(error.contains(fault), "{line}: {error}"),
                Ok(command) => assert_eq!(command, SlashCommand::ShowSettings, "{line}"),
            }
        }
    }

    #[test]
    fn names_are_completed() {
        assert_eq!(completions("/s"), ["/system", "/set", "/save"]);
        assert!(completions("s").is_empty() && completions("").is_empty());
        assert!(COMMANDS.iter().all(|(name, ..)| parse(name).is_some()));
    }

    #[test]
    fn help_fits_100_columns() {
        assert!(help().lines().all(|line| line.chars().count() <= 100), "{}", help());
    }
}
