//! `cachalot render`: prints the exact prompt of a request body as the model sees it, or the
//! message that a raw completion parses to.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use chat::{Chat, Reply};
use serde_json::{Value, json};
use text::Encoding;

use crate::load::{self, ModelArgs};

/// Print the prompt of a request, or parse a raw completion
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print token ids instead of text
    #[arg(long)]
    ids: bool,
    /// Parse FILE as a raw completion and print the message as JSON
    #[arg(long)]
    parse: bool,
    /// Use thinking mode. Without it, `model` and `thinking` of the request decide; a completion
    /// (--parse) is read as one without thinking
    #[arg(long)]
    think: bool,
    /// Body of a chat completions request (JSON), or with --parse the text of a completion; `-` is
    /// standard input
    file: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  cachalot render --model ./DeepSeek-V3.2 body.json
  cachalot render --ids body.json";

pub fn run(args: &Args) -> Result<()> {
    let encoding = load::encoding(&args.model.checkpoint()?, &args.model)?;
    let input = read_input(&args.file)?;
    let mut out = std::io::stdout().lock();
    if args.parse {
        let completion = String::from_utf8(input).context("a completion is UTF-8 text")?;
        let reply = text::parse_completion(&encoding, args.think, &completion, &[])?;
        writeln!(out, "{}", serde_json::to_string_pretty(&message_json(&reply, args.think))?)?;
        return Ok(());
    }
    let rendered = encoding.render(&prepare_chat(&input, &encoding, args.think)?)?;
    if args.ids {
        writeln!(out, "{}", serde_json::to_string(&rendered.tokens)?)?;
    } else {
        out.write_all(rendered.text.as_bytes())?;
    }
    Ok(out.flush()?)
}

/// The chat as the engine receives it: with its thinking mode, and validated.
fn prepare_chat(body: &[u8], encoding: &Arc<Encoding>, think: bool) -> Result<Chat> {
    let mut chat = wire::surface::chat_completions::parse_request(body)?.chat;
    chat.thinking = Some(think || gateway::resolve_thinking(&chat, !encoding.supports_non_thinking()));
    let rules = engine::ValidationRules::of(encoding, usize::MAX);
    engine::check(&mut chat, &rules)?;
    Ok(chat)
}

/// The reply as a message of the DeepSeek API.
fn message_json(reply: &Reply, thinking: bool) -> Value {
    let mut message = json!({ "role": "assistant", "content": reply.text });
    if thinking {
        message["reasoning_content"] = json!(reply.reasoning);
    }
    if !reply.tool_calls.is_empty() {
        let call = |call: &chat::ToolCall| json!({ "type": "function", "function": { "name": call.name, "arguments": call.arguments } });
        message["tool_calls"] = reply.tool_calls.iter().map(call).collect();
    }
    message
}

fn read_input(file: &Path) -> Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let max_bytes = crate::MAX_INPUT_BYTES;
        std::io::Read::read_to_end(&mut std::io::Read::take(std::io::stdin(), max_bytes + 1), &mut bytes)?;
        anyhow::ensure!(bytes.len() as u64 <= max_bytes, "standard input has more than {max_bytes} bytes");
        return Ok(bytes);
    }
    files::read(file, crate::MAX_INPUT_BYTES).with_context(|| format!("cannot read `{}`", file.display()))
}
