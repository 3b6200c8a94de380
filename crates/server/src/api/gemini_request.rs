//! How a request for Gemini's API is recognised.

use http::HeaderMap;

/// The methods behind the model of a path.
const METHODS: [&str; 3] = [":generateContent", ":streamGenerateContent", ":countTokens"];

/// Whether a path belongs to Gemini's API alone. The paths of models below `/v1` are shared with
/// OpenAI's API, which has no methods behind a colon.
pub(crate) fn is_gemini_path(path: &str) -> bool {
    let is_method = |rest: &str| METHODS.iter().any(|method| rest.ends_with(method));
    path.starts_with("/v1beta/")
        || path.starts_with("/v1alpha/")
        || path.strip_prefix("/v1/models/").is_some_and(is_method)
}

/// Whether a request comes from a client of Gemini's API.
pub(crate) fn is_gemini_client(headers: &HeaderMap) -> bool {
    ["x-goog-api-key", "x-goog-api-client"].iter().any(|name| headers.contains_key(*name))
}
