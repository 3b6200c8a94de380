//! `cachalot chat`: a conversation with a model, in the terminal or through a pipe.

mod answer_printer;
mod answer_speed;
mod connection;
mod conversation;
mod interrupts;
mod line_editor;
mod line_source;
mod markdown;
mod message_input;
mod piped_lines;
mod reasoning_display;
mod saved_conversation;
mod session;
mod slash_command;
mod word_wrap;

use std::io::IsTerminal;

use anyhow::{Result, ensure};

use self::connection::{Connection, LocalArgs, ServerArgs};
use self::conversation::Conversation;
use self::interrupts::Interrupts;
use self::line_editor::LineEditor;
use self::line_source::LineSource;
use self::piped_lines::PipedLines;
use self::reasoning_display::ReasoningDisplay;
use self::session::{Output, Session};
use crate::cache_args::CacheArgs;
use crate::load::ModelArgs;

/// Talk to a model in the terminal
///
/// The model is the embedded one, a checkpoint, or one of any server with the chat completions API
/// (`--url`).
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache_args: CacheArgs,
    /// Base URL of a server with OpenAI's chat completions API, such as `http://127.0.0.1:8000`;
    /// `--model` is then the id of one of its models [default: no server]
    #[arg(long, value_name = "URL", conflicts_with_all = ["compute", "cache", "index", "attention", "threads", "allow_mmap_larger_than_memory", "encoding", "context", "cache_memory"])]
    url: Option<String>,
    /// API key of that server [default: the environment variable CACHALOT_KEY, which does not
    /// show it in the list of processes]
    #[arg(long, value_name = "KEY", requires = "url")]
    key: Option<String>,
    /// Let the model think before it answers
    #[arg(long)]
    think: bool,
    /// Show reasoning dimmed, or fold it into one line
    #[arg(long, value_enum, value_name = "show|fold", default_value = "show")]
    reasoning: ReasoningDisplay,
    /// System prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Sampling temperature, 0 to 2; at 0 the likeliest token always follows [default: the one that
    /// the model recommends in its `generation_config.json`, else 1]
    #[arg(long, value_name = "T", value_parser = parse_temperature, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Sampling seed: the same conversation with the same seed has the same answers [default: a
    /// random seed for each answer]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<i64>,
    /// Print the speed of each answer
    #[arg(long)]
    verbose: bool,
    /// Do not keep the typed lines for the next conversation
    #[arg(long)]
    no_history: bool,
    /// Message that is answered; then the program ends [default: messages are read from standard
    /// input]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    message: Option<String>,
}

/// The environment variable of the server's API key.
const KEY_VARIABLE: &str = "CACHALOT_KEY";

const EXAMPLES: &str = "\
Examples:
  cachalot chat
  cachalot chat --model ./DeepSeek-V3.2 --think --verbose
  cachalot chat --url http://127.0.0.1:8000 --model deepseek-chat
  cachalot chat 'Why is the sky blue?'
  echo 'Why is the sky blue?' | cachalot chat

A piped conversation has one message in each line; \"\"\" before and after makes one of several lines.";

fn parse_temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().ok().filter(|temperature| (0.0..=2.0).contains(temperature));
    temperature.ok_or_else(|| "it takes a number from 0 to 2".into())
}

pub fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let connection = match &args.url {
        Some(url) => {
            let key = args.key.clone().or_else(|| std::env::var(KEY_VARIABLE).ok());
            let server = ServerArgs::new(url, key.as_deref(), args.think)?;
            runtime.block_on(Connection::to_server(server, args.model.model.as_deref()))?
        }
        None => {
            let local = LocalArgs { model: args.model.clone(), cache: args.cache_args, think: args.think };
            Connection::to_local_model(local)?
        }
    };
    let mut conversation = Conversation::new(args.system.clone());
    conversation.settings.sampling.temperature = args.temperature;
    conversation.settings.sampling.seed = args.seed;
    let interrupts = Interrupts::listen(&runtime);
    let is_terminal = args.message.is_none() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let lines: Box<dyn LineSource> =
        if is_terminal { Box::new(LineEditor::new(!args.no_history)?) } else { Box::new(PipedLines) };
    let mut session = Session {
        connection,
        conversation,
        reasoning: args.reasoning,
        verbose: args.verbose,
        output: Output::standard(is_terminal),
        interrupts,
    };
    if let Some(message) = &args.message {
        return runtime.block_on(session.answer(message.trim()));
    }
    let failures = session.run(&runtime, lines)?;
    ensure!(is_terminal || failures == 0, "{failures} of the lines had no answer");
    Ok(())
}
