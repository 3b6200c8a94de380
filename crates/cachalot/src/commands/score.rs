//! `cachalot score`: log-probabilities of given tokens, one JSON object per line, or greedy
//! continuations of them.
//!
//! Other implementations are compared in this format: without a template, and without an added
//! begin-of-sentence token.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use model::{Batch, LatentCache, LogitsWanted, Model, PAGE_ROWS, Rows, Span};
use serde_json::json;

use crate::load::{self, ModelArgs};

/// Print log-probabilities of next tokens for given token ids
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON file of token ids: [[0, 17, 4], ...]
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// Print the N most likely next tokens of every position, beside the log-probability of the
    /// token that follows in the sequence
    #[arg(long, value_name = "N", default_value_t = 64)]
    top: usize,
    /// Print all logits of every position instead
    #[arg(long, conflicts_with = "top")]
    logits: bool,
    /// Score the multi-token-prediction module: position i gets token i + 1 and
    /// predicts token i + 2
    #[arg(long)]
    mtp: bool,
    /// Positions computed at once. The numbers do not depend on it
    #[arg(long, value_name = "N", default_value_t = 256)]
    chunk: usize,
    /// Continue every sequence by N tokens, always the most likely one, and print a JSON list of
    /// {"prompt", "continuation"}
    #[arg(long, value_name = "N", conflicts_with_all = ["top", "logits", "mtp"])]
    greedy: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  cachalot score --model ./DeepSeek-V3.2 --tokens tokens.json --top 5";

pub fn run(args: &Args) -> Result<()> {
    ensure!((1..=1 << 20).contains(&args.chunk), "--chunk takes 1 to 1048576");
    let file = args.tokens.display();
    let text = files::read(&args.tokens, crate::MAX_INPUT_BYTES).with_context(|| format!("cannot read `{file}`"))?;
    let sequences: Vec<Vec<u32>> = serde_json::from_slice(&text)
        .with_context(|| format!("`{file}` is not a list of lists of token ids, such as [[0, 17, 4]]"))?;
    let mut model = load::model(&args.model, load::ArithmeticDefaults::Exact)?.model;
    validate_sequences(&sequences, model.as_ref(), args.greedy.unwrap_or(0))?;

    let out = std::io::stdout().lock();
    let mut out = std::io::BufWriter::new(out);
    if let Some(n) = args.greedy {
        let mut continuations = Vec::new();
        for (seq, tokens) in sequences.iter().enumerate() {
            let continuation = continue_greedily(model.as_mut(), seq, tokens, n, args.chunk)?;
            continuations.push(json!({ "prompt": tokens, "continuation": continuation }));
        }
        serde_json::to_writer(&mut out, &continuations)?;
        writeln!(out)?;
    } else {
        for (seq, tokens) in sequences.iter().enumerate() {
            let mut row = |position: usize, token: u32, logits: &[f32]| -> Result<()> {
                ensure_finite(logits, seq, position)?;
                let mut line = json!({ "seq": seq, "position": position, "token": token });
                if args.logits {
                    line["logits"] = json!(logits);
                } else {
                    let logprobs = Logprobs::new(logits);
                    line["top"] = json!(logprobs.top(args.top));
                    if let Some(next) = tokens.get(position + if args.mtp { 2 } else { 1 }) {
                        line["next"] = json!(logprobs.of(*next));
                    }
                }
                serde_json::to_writer(&mut out, &line)?;
                Ok(writeln!(out)?)
            };
            if args.mtp {
                score_mtp(model.as_mut(), tokens, args.chunk, &mut row)?;
            } else {
                score(model.as_mut(), tokens, args.chunk, &mut row)?;
            }
        }
    }
    Ok(out.flush()?)
}

fn validate_sequences(sequences: &[Vec<u32>], model: &dyn Model, extra_tokens: usize) -> Result<()> {
    let info = model.info();
    for (seq, tokens) in sequences.iter().enumerate() {
        ensure!(
            !tokens.is_empty(),
            "sequence {seq} is empty: give it at least one token, such as the begin-of-sentence token 0"
        );
        if let Some(id) = tokens.iter().find(|id| **id as usize >= info.vocab_size) {
            bail!("sequence {seq} has the token {id}, but the model's vocabulary ends at {}", info.vocab_size - 1);
        }
        let length = tokens.len().saturating_add(extra_tokens);
        ensure!(
            length <= info.context,
            "sequence {seq} reaches {length} tokens, but the model's context is {}",
            info.context
        );
    }
    Ok(())
}

/// A sequence with a cache of its own.
struct SingleSequence {
    cache: LatentCache,
    pages: Vec<u32>,
}

impl SingleSequence {
    fn new(model: &dyn Model, positions: usize) -> Self {
        let pages = positions.div_ceil(PAGE_ROWS);
        Self { cache: model.new_cache(pages), pages: (0..pages as u32).collect() }
    }
}

