//! The lines of the text log: the time to the second, the level, the event and its fields. On a
//! terminal a request is shortened to what a person reads.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes the lines of the text log.
pub(crate) struct LogLine {
    /// Whether the log is read on a terminal.
    pub(crate) is_terminal: bool,
}

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

impl<S, N> FormatEvent<S, N> for LogLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let is_colored = writer.has_ansi_escapes();
        writer.write_str(&self.line(Timestamp::now(), *event.metadata().level(), &fields, is_colored))?;
        writer.write_char('\n')
    }
}

impl LogLine {
    fn line(&self, time: Timestamp, level: Level, fields: &Fields, is_colored: bool) -> String {
        let paint = |style: &str, text: &str| {
            if is_colored { format!("{style}{text}{RESET}") } else { text.to_owned() }
        };
        let time = time.strftime(if self.is_terminal { "%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string();
        let level = match level {
            Level::ERROR => paint("\x1b[31m", "ERROR"),
            Level::WARN => paint("\x1b[33m", " WARN"),
            Level::INFO => paint("\x1b[32m", " INFO"),
            Level::DEBUG => paint("\x1b[34m", "DEBUG"),
            Level::TRACE => paint("\x1b[35m", "TRACE"),
        };
        if self.is_terminal && fields.message == "request" {
            return format!("{} {}", paint(DIM, &time), fields.request(&paint));
        }
        let mut line = format!("{} {level} {}", paint(DIM, &time), fields.message);
        for (name, value) in &fields.others {
            line.push_str(&format!(" {}{value}", paint(DIM, &format!("{name}="))));
        }
        line
    }
}

/// The message of an event and its other fields, in their order. Texts are quoted where they have
/// a space or a character that is not printable.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A request: status, method and path, time, key, model, provider and tokens. One that failed
    /// has its id too, by which further lines are found.
    fn request(&self, paint: &impl Fn(&str, &str) -> String) -> String {
        let status = self.get("status").unwrap_or("---");
        let failed = self.get("failed").is_some() || !status.starts_with(['1', '2', '3']);
        let color = if failed { "\x1b[31m" } else { "\x1b[32m" };
        let mut line = format!(
            "{} {} {}",
            paint(color, status),
            self.get("method").unwrap_or_default(),
            paint(BOLD, self.get("path").unwrap_or_default())
        );
        let milliseconds = self.get("ms").and_then(|ms| ms.parse::<u64>().ok());
        let time =
            milliseconds.map(|ms| if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1000.0) });
        let _ = write!(line, "  {}", time.unwrap_or_default());
        if let Some(key) = self.get("key") {
            let _ = write!(line, "  key {key}");
        }
        if let Some(model) = self.get("model") {
            let provider = self.get("provider").map_or(String::new(), |provider| format!(" ({provider})"));
            let _ = write!(line, "  {model}{provider}");
        }
        if let (Some(prompt), Some(completion)) = (self.get("prompt_tokens"), self.get("completion_tokens")) {
            let _ = write!(line, "  {prompt}+{completion} tokens");
        }
        if failed {
            let _ = write!(line, "  {}", paint(DIM, &format!("id {}", self.get("id").unwrap_or_default())));
        }
        line
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            // A hint may be a line of its own.
            let is_control = |c: char| c.is_control() && c != '\n';
            self.message = value.chars().map(|c| if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
            return;
        }
        let is_plain = !value.is_empty() && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
        self.others.push((field.name(), if is_plain { value.to_owned() } else { format!("{value:?}") }));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_str(field, &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The message and values with `%` arrive here as their `Display`, as `format_args!`.
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// A log that a test reads.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// The lines that the events of `log` write, without the times.
    fn written(is_terminal: bool, log: impl FnOnce()) -> Vec<String> {
        let kept = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(kept.clone())
            .with_ansi(false)
            .event_format(LogLine { is_terminal })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let time = if is_terminal { "10:20:31".len() } else { "2026-11-29T10:20:31Z".len() };
        text.lines().map(|line| line[time + 1..].to_owned()).collect()
    }

    fn log_request(status: u16) {
        tracing::info!(
            id = "0193a5f0",
            method = "POST",
            path = "/v1/chat/completions",
            status = Some(status),
            failed = None::<bool>,
            key = Some("alice"),
            model = Some("deepseek-chat"),
            provider = Some("deepseek"),
            prompt_tokens = Some(1234_u64),
            completion_tokens = Some(56_u64),
            ms = 1234_u64,
            "request"
        );
    }

    #[test]
    fn a_request_fits_100_columns_of_a_terminal() {
        let lines = written(true, || {
            log_request(200);
            log_request(402);
        });
        let short = "200 POST /v1/chat/completions  1.2 s  key alice  deepseek-chat (deepseek)  1234+56 tokens";
        assert_eq!(lines[0], short);
        assert!("10:20:31 ".len() + lines[0].len() <= 100, "{}", lines[0]);
        assert!(lines[1].ends_with("tokens  id 0193a5f0"), "{}", lines[1]);
    }

    #[test]
    fn other_lines_and_files_have_every_field() {
        let lines = written(false, || {
            log_request(200);
            let error = std::io::Error::other("no such host");
            tracing::warn!(provider = "a b", %error, "provider {} refused", 7);
        });
        assert!(
            lines[0]
                .starts_with(" INFO request id=0193a5f0 method=POST path=/v1/chat/completions status=200 key=alice")
        );
        assert_eq!(lines[1], " WARN provider 7 refused provider=\"a b\" error=\"no such host\"");
    }

    #[test]
    fn a_value_cannot_begin_a_line() {
        let lines = written(false, || tracing::info!(path = "/a\n2026 ERROR forged\x1b[2J", "request"));
        assert_eq!(lines, [" INFO request path=\"/a\\n2026 ERROR forged\\u{1b}[2J\""]);
    }
}
