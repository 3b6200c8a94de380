//! The loop of a conversation: reads lines, carries out commands and prints answers. It knows
//! neither the terminal nor the model.

use std::io::{IsTerminal, Write};

use anyhow::Result;
use chat::{FinishReason, Reply};
use engine::PrefillProgress;
use futures_util::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::answer_printer::{AnswerPrinter, printable};
use super::answer_speed::AnswerSpeed;
use super::connection::Connection;
use super::conversation::Conversation;
use super::interrupts::Interrupts;
use super::line_source::{LineEvent, LineSource};
use super::message_input::MessageInput;
use super::reasoning_display::ReasoningDisplay;
use super::saved_conversation;
use super::slash_command::{self, SlashCommand};

/// Least number of prompt tokens for which a progress bar is shown.
const LONG_PROMPT: usize = 256;

/// A conversation with a model.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) conversation: Conversation,
    pub(super) reasoning: ReasoningDisplay,
    /// Whether the speed of each answer is printed.
    pub(super) verbose: bool,
    pub(super) output: Output,
    pub(super) interrupts: Interrupts,
}

/// Where answers and notes are written.
pub(super) struct Output {
    pub(super) answers: Box<dyn Write>,
    pub(super) notes: Box<dyn Write>,
    /// Whether a person reads along: notices are written, and a new prompt follows each answer.
    pub(super) is_terminal: bool,
    /// Whether answers have styles.
    pub(super) is_styled: bool,
}

impl Output {
    /// Standard output and standard error.
    pub(super) fn standard(is_terminal: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_styled = std::io::stdout().is_terminal() && !plain;
        Self { answers: Box::new(std::io::stdout()), notes: Box::new(std::io::stderr()), is_terminal, is_styled }
    }

    fn note(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.notes, "{}", text.trim_end())?)
    }
}

impl Session {
    /// Holds the conversation until its lines end. Returns the number of lines that failed.
    ///
    /// # Errors
    /// Lines that cannot be read, an output that cannot be written.
    pub(super) fn run(&mut self, runtime: &Runtime, mut lines: Box<dyn LineSource>) -> Result<usize> {
        if self.output.is_terminal {
            self.output.note(&self.connection.description())?;
            self.output.note("/help lists the commands; Ctrl-C stops an answer, Ctrl-D ends.")?;
        }
        let mut input = MessageInput::default();
        let mut failures = 0;
        loop {
            let message = match lines.read_line(input.is_open())? {
                LineEvent::Line(line) => input.push(&line),
                LineEvent::Interrupted => {
                    input.clear();
                    None
                }
                LineEvent::End if input.is_block() => {
                    self.output.note("error: the message that `\"\"\"` began is not ended by `\"\"\"`")?;
                    return Ok(failures + 1);
                }
                LineEvent::End => match input.finish() {
                    Some(message) => Some(message),
                    None => return Ok(failures),
                },
            };
            let Some(message) = message.filter(|message| !message.trim().is_empty()) else { continue };
            lines.remember(&message);
            let outcome = match slash_command::parse(&message) {
                Some(Ok(SlashCommand::Exit)) => return Ok(failures),
                Some(Ok(command)) => self.run_command(command),
                Some(Err(fault)) => Err(anyhow::Error::msg(fault)),
                None => runtime.block_on(self.answer(message.trim())),
            };
            if let Err(error) = outcome {
                // Without the failed question the conversation can go on.
                self.output.note(&format!("error: {}", printable(&crate::with_causes(&error))))?;
                failures += 1;
            }
        }
    }