/// Writes one output line: position, token, logits.
type RowWriter<'a> = dyn FnMut(usize, u32, &[f32]) -> Result<()> + 'a;

fn score(model: &mut dyn Model, tokens: &[u32], chunk: usize, row: &mut RowWriter<'_>) -> Result<()> {
    let mut sequence = SingleSequence::new(model, tokens.len());
    for (i, part) in tokens.chunks(chunk).enumerate() {
        let pages = sequence.pages.clone();
        let start = i * chunk;
        let batch = Batch {
            spans: vec![Span { tokens: part, start, pages: &pages, logits: LogitsWanted::All, attention: None }],
        };
        let output = model.forward(&batch, &mut sequence.cache, &mut ());
        for (j, token) in part.iter().enumerate() {
            row(start + j, *token, output.logits.row(j))?;
        }
    }
    Ok(())
}

fn score_mtp(model: &mut dyn Model, tokens: &[u32], chunk: usize, row: &mut RowWriter<'_>) -> Result<()> {
    let mut sequence = SingleSequence::new(model, tokens.len());
    let pages = sequence.pages.clone();
    let last = tokens.len() - 1;
    for start in (0..last).step_by(chunk) {
        let end = (start + chunk).min(last);
        let span = |tokens, start| Batch {
            spans: vec![Span { tokens, start, pages: &pages, logits: LogitsWanted::All, attention: None }],
        };
        let hidden: Rows =
            model.forward(&span(&tokens[start..end], start), &mut sequence.cache, &mut ()).hidden.clone();
        let output = model.draft(&span(&tokens[start + 1..end + 1], start), &hidden, &mut sequence.cache);
        let output = output.context("this checkpoint has no multi-token-prediction module: score it without --mtp")?;
        for (i, token) in tokens[start + 1..end + 1].iter().enumerate() {
            row(start + i, *token, output.logits.row(i))?;
        }
    }
    Ok(())
}

fn continue_greedily(model: &mut dyn Model, seq: usize, prompt: &[u32], n: usize, chunk: usize) -> Result<Vec<u32>> {
    let mut sequence = SingleSequence::new(model, prompt.len() + n);
    let pages = sequence.pages.clone();
    let mut tokens = prompt.to_vec();
    let mut done = 0;
    while tokens.len() < prompt.len() + n {
        let end = (done + chunk).min(tokens.len());
        let span = Span {
            tokens: &tokens[done..end],
            start: done,
            pages: &pages,
            logits: LogitsWanted::Last,
            attention: None,
        };
        let output = model.forward(&Batch { spans: vec![span] }, &mut sequence.cache, &mut ());
        done = end;
        if done == tokens.len() {
            ensure_finite(output.logits.row(0), seq, done - 1)?;
            tokens.push(Logprobs::new(output.logits.row(0)).top(1)[0].0);
        }
    }
    Ok(tokens.split_off(prompt.len()))
}

/// Refuses logits that are NaN or infinite, as those of damaged weights are.
fn ensure_finite(logits: &[f32], seq: usize, position: usize) -> Result<()> {
    let not_finite = logits.iter().position(|logit| !logit.is_finite());
    ensure!(
        not_finite.is_none(),
        "sequence {seq}, position {position}: the logit of token {} is not a finite number: the weights are damaged (NaN or infinite), download them again",
        not_finite.unwrap_or_default()
    );
    Ok(())
}

/// Natural-log probabilities of one position.
struct Logprobs<'a> {
    logits: &'a [f32],
    /// Logarithm of the sum of the exponentials of all logits.
    total: f64,
}

impl<'a> Logprobs<'a> {
    fn new(logits: &'a [f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
        let total = logits.iter().map(|v| (*v as f64 - max).exp()).sum::<f64>().ln() + max;
        Self { logits, total }
    }

    fn of(&self, id: u32) -> f64 {
        self.logits[id as usize] as f64 - self.total
    }

    /// The `n` best ids with their log-probabilities, best first; ties go to the lower id.
    fn top(&self, n: usize) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..self.logits.len() as u32).collect();
        let logit = |id: &u32| self.logits[*id as usize];
        let better = |a: &u32, b: &u32| logit(b).total_cmp(&logit(a)).then(a.cmp(b));
        let n = n.min(order.len());
        if n < order.len() {
            order.select_nth_unstable_by(n, better);
            order.truncate(n);
        }
        order.sort_by(better);
        order.into_iter().map(|id| (id, self.of(id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_by_id() {
        let logprobs = Logprobs::new(&[0.0, 1.0, 1.0, -1.0]);
        let best = logprobs.top(3);
        assert_eq!(best.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 2, 0]);
        let all: f64 = logprobs.top(9).iter().map(|(_, p)| p.exp()).sum();
        assert!((all - 1.0).abs() < 1e-9);
        assert_eq!(logprobs.of(1), best[0].1);
    }
}
