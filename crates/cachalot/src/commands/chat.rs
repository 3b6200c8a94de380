//! `cachalot chat`: a conversation in the terminal.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use chat::{Chat, Delta, FinishReason, Input, Message, Provider, Reply, Role, Sampling};
use engine::{Engine, PrefillProgress};
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, watch};

use crate::cache_args::CacheArgs;
use crate::config::Config;
use crate::load::{self, ArithmeticDefaults, ModelArgs};

/// Least number of prompt tokens for which a progress bar is shown.
const LONG_PROMPT: usize = 256;

/// Talk to the model in the terminal
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache_args: CacheArgs,
    /// Let the model think before it answers
    #[arg(long)]
    think: bool,
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
}

fn parse_temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().ok().filter(|temperature| (0.0..=2.0).contains(temperature));
    temperature.ok_or_else(|| "it takes a number from 0 to 2".into())
}

pub fn run(args: &Args) -> Result<()> {
    let loaded = load::model(&args.model, ArithmeticDefaults::Fast)?;
    let encoding = load::encoding(&loaded.checkpoint, &args.model)?;
    let options = args.cache_args.engine_options(&loaded, &Config::default())?;
    let think = args.think || !encoding.supports_non_thinking();
    let engine = Engine::start(loaded.model, encoding, options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(run_conversation(&engine, args, think))
}

async fn run_conversation(engine: &Engine, args: &Args, think: bool) -> Result<()> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if terminal {
        eprintln!("Ctrl-C stops an answer, /new begins a new conversation, /exit or Ctrl-D ends.");
    }
    let first: Vec<Message> = args.system.iter().map(|text| Message::new(Role::System, text)).collect();
    let sampling = Sampling { temperature: args.temperature, seed: args.seed, ..Sampling::default() };
    let mut messages = first.clone();
    let mut lines = stdin_lines();
    loop {
        if terminal {
            print!("> ");
            std::io::stdout().flush()?;
        }
        let line = tokio::select! {
            line = lines.recv() => line,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                println!();
                continue;
            }
        };
        match line.as_deref().map(str::trim) {
            None | Some("/exit") => break,
            Some("") => {}
            Some("/new") => messages.clone_from(&first),
            Some(text) => {
                messages.push(Message::new(Role::User, text));
                match answer(engine, &messages, think, &sampling).await {
                    Ok(reply) => messages.push(Message::new(Role::Assistant, reply.text)),
                    Err(error) => {
                        // Without the failed question the conversation can go on.
                        messages.pop();
                        eprintln!("error: {}", crate::with_causes(&error));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Prints an answer as it arrives. Ctrl-C ends it early and keeps the part that was printed.
async fn answer(engine: &Engine, messages: &[Message], think: bool, sampling: &Sampling) -> Result<Reply> {
    let input = Input::Messages(messages.to_vec());
    let sampling = sampling.clone();
    let mut chat = Chat { model: "chat".into(), input, thinking: Some(think), sampling, ..Chat::default() };
    engine.validate(&mut chat)?;
    let (sender, mut progress) = watch::channel(PrefillProgress::default());
    let mut deltas = engine.chat_with_progress(chat, Some(sender)).await?;
    let mut reply = Reply::default();
    let mut printer = AnswerPrinter::new();
    let bar = prefill_progress_bar();
    let outcome = loop {
        tokio::select! {
            delta = deltas.next() => {
                bar.finish_and_clear();
                match delta {
                    Some(Ok(delta)) => {
                        printer.print_delta(&delta)?;
                        reply.push(delta)?;
                    }
                    Some(Err(error)) => break Err(error.into()),
                    None => break Ok(()),
                }
            }
            Ok(()) = progress.changed() => {
                let PrefillProgress { processed, total } = *progress.borrow_and_update();
                if total >= LONG_PROMPT {
                    bar.set_length(total as u64);
                    bar.set_position(processed as u64);
                }
            }
            interrupt = tokio::signal::ctrl_c() => {
                bar.finish_and_clear();
                break interrupt.map_err(Into::into);
            }
        }
    };
    printer.finish()?;
    if let Some(
        reason @ (FinishReason::Length | FinishReason::ContextFull | FinishReason::InsufficientSystemResource),
    ) = reply.finish
    {
        eprintln!("[ended early: {}]", reason.as_str());
    }
    outcome.map(|()| reply)
}

fn prefill_progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("reading {bar:40} {pos}/{len} tokens").expect("a valid template");
    ProgressBar::new(0).with_style(style)
}

/// Prints the deltas of an answer: reasoning dimmed on a terminal, else between `<think>` tags.
struct AnswerPrinter {
    /// Whether standard output is a terminal.
    styled: bool,
    /// Whether the last delta was reasoning.
    dimmed: bool,
}

impl AnswerPrinter {
    fn new() -> Self {
        Self { styled: std::io::stdout().is_terminal(), dimmed: false }
    }

    fn print_delta(&mut self, delta: &Delta) -> Result<()> {
        match delta {
            Delta::Reasoning { text, .. } => self.write(text, true),
            Delta::Text { text, .. } => self.write(text, false),
            Delta::ToolCall { name, .. } => self.write(&format!("\n[call {name}] "), false),
            Delta::Arguments { text, .. } => self.write(text, false),
            Delta::Start(_) | Delta::Finish(_) | Delta::Usage(_) => Ok(()),
        }
    }

    fn write(&mut self, text: &str, dimmed: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if dimmed != self.dimmed {
            match (self.styled, dimmed) {
                (true, true) => write!(out, "\x1b[2m")?,
                (true, false) => write!(out, "\x1b[0m\n\n")?,
                (false, true) => writeln!(out, "<think>")?,
                (false, false) => writeln!(out, "\n</think>")?,
            }
            self.dimmed = dimmed;
        }
        write!(out, "{text}")?;
        Ok(out.flush()?)
    }

    fn finish(&mut self) -> Result<()> {
        let reset = if self.styled && self.dimmed { "\x1b[0m" } else { "" };
        println!("{reset}");
        Ok(())
    }
}

/// Lines of standard input, read by a thread of their own; the channel closes at the end of input.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            let line = match line {
                Ok(line) => line,
                Err(error) => return eprintln!("error: standard input: {error}"),
            };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
