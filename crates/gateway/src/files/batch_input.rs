//! The requests of a file for batches: its model, its endpoint, and the most that it can cost.

use std::ops::Range;

use chat::Error;
use serde::{Deserialize, Serialize};
use wire::batches::{BatchRequest, endpoint_of, lines};
use wire::passthrough::ApiEndpoint;
use wire::passthrough::json_fields::JsonFields;

use crate::billing::overdraft::DEFAULT_MAX_OUTPUT_TOKENS;
use crate::billing::usage_estimate::text_bytes;
use crate::memory::inflight_budget::MemoryReservation;
use crate::passthrough::body_rewrite::{BodyRewrite, TargetModel};
use crate::passthrough::request_fields::{RequestFields, RoutingFields};
use crate::pricing::BatchTotals;
use crate::routing::target::Target;
use crate::routing::thinking_mode::ThinkingMode;

/// Most different notes of one file.
const MAX_NOTES: usize = 16;

/// The requests of a file for batches. The store keeps it as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchInput {
    /// The model of all requests, as the caller names it.
    pub(crate) model: String,
    /// The provider's name for it, which the file at the provider has.
    pub(crate) upstream_model: String,
    /// The address of all requests, such as `/v1/chat/completions`.
    pub(crate) url: String,
    pub(crate) requests: u64,
    /// Most tokens of all prompts together, and of one.
    pub(crate) prompt_tokens: u64,
    pub(crate) longest_prompt: u64,
    /// Most tokens of the answers whose requests limit them.
    pub(crate) output_tokens: u64,
    /// The number of answers whose requests do not.
    pub(crate) unlimited_answers: u64,
    /// The end user of all requests.
    pub(crate) end_user: Option<String>,
    pub(crate) has_several_end_users: bool,
}

/// A file that was read.
pub(super) struct ScannedFile {
    pub(super) input: BatchInput,
    /// The form with the file for the provider, if it differs.
    pub(super) changed: Option<Vec<u8>>,
    /// The changes that were made for the model.
    pub(super) notes: Vec<String>,
}

impl BatchInput {
    /// The totals on which the price at a target depends.
    pub(crate) fn totals(&self, target: &Target) -> BatchTotals {
        let longest_answer = target.max_output_tokens().unwrap_or(DEFAULT_MAX_OUTPUT_TOKENS);
        BatchTotals {
            requests: self.requests,
            prompt_tokens: self.prompt_tokens,
            longest_prompt: self.longest_prompt,
            output_tokens: self.output_tokens.saturating_add(self.unlimited_answers.saturating_mul(longest_answer)),
        }
    }

    fn add_request(&mut self, endpoint: ApiEndpoint, body: &[u8], fields: &RoutingFields) -> Result<(), Error> {
        let estimate = fields.estimate.clone()?;
        let prompt = if estimate.is_text() { estimate.max_prompt_tokens } else { text_bytes(body) };
        let each = match (estimate.max_output_tokens, estimate.default_output_tokens) {
            _ if endpoint.media_name().is_some() => Some(0),
            (Some(limit), _) | (None, Some(limit)) => Some(limit),
            (None, None) => None,
        };
        match each {
            Some(limit) => {
                self.output_tokens = self.output_tokens.saturating_add(limit.saturating_mul(estimate.answers));
            }
            None => self.unlimited_answers = self.unlimited_answers.saturating_add(estimate.answers),
        }
        self.prompt_tokens = self.prompt_tokens.saturating_add(prompt);
        self.longest_prompt = self.longest_prompt.max(prompt);
        if self.requests == 0 {
            self.end_user.clone_from(&fields.end_user);
        } else if self.end_user != fields.end_user {
            self.has_several_end_users = true;
        }
        self.requests += 1;
        Ok(())
    }
}

/// The model of the first request of a file.
///
/// # Errors
/// `InvalidRequest` for a file without requests, or whose first line is not one.
pub(super) fn first_model(file: &[u8]) -> Result<String, Error> {
    let Some((number, line)) = lines(file).next() else {
        return Err(Error::invalid("Invalid 'file': it has no requests, one as JSON on each line"));
    };
    let model = BatchRequest::read(line).and_then(|request| model_of(&JsonFields::scan(request.body)?));
    model.map_err(|error| in_line(number, error))
}

