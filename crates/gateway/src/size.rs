//! How large a request is before anybody has counted.

use chat::{Chat, Error, Input, Part};

use crate::price::Units;

/// Bytes of text that are one token, cautiously.
const BYTES_A_TOKEN: u64 = 3;
/// Bytes of text that an image or a file counts as.
const ATTACHMENT: usize = 3000;
/// Tokens an answer is taken to have whose request sets no bound.
const ANSWER_TOKENS: u64 = 4096;
/// Most answers or pictures of one request.
pub(crate) const MOST_ANSWERS: u64 = 10_000;
/// Most tokens of an answer that count for a pace before they have come.
const PACED: u64 = 1 << 20;

/// How large a request is, in tokens, before anybody has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// About as many as the prompt will have.
    pub(crate) prompt: u64,
    /// As many as it can have at most: a token a byte of text.
    pub(crate) prompt_most: u64,
    /// The caller's own bound for each answer.
    pub(crate) allowed: Option<u64>,
    pub(crate) answers: u64,
    /// The tokens of an answer that its surface documents for requests without a bound.
    pub(crate) usual: Option<u64>,
    /// It has several prompts, each of which may be as long as the model's context.
    pub(crate) is_batch: bool,
    /// Its answer is text, which is paid by the token.
    is_text: bool,
    pub(crate) units: Units,
}

impl Size {
    /// # Errors
    /// `Invalid` for a number of answers that cannot be; the local engine judges it by itself.
    pub(crate) fn of(chat: &Chat, is_local: bool) -> Result<Self, Error> {
        // A bound that is none is judged by the provider.
        let allowed = chat.max_tokens.or(chat.max_completion_tokens);
        let allowed = allowed.and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0);
        let answers = match chat.n {
            None => 1,
            Some(_) if is_local => 1,
            Some(n) => u64::try_from(n)
                .ok()
                .filter(|n| (1..=MOST_ANSWERS).contains(n))
                .ok_or_else(|| out_of_range("n", MOST_ANSWERS))?,
        };
        let (bytes, tokens) = prompt(chat);
        Ok(Self::new(tokens, bytes as u64, allowed).times(answers))
    }

    /// Of a body that is not read any further. `allowed` bounds each of its answers.
    pub(crate) fn of_body(body: &[u8], allowed: Option<u64>) -> Self {
        let bytes = bytes_of_text(body) as u64;
        Self::new(bytes.div_ceil(BYTES_A_TOKEN), bytes, allowed)
    }

    /// Of what is not paid by the token.
    pub(crate) fn of_units(units: Units) -> Self {
        Self { units, is_text: false, ..Self::new(0, 0, None) }
    }

    /// The same answered so many times.
    pub(crate) fn times(self, answers: u64) -> Self {
        Self { answers, ..self }
    }

    /// The same with several prompts.
    pub(crate) fn batch(self, is_batch: bool) -> Self {
        Self { is_batch, ..self }
    }

    /// The same on a surface that gives so many tokens where nothing bounds an answer.
    pub(crate) fn usually(self, tokens: u64) -> Self {
        Self { usual: Some(tokens), ..self }
    }

    fn new(prompt: u64, prompt_most: u64, allowed: Option<u64>) -> Self {
        Self {
            prompt,
            prompt_most,
            allowed,
            answers: 1,
            usual: None,
            is_batch: false,
            is_text: true,
            units: Units::default(),
        }
    }

    /// The tokens of its answers, about.
    pub(crate) fn answer(&self) -> u64 {
        let each = if self.is_text { self.allowed.unwrap_or(ANSWER_TOKENS) } else { 0 };
        each.saturating_mul(self.answers)
    }

    /// The tokens that count for a pace.
    pub(crate) fn paced(&self) -> u64 {
        self.prompt.saturating_add(self.answer().min(PACED))
    }

    /// Its answer is text, which is paid by the token.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Nothing bounds its answer, which is text.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.is_text && self.allowed.is_none()
    }
}

/// The refusal of a number.
pub(crate) fn out_of_range(field: &str, most: u64) -> Error {
    Error::invalid(format!("Invalid '{field}': expected a whole number from 1 to {most}"))
}

/// About as many tokens as the text of an answer has.
pub(crate) fn tokens_of(answer: &[u8]) -> u64 {
    (bytes_of_text(answer) as u64).div_ceil(BYTES_A_TOKEN)
}

/// About as many as are text in a body of JSON: what its strings hold in base64 are images and files.
fn bytes_of_text(body: &[u8]) -> usize {
    // No text is so long without a space, but Asian text, which is not ASCII.
    const LONG: usize = 4096;
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=:;,.".contains(byte);
    let mut text = body.len();
    let mut from = 0;
    for to in memchr::memchr_iter(b'"', body) {
        let piece = &body[from..to];
        if piece.len() >= LONG && piece[..LONG].iter().all(is_base64) {
            text = text - piece.len() + ATTACHMENT;
        }
        from = to + 1;
    }
    text
}

fn bytes_of(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Other { .. } => ATTACHMENT,
    }
}

/// The bytes of text of the prompt, and about as many tokens as it will have.
fn prompt(chat: &Chat) -> (usize, u64) {
    let bytes: usize = match &chat.input {
        Input::Messages(messages) => {
            let calls = messages.iter().flat_map(|message| message.calls());
            let calls: usize = calls.map(|call| call.name.len() + call.arguments.len()).sum();
            let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
            calls + parts.map(bytes_of).sum::<usize>() + 12 * messages.len()
        }
        Input::Text { prefix, suffix } => prefix.len() + suffix.as_ref().map_or(0, String::len),
        Input::Tokens(tokens) => return (tokens.len(), tokens.len() as u64),
    };
    let tools: usize =
        chat.tools.iter().map(|tool| serde_json::to_string(&tool.function).map_or(0, |text| text.len())).sum();
    (bytes + tools, ((bytes + tools) as u64).div_ceil(BYTES_A_TOKEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_a_body_is_no_text() {
        let body =
            |url: &str| format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{url}"}}}},"What is it?"]}}]}}"#);
        let around = body("").len();
        let image = body(&format!("data:image/png;base64,{}", "iVBORw0KGgo+/".repeat(50_000)));
        assert_eq!(bytes_of_text(image.as_bytes()), around + ATTACHMENT);
        for text in ["word ".repeat(5000), "\u{6587}".repeat(5000), "x".repeat(4000)] {
            assert_eq!(bytes_of_text(body(&text).as_bytes()), around + text.len());
        }
        assert_eq!(bytes_of_text(b"cut \"AAAA"), 9);
    }
}
