//! The estimated usage of a request, before a provider has counted.

use chat::{Chat, Error, Input, Part, Usage};

use crate::pricing::Quantity;

/// Bytes of text per token. It is low, so that estimates are rather high.
const BYTES_PER_TOKEN: u64 = 3;
/// Bytes of text that stand for an image or a file.
const ATTACHMENT_BYTES: usize = 3000;
/// The estimated output of a request without an output limit, in tokens.
const DEFAULT_OUTPUT_TOKENS: u64 = 4096;
/// The most answers or images of one request.
pub(crate) const MAX_ANSWERS: u64 = 10_000;
/// The most output tokens that a request reserves of a rate limit.
const MAX_RATE_LIMITED_OUTPUT: u64 = 1 << 20;

/// The estimated usage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsageEstimate {
    /// The estimated tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// The most tokens that the prompt can have: one for each byte of text.
    pub(crate) max_prompt_tokens: u64,
    /// The caller's output limit for each answer, in tokens.
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) answers: u64,
    /// The documented output limit of the endpoint for requests without one, in tokens.
    pub(crate) default_output_tokens: Option<u64>,
    /// The request has several prompts, each of which may be as long as the model's context.
    pub(crate) has_multiple_inputs: bool,
    /// The answer is text, which is priced by the token.
    is_text: bool,
    /// The part that is not priced by the token.
    pub(crate) quantity: Quantity,
    /// The nano-dollars that the request costs as a whole: the most that its batch can cost.
    pub(crate) batch_cost: Option<i64>,
}

impl UsageEstimate {
    /// The estimate of a chat. For a remote provider it is made of the `text_bytes` of the
    /// request's body, as if the body were forwarded.
    ///
    /// # Errors
    /// `InvalidRequest` for a number of answers that is out of range. The local engine checks this
    /// number itself.
    pub(crate) fn from_chat(chat: &Chat, is_local: bool, text_bytes: Option<u64>) -> Result<Self, Error> {
        // An invalid limit is left to the provider.
        let max_output_tokens = chat.max_tokens.or(chat.max_completion_tokens);
        let max_output_tokens =
            max_output_tokens.and_then(|tokens| u64::try_from(tokens).ok()).filter(|tokens| *tokens > 0);
        let answers = match chat.n {
            None => 1,
            Some(_) if is_local || chat.choice.is_some() => 1,
            Some(n) => u64::try_from(n)
                .ok()
                .filter(|n| (1..=MAX_ANSWERS).contains(n))
                .ok_or_else(|| out_of_range_error("n", MAX_ANSWERS))?,
        };
        let (bytes, tokens) = match text_bytes.filter(|_| !is_local) {
            Some(bytes) => (bytes, bytes.div_ceil(BYTES_PER_TOKEN)),
            None => prompt_size(chat),
        };
        Ok(Self::new(tokens, bytes, max_output_tokens).with_answers(answers))
    }

    /// The estimate of a body that is not parsed further, with an output limit for each answer.
    pub(crate) fn from_body(body: &[u8], max_output_tokens: Option<u64>) -> Self {
        let bytes = text_bytes(body);
        Self::new(bytes.div_ceil(BYTES_PER_TOKEN), bytes, max_output_tokens)
    }

    /// The estimate of a request that is not priced by the token.
    pub(crate) fn from_quantity(quantity: Quantity) -> Self {
        Self { quantity, is_text: false, ..Self::new(0, 0, None) }
    }

    /// The estimate of a batch, which can cost at most `cost` nano-dollars.
    pub(crate) fn of_batch(cost: i64) -> Self {
        Self { batch_cost: Some(cost), ..Self::from_quantity(Quantity::default()) }
    }

    /// The estimate for `answers` answers.
    pub(crate) fn with_answers(self, answers: u64) -> Self {
        Self { answers, ..self }
    }

    /// The estimate for a request that may have several prompts.
    pub(crate) fn with_multiple_inputs(self, has_multiple_inputs: bool) -> Self {
        Self { has_multiple_inputs, ..self }
    }