/// Reads the requests of the file at `range` of a form, all of which name `model`, and rewrites
/// them for its target as requests that are forwarded. Memory is reserved for the new form.
///
/// # Errors
/// `InvalidRequest` for a line that is not a request to the model, with its number; those of
/// [`MemoryReservation::grow`].
pub(super) fn scan_file(
    form: &[u8],
    range: Range<usize>,
    model: &str,
    target: &TargetModel,
    thinking_mode: ThinkingMode,
    reservation: &mut MemoryReservation,
) -> Result<ScannedFile, Error> {
    let mut input =
        BatchInput { model: model.into(), upstream_model: target.name.to_string(), ..BatchInput::default() };
    reservation.grow(form.len())?;
    let mut changed = Vec::with_capacity(form.len());
    changed.extend_from_slice(&form[..range.start]);
    let mut is_changed = false;
    let mut notes = Vec::<String>::new();
    for (number, line) in lines(&form[range.clone()]) {
        let mut add_line = || {
            let request = BatchRequest::read(line)?;
            let endpoint = endpoint_of(&request.url)?;
            if input.requests == 0 {
                input.url.clone_from(&request.url);
            } else if input.url != request.url {
                return Err(Error::invalid(format!(
                    "its request is to `{:.64}`, that of the first line to `{}`: a batch has one endpoint",
                    request.url, input.url
                )));
            }
            let fields = RequestFields::Json(JsonFields::scan(request.body)?);
            check_model(&fields, model)?;
            let routing_fields = fields.routing_fields(endpoint, request.body);
            if routing_fields.is_local_only {
                return Err(Error::invalid("`cachalot` is for models of this server, which have no batches"));
            }
            if routing_fields.needs_parser {
                return Err(Error::invalid(
                    "it needs state of the provider (`previous_response_id`, `conversation` or `background`), which belongs to no caller",
                ));
            }
            input.add_request(endpoint, request.body, &routing_fields)?;
            let rewrite = BodyRewrite { endpoint, thinking_mode, stream: false, output_cap: None };
            let (changes, line_notes) = rewrite.changes(&fields, target);
            for note in line_notes {
                if notes.len() < MAX_NOTES && !notes.contains(&note) {
                    notes.push(note);
                }
            }
            if changes.is_empty() {
                return Ok(None);
            }
            let body = String::from_utf8(fields.apply(changes));
            let body = body.map_err(|_| Error::invalid("its `body` is not text in UTF-8"))?;
            Ok(Some(request.with_body(body)))
        };
        let new_line = add_line().map_err(|error| in_line(number, error))?;
        is_changed |= new_line.is_some();
        let new_line = new_line.as_deref().unwrap_or(line);
        reservation.grow(new_line.len().saturating_sub(line.len()))?;
        changed.extend_from_slice(new_line);
        changed.push(b'\n');
    }
    changed.extend_from_slice(&form[range.end..]);
    Ok(ScannedFile { input, changed: is_changed.then_some(changed), notes })
}

/// Checks that a request names the model of the first one.
///
/// # Errors
/// `InvalidRequest` for another model, or none.
fn check_model(fields: &RequestFields<'_>, model: &str) -> Result<(), Error> {
    let RequestFields::Json(fields) = fields else { return Ok(()) };
    let named = model_of(fields)?;
    if named == model {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "it names the model `{named:.64}`, the first line `{model:.64}`: a batch has one model"
    )))
}

fn model_of(body: &JsonFields<'_>) -> Result<String, Error> {
    body.text("model").ok_or_else(|| Error::invalid("the `body` has no field `model`"))
}

/// The error of a line of a file.
pub(super) fn in_line(number: usize, error: Error) -> Error {
    Error { message: format!("Invalid 'file', line {number}: {}", error.message), param: Some("file".into()), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(lines: &[String]) -> Result<ScannedFile, Error> {
        let target = TargetModel::for_tests("theirs");
        let file = lines.join("\n");
        let model = first_model(file.as_bytes())?;
        let range = 0..file.len();
        scan_file(
            file.as_bytes(),
            range,
            &model,
            &target,
            ThinkingMode::ProviderDecides,
            &mut MemoryReservation::default(),
        )
    }

    fn line(number: usize, body: &str) -> String {
        format!(r#"{{"custom_id":"{number}","method":"POST","url":"/v1/chat/completions","body":{body}}}"#)
    }

    #[test]
    fn the_totals_of_a_file_are_bounds() {
        let bodies = [
            r#"{"model":"ours","max_tokens":10,"n":3,"messages":[]}"#,
            r#"{"model":"ours","messages":[{"role":"user","content":"a longer prompt"}],"user":"eve"}"#,
        ];
        let scanned = scan(&[line(1, bodies[0]), String::new(), line(2, bodies[1])]).unwrap();
        let input = scanned.input;
        assert_eq!((input.requests, input.output_tokens, input.unlimited_answers), (2, 30, 1));
        assert_eq!(input.prompt_tokens, (bodies[0].len() + bodies[1].len()) as u64);
        assert_eq!(input.longest_prompt, bodies[1].len() as u64);
        assert!(input.has_several_end_users && input.url == "/v1/chat/completions");
        let changed = String::from_utf8(scanned.changed.unwrap()).unwrap();
        assert_eq!(changed, format!("{}\n{}\n", line(1, bodies[0]), line(2, bodies[1])).replace("ours", "theirs"));
        let same = scan(&[line(1, r#"{"model":"theirs"}"#)]).unwrap();
        assert!(same.changed.is_none() && !same.input.has_several_end_users);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let good = line(1, r#"{"model":"ours"}"#);
        for (bad, words) in [
            ("nonsense".to_owned(), "line 2: it is not a JSON object"),
            (line(2, r#"{"model":"other"}"#), "line 2: it names the model `other`"),
            (line(2, r#"{"messages":[]}"#), "line 2: the `body` has no field `model`"),
            (line(2, r#"{"model":"ours","n":0}"#), "line 2: Invalid 'n'"),
            (line(2, r#"{"model":"ours","cachalot":{}}"#), "line 2: `cachalot`"),
            (line(2, r#"{"model":"ours"}"#).replace("chat/completions", "embeddings"), "a batch has one endpoint"),
            (line(2, r#"{"model":"ours"}"#).replace("chat/completions", "videos"), "not to `/v1/videos`"),
        ] {
            let error = scan(&[good.clone(), bad]).map(drop).unwrap_err();
            assert!(error.message.contains(words), "{words}: {error}");
        }
        let state = line(1, r#"{"model":"ours","previous_response_id":"r"}"#).replace("chat/completions", "responses");
        assert!(scan(&[state]).map(drop).unwrap_err().message.contains("state of the provider"));
        assert!(scan(&[]).map(drop).unwrap_err().message.contains("no requests"));
    }
}
