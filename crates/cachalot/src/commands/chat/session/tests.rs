//! Conversations with a scripted model and without a terminal.

use std::sync::{Arc, Mutex};
use std::task::Poll;

use chat::{BoxDeltaStream, BoxFuture, Chat, Delta, Error, Input, Message, Provider, StartedAnswer, Usage};
use futures_util::stream;

use super::*;

/// A model that repeats the last message, refuses the message `fail`, and never ends its answer to
/// the message `wait`.
#[derive(Clone, Default)]
struct Echo {
    requests: Arc<Mutex<Vec<Chat>>>,
    /// Sends the interrupt when an answer waits.
    waiting: Arc<Mutex<Option<watch::Sender<u64>>>>,
}

impl Provider for Echo {
    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        let Input::Messages(messages) = &chat.input else { panic!("a chat has messages") };
        let last = messages.last().map(Message::text).unwrap_or_default();
        let thinks = chat.thinking == Some(true);
        self.requests.lock().unwrap().push(chat);
        Box::pin(async move {
            if last == "fail" {
                return Err(Error::invalid("refused on purpose"));
            }
            let reasoning = thinks.then(|| Delta::Reasoning { text: "hm".into(), logprobs: vec![] });
            let text = Delta::Text { text: format!("{} lines: {last}", last.lines().count()), logprobs: vec![] };
            let usage = Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() };
            let deltas = reasoning.into_iter().chain([text]);
            if last == "wait" {
                let waiting = self.waiting.lock().unwrap().take();
                let interrupt = stream::poll_fn(move |_| {
                    waiting.iter().for_each(|interrupts| interrupts.send_modify(|count| *count += 1));
                    Poll::Pending
                });
                let deltas: Vec<_> = deltas.map(Ok).collect();
                return Ok((Box::pin(stream::iter(deltas).chain(interrupt)) as BoxDeltaStream).into());
            }
            let deltas = deltas.chain([Delta::Finish(FinishReason::Stop), Delta::Usage(usage)]);
            Ok((Box::pin(stream::iter(deltas.map(Ok).collect::<Vec<_>>())) as BoxDeltaStream).into())
        })
    }
}

/// Lines of a test, and the messages that were remembered.
struct Script {
    events: std::vec::IntoIter<LineEvent>,
    remembered: Arc<Mutex<Vec<String>>>,
}

impl LineSource for Script {
    fn read_line(&mut self, _continues: bool) -> Result<LineEvent> {
        Ok(self.events.next().unwrap_or(LineEvent::End))
    }

    fn remember(&mut self, message: &str) {
        self.remembered.lock().unwrap().push(message.into());
    }
}

/// An output that a test reads.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A conversation that has ended.
struct Held {
    answers: String,
    notes: String,
    failures: usize,
    requests: Vec<Chat>,
    remembered: Vec<String>,
    session: Session,
}

fn hold(events: Vec<LineEvent>) -> Held {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (interrupts, received) = Interrupts::scripted();
    let echo = Echo { waiting: Arc::new(Mutex::new(Some(interrupts))), ..Echo::default() };
    let (answers, notes) = (Page::default(), Page::default());
    let output = Output {
        answers: Box::new(answers.clone()),
        notes: Box::new(notes.clone()),
        is_terminal: true,
        is_styled: false,
    };
    let mut session = Session {
        connection: Connection::scripted(echo.clone()),
        conversation: Conversation::default(),
        reasoning: ReasoningDisplay::Show,
        verbose: false,
        output,
        interrupts: received,
    };
    let remembered = Arc::<Mutex<Vec<String>>>::default();
    let script = Script { events: events.into_iter(), remembered: remembered.clone() };
    let failures = session.run(&runtime, Box::new(script)).unwrap();
    let text = |page: &Page| String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let requests = echo.requests.lock().unwrap().clone();
    let remembered = remembered.lock().unwrap().clone();
    Held { answers: text(&answers), notes: text(&notes), failures, requests, remembered, session }
}

fn hold_lines(lines: &[&str]) -> Held {
    hold(lines.iter().map(|line| LineEvent::Line((*line).into())).collect())
}

fn texts(chat: &Chat) -> Vec<String> {
    let Input::Messages(messages) = &chat.input else { panic!("a chat has messages") };
    messages.iter().map(Message::text).collect()
}

