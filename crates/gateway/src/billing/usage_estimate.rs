//! How large a request is before anybody has counted.

use chat::{Chat, Error, Input, Part};

use crate::pricing::Quantity;

/// Bytes of text that are one token, cautiously.
const BYTES_PER_TOKEN: u64 = 3;
/// Bytes of text that an image or a file counts as.
const ATTACHMENT_BYTES: usize = 3000;
/// Tokens an answer is taken to have whose request sets no bound.
const DEFAULT_OUTPUT_TOKENS: u64 = 4096;
/// Most answers or pictures of one request.
pub(crate) const MAX_ANSWERS: u64 = 10_000;
/// Most tokens of an answer that count for a pace before they have come.
const MAX_RATE_LIMITED_OUTPUT: u64 = 1 << 20;

/// How large a request is, in tokens, before anybody has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageEstimate {
    /// About as many as the prompt will have.
    pub(crate) prompt_tokens: u64,
    /// As many as it can have at most: a token a byte of text.
    pub(crate) max_prompt_tokens: u64,
    /// The caller's own bound for each answer.
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) answers: u64,
    /// The tokens of an answer that its surface documents for requests without a bound.
    pub(crate) default_output_tokens: Option<u64>,
    /// It has several prompts, each of which may be as long as the model's context.
    pub(crate) is_batch: bool,
    /// Its answer is text, which is paid by the token.
    is_text: bool,
    pub(crate) quantity: Quantity,
}

impl UsageEstimate {
    /// # Errors
    /// `Invalid` for a number of answers that cannot be; the local engine judges it by itself.
    pub(crate) fn from_chat(chat: &Chat, is_local: bool) -> Result<Self, Error> {
        // A bound that is none is judged by the provider.
        let max_output_tokens = chat.max_tokens.or(chat.max_completion_tokens);
        let max_output_tokens = max_output_tokens.and_then(|most| u64::try_from(most).ok()).filter(|most| *most > 0);
        let answers = match chat.n {
            None => 1,
            Some(_) if is_local => 1,
            Some(n) => u64::try_from(n)
                .ok()
                .filter(|n| (1..=MAX_ANSWERS).contains(n))
                .ok_or_else(|| out_of_range_error("n", MAX_ANSWERS))?,
        };
        let (bytes, tokens) = prompt_size(chat);
        Ok(Self::new(tokens, bytes as u64, max_output_tokens).with_answers(answers))
    }

    /// Of a body that is not read any further. `allowed` bounds each of its answers.
    pub(crate) fn from_body(body: &[u8], max_output_tokens: Option<u64>) -> Self {
        let bytes = count_text_bytes(body) as u64;
        Self::new(bytes.div_ceil(BYTES_PER_TOKEN), bytes, max_output_tokens)
    }

    /// Of what is not paid by the token.
    pub(crate) fn from_quantity(quantity: Quantity) -> Self {
        Self { quantity, is_text: false, ..Self::new(0, 0, None) }
    }

    /// The same answered so many times.
    pub(crate) fn with_answers(self, answers: u64) -> Self {
        Self { answers, ..self }
    }

    /// The same with several prompts.
    pub(crate) fn with_batch(self, is_batch: bool) -> Self {
        Self { is_batch, ..self }
    }

    /// The same on a surface that gives so many tokens where nothing bounds an answer.
    pub(crate) fn with_default_output(self, tokens: u64) -> Self {
        Self { default_output_tokens: Some(tokens), ..self }
    }

    fn new(prompt: u64, prompt_most: u64, allowed: Option<u64>) -> Self {
        Self {
            prompt_tokens: prompt,
            max_prompt_tokens: prompt_most,
            max_output_tokens: allowed,
            answers: 1,
            default_output_tokens: None,
            is_batch: false,
            is_text: true,
            quantity: Quantity::default(),
        }
    }

    /// The tokens of its answers, about.
    pub(crate) fn output_tokens(&self) -> u64 {
        let each = if self.is_text { self.max_output_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS) } else { 0 };
        each.saturating_mul(self.answers)
    }

    /// The tokens that count for a pace.
    pub(crate) fn rate_limited_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens().min(MAX_RATE_LIMITED_OUTPUT))
    }

    /// Its answer is text, which is paid by the token.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Nothing bounds its answer, which is text.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.is_text && self.max_output_tokens.is_none()
    }
}

/// The refusal of a number.
pub(crate) fn out_of_range_error(field: &str, most: u64) -> Error {
    Error::invalid(format!("Invalid '{field}': expected a whole number from 1 to {most}"))
}

/// About as many tokens as the text of an answer has.
pub(crate) fn estimate_tokens(answer: &[u8]) -> u64 {
    (count_text_bytes(answer) as u64).div_ceil(BYTES_PER_TOKEN)
}

/// About as many as are text in a body of JSON: what its strings hold in base64 are
/// images and files.
fn count_text_bytes(body: &[u8]) -> usize {
    // No text is so long without a space, but Asian text, which is not ASCII.
    const MIN_BASE64_BYTES: usize = 4096;
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=:;,.".contains(byte);
    let mut text = body.len();
    let mut from = 0;
    for to in memchr::memchr_iter(b'"', body) {
        let segment = &body[from..to];
        if segment.len() >= MIN_BASE64_BYTES && segment[..MIN_BASE64_BYTES].iter().all(is_base64) {
            text = text - segment.len() + ATTACHMENT_BYTES;
        }
        from = to + 1;
    }
    text
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Other { .. } => ATTACHMENT_BYTES,
    }
}

/// The bytes of text of the prompt, and about as many tokens as it will have.
fn prompt_size(chat: &Chat) -> (usize, u64) {
    let bytes: usize = match &chat.input {
        Input::Messages(messages) => {
            let calls = messages.iter().flat_map(|message| message.calls());
            let calls: usize = calls.map(|call| call.name.len() + call.arguments.len()).sum();
            let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
            calls + parts.map(part_bytes).sum::<usize>() + 12 * messages.len()
        }
        Input::Text { prefix, suffix } => prefix.len() + suffix.as_ref().map_or(0, String::len),
        Input::Tokens(tokens) => return (tokens.len(), tokens.len() as u64),
    };
    let tools: usize =
        chat.tools.iter().map(|tool| serde_json::to_string(&tool.function).map_or(0, |text| text.len())).sum();
    (bytes + tools, ((bytes + tools) as u64).div_ceil(BYTES_PER_TOKEN))
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
        assert_eq!(count_text_bytes(image.as_bytes()), around + ATTACHMENT_BYTES);
        for text in ["word ".repeat(5000), "\u{6587}".repeat(5000), "x".repeat(4000)] {
            assert_eq!(count_text_bytes(body(&text).as_bytes()), around + text.len());
        }
        assert_eq!(count_text_bytes(b"cut \"AAAA"), 9);
    }
}