    fn run_command(&mut self, command: SlashCommand) -> Result<()> {
        match command {
            SlashCommand::Help => self.output.note(&slash_command::help()),
            SlashCommand::New => self.begin_new(""),
            SlashCommand::Clear => self.begin_new(if self.output.is_styled { "\x1b[2J\x1b[3J\x1b[H" } else { "" }),
            SlashCommand::Think(thinking) => self.think(thinking),
            SlashCommand::Reasoning(None) => self.print_reasoning(),
            SlashCommand::Reasoning(Some(display)) => {
                self.reasoning = display;
                let how = if display == ReasoningDisplay::Show { "shown" } else { "folded into a line" };
                self.confirm(&format!("reasoning is {how}"))
            }
            SlashCommand::System(None) => {
                let system = self.conversation.system.as_deref().unwrap_or("there is no system prompt");
                self.output.note(&printable(system))
            }
            SlashCommand::System(Some(text)) => {
                self.conversation.system = Some(text).filter(|text| !text.is_empty());
                self.confirm(if self.conversation.system.is_some() {
                    "the system prompt is set"
                } else {
                    "the system prompt is removed"
                })
            }
            SlashCommand::ShowSettings => self.show_settings(),
            SlashCommand::Set(setting) => {
                self.conversation.settings.set(setting);
                self.confirm(&setting.to_string())
            }
            SlashCommand::Save(path) => {
                saved_conversation::save(&path, &self.conversation, &self.connection.model)?;
                self.confirm(&format!("saved to `{}`", path.display()))
            }
            SlashCommand::Load(path) => {
                let (conversation, model) = saved_conversation::load(&path, &self.conversation)?;
                self.conversation = conversation;
                let other = model.filter(|model| *model != self.connection.model);
                let note = other.map_or(String::new(), |model| format!("; it was held with `{}`", printable(&model)));
                self.confirm(&format!("loaded {} messages{note}", self.conversation.messages.len()))
            }
            SlashCommand::Model(None) => {
                let known = self.connection.known_models().join(", ");
                self.output.note(&format!("{}\n/model NAME changes it: {known}", self.connection.description()))
            }
            SlashCommand::Model(Some(model)) => {
                self.connection.switch_model(&model)?;
                self.confirm(&self.connection.description())
            }
            SlashCommand::Verbose(on) => {
                self.verbose = on.unwrap_or(!self.verbose);
                self.confirm(if self.verbose { "speeds are printed" } else { "speeds are not printed" })
            }
            SlashCommand::Exit => Ok(()),
        }
    }

    /// Tells a person that a command was carried out.
    fn confirm(&mut self, text: &str) -> Result<()> {
        if self.output.is_terminal { self.output.note(text) } else { Ok(()) }
    }

    fn begin_new(&mut self, escape: &str) -> Result<()> {
        self.conversation.clear();
        write!(self.output.answers, "{escape}")?;
        self.output.answers.flush()?;
        self.confirm("a new conversation begins")
    }

    fn think(&mut self, thinking: Option<bool>) -> Result<()> {
        if let Some(thinking) = thinking {
            self.connection.set_thinking(thinking)?;
        }
        let text = match self.connection.thinking {
            Some(true) => "thinking is on",
            Some(false) => "thinking is off",
            None => "the server decides whether the model thinks",
        };
        if thinking.is_some() { self.confirm(text) } else { self.output.note(text) }
    }

    fn print_reasoning(&mut self) -> Result<()> {
        let last = self.conversation.messages.iter().rev().find_map(|message| message.reasoning.as_deref());
        let text = last.map_or_else(|| "no answer has any reasoning".to_owned(), printable);
        self.output.note(&text)
    }

    fn show_settings(&mut self) -> Result<()> {
        let settings = self.conversation.settings.all();
        settings.iter().try_for_each(|setting| self.output.note(&setting.to_string()))
    }

    /// Prints an answer as it arrives. Ctrl-C ends it early and keeps the part that was printed.
    pub(super) async fn answer(&mut self, question: &str) -> Result<()> {
        let request = self.conversation.request(&self.connection.model, self.connection.thinking, question);
        let (sender, mut progress) = watch::channel(PrefillProgress::default());
        let mut speed = AnswerSpeed::start();
        let mut interrupts = self.interrupts.clone();
        let mut interrupt = std::pin::pin!(interrupts.next());
        let mut deltas = tokio::select! {
            deltas = self.connection.ask(request, sender) => deltas?,
            () = &mut interrupt => return self.confirm("[stopped]"),
        };
        let output = &mut self.output;
        // Asked anew for each answer: the window may have another size by now.
        let columns = terminal_size::terminal_size().map(|(columns, _)| columns.0.into());
        let mut printer = AnswerPrinter::new(&mut output.answers, output.is_styled, columns, self.reasoning);
        let mut reply = Reply::default();
        let bar = prefill_progress_bar();
        let outcome = loop {
            tokio::select! {
                delta = deltas.next() => {
                    bar.finish_and_clear();
                    match delta {
                        Some(Ok(delta)) => {
                            speed.push(&delta);
                            printer.push(&delta, speed.elapsed())?;
                            if let Err(error) = reply.push(delta) {
                                break Err(error.into());
                            }
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
                () = &mut interrupt => {
                    bar.finish_and_clear();
                    break Ok(());
                }
            }
        };
        printer.finish(speed.elapsed())?;
        if let Some(
            reason @ (FinishReason::Length | FinishReason::ContextFull | FinishReason::InsufficientSystemResource),
        ) = reply.finish
        {
            output.note(&format!("[ended early: {}]", reason.as_str()))?;
        }
        if self.verbose {
            output.note(&format!("[{speed}]"))?;
        }
        if outcome.is_ok() {
            self.conversation.push(question, reply);
        }
        outcome
    }
}

fn prefill_progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("reading {bar:40} {pos}/{len} tokens").expect("a valid template");
    ProgressBar::new(0).with_style(style)
}

#[cfg(test)]
mod tests;