    /// The estimate for an endpoint that documents a default output limit.
    pub(crate) fn with_default_output(self, tokens: u64) -> Self {
        Self { default_output_tokens: Some(tokens), ..self }
    }

    fn new(prompt_tokens: u64, max_prompt_tokens: u64, max_output_tokens: Option<u64>) -> Self {
        Self {
            prompt_tokens,
            max_prompt_tokens,
            max_output_tokens,
            answers: 1,
            default_output_tokens: None,
            has_multiple_inputs: false,
            is_text: true,
            quantity: Quantity::default(),
            batch_cost: None,
        }
    }

    /// The estimated usage of the prompt.
    pub(crate) fn prompt_usage(&self) -> Usage {
        Usage { prompt_tokens: self.prompt_tokens, ..Usage::default() }
    }

    /// The estimated tokens of all answers.
    pub(crate) fn output_tokens(&self) -> u64 {
        let each = if self.is_text { self.max_output_tokens.unwrap_or(DEFAULT_OUTPUT_TOKENS) } else { 0 };
        each.saturating_mul(self.answers)
    }

    /// The tokens that the request reserves of a rate limit.
    pub(crate) fn rate_limited_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens().min(MAX_RATE_LIMITED_OUTPUT))
    }

    /// Whether the answer is text, which is priced by the token.
    pub(crate) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Whether the answer is text without an output limit.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.is_text && self.max_output_tokens.is_none()
    }
}

/// The error of a number in `field` that is not from 1 to `max`.
pub(crate) fn out_of_range_error(field: &str, max: u64) -> Error {
    Error::invalid(format!("Invalid '{field}': expected a whole number from 1 to {max}"))
}

/// The estimated tokens of an answer.
pub(crate) fn estimate_tokens(answer: &[u8]) -> u64 {
    text_bytes(answer).div_ceil(BYTES_PER_TOKEN)
}

/// The estimated bytes of text in a JSON body. Long base64 strings are images and files.
pub fn text_bytes(body: &[u8]) -> u64 {
    // Other text of this length has spaces or is not ASCII.
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
    text as u64
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Other { .. } => ATTACHMENT_BYTES,
    }
}

/// The bytes of text in the prompt, and its estimated tokens.
fn prompt_size(chat: &Chat) -> (u64, u64) {
    let bytes: usize = match &chat.input {
        Input::Messages(messages) => {
            let calls = messages.iter().flat_map(|message| message.calls());
            let calls: usize = calls.map(|call| call.name.len() + call.arguments.len()).sum();
            let parts = messages.iter().flat_map(|message| message.content.iter().flatten());
            calls + parts.map(part_bytes).sum::<usize>() + 12 * messages.len()
        }
        Input::Text { prefix, suffix } => prefix.len() + suffix.as_ref().map_or(0, String::len),
        Input::Tokens(tokens) => return (tokens.len() as u64, tokens.len() as u64),
    };
    let tools: usize =
        chat.tools.iter().map(|tool| serde_json::to_string(&tool.function).map_or(0, |text| text.len())).sum();
    let bytes = (bytes + tools) as u64;
    (bytes, bytes.div_ceil(BYTES_PER_TOKEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_a_body_is_not_text() {
        let body =
            |url: &str| format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{url}"}}}},"What is it?"]}}]}}"#);
        let around = body("").len() as u64;
        let image = body(&format!("data:image/png;base64,{}", "iVBORw0KGgo+/".repeat(50_000)));
        assert_eq!(text_bytes(image.as_bytes()), around + ATTACHMENT_BYTES as u64);
        for text in ["word ".repeat(5000), "\u{6587}".repeat(5000), "x".repeat(4000)] {
            assert_eq!(text_bytes(body(&text).as_bytes()), around + text.len() as u64);
        }
        assert_eq!(text_bytes(b"cut \"AAAA"), 9);
    }
}