#[test]
fn a_conversation_remembers_what_was_said() {
    let held = hold_lines(&["one", "", "two", "/new", "three", "/exit", "never read"]);
    assert_eq!(held.answers, "1 lines: one\n1 lines: two\n1 lines: three\n");
    assert_eq!(texts(&held.requests[1]), ["one", "1 lines: one", "two"]);
    assert_eq!(texts(&held.requests[2]), ["three"]);
    assert_eq!((held.failures, held.requests.len()), (0, 3));
    assert_eq!(held.remembered, ["one", "two", "/new", "three", "/exit"]);
    assert!(held.notes.starts_with("scripted\n/help lists"), "{}", held.notes);
}

#[test]
fn pasted_text_is_one_message() {
    let pasted: String = (0..200).map(|line| format!("line {line}\n")).collect();
    let held = hold_lines(&[&pasted, "\"\"\"", "a", "", "b", "\"\"\""]);
    assert!(held.answers.starts_with("200 lines: line 0\n"), "{}", held.answers);
    assert!(held.answers.ends_with("3 lines: a\n\nb\n"), "{}", held.answers);
    assert_eq!(held.requests.len(), 2);
}

#[test]
fn a_failed_question_is_counted_and_forgotten() {
    let held = hold_lines(&["fail", "/hlep", "one"]);
    assert_eq!(held.failures, 2);
    assert!(held.notes.contains("error: refused on purpose\n"), "{}", held.notes);
    assert!(held.notes.contains("did you mean `/help`?"), "{}", held.notes);
    assert_eq!(texts(&held.requests[1]), ["one"]);
}

#[test]
fn an_interrupt_stops_the_answer_and_keeps_its_part() {
    let held = hold_lines(&["wait", "one"]);
    assert_eq!(held.answers, "1 lines: wait\n1 lines: one\n");
    assert_eq!(texts(&held.requests[1]), ["wait", "1 lines: wait", "one"]);
    assert_eq!(held.failures, 0);
}

#[test]
fn an_interrupt_drops_an_unfinished_message() {
    let line = |text: &str| LineEvent::Line(text.into());
    let held = hold(vec![line("\"\"\""), line("a"), LineEvent::Interrupted, line("b")]);
    assert_eq!(held.answers, "1 lines: b\n");
    let unfinished = hold_lines(&["\"\"\"", "a"]);
    assert!(unfinished.failures == 1 && unfinished.requests.is_empty(), "{}", unfinished.notes);
    assert!(hold_lines(&["a\\"]).answers.contains("1 lines: a"));
}

#[test]
fn commands_change_the_next_answer() {
    let lines = ["/system Be brief.", "/set temperature 0.2", "/set max_tokens 7", "/think on", "one", "/reasoning"];
    let held = hold_lines(&lines);
    let chat = &held.requests[0];
    assert_eq!(texts(chat), ["Be brief.", "one"]);
    assert_eq!((chat.thinking, chat.sampling.temperature, chat.max_tokens), (Some(true), Some(0.2), Some(7)));
    assert_eq!(held.answers, "<think>\nhm\n</think>\n1 lines: one\n");
    assert!(held.notes.contains("temperature is 0.2\n") && held.notes.ends_with("thinking is on\nhm\n"));
    let removed = hold_lines(&["/system Be brief.", "/system none", "/set", "/model", "/model other", "one"]);
    assert_eq!(texts(&removed.requests[0]), ["one"]);
    assert!(removed.notes.contains("seed is the default\n"), "{}", removed.notes);
    assert!(removed.notes.contains("error: there is no model `other`"), "{}", removed.notes);
}

#[test]
fn speeds_are_printed_on_request() {
    let held = hold_lines(&["one", "/verbose", "two"]);
    assert_eq!(held.notes.matches("first token after").count(), 1, "{}", held.notes);
    assert!(held.notes.contains("3 prompt tokens (0 cached), 2 tokens in"), "{}", held.notes);
}

#[test]
fn a_conversation_is_saved_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.json").display().to_string();
    let held = hold_lines(&["/system Be brief.", "one", &format!("/save {path}")]);
    assert_eq!(held.failures, 0, "{}", held.notes);
    let loaded = hold_lines(&[&format!("/load {path}"), "two"]);
    assert_eq!(texts(&loaded.requests[0]), ["Be brief.", "one", "1 lines: one", "two"]);
    assert!(loaded.notes.contains("loaded 2 messages\n"), "{}", loaded.notes);
    let missing = hold_lines(&["one", "/load /no/such/file", "two"]);
    assert!(missing.failures == 1 && missing.session.conversation.messages.len() == 4, "{}", missing.notes);
}
