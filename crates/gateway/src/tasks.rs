//! Tasks that run at a provider for minutes: they are submitted and charged once, polled until they
//! end, and refunded when they fail. Their bodies are passed through.

pub(crate) mod reply;
pub(crate) mod status;
pub(crate) mod submit;

#[cfg(test)]
mod tests;
