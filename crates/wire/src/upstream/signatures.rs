//! The signatures of reasoning in a history: those that this server keeps, and those that the
//! client returns.

use std::collections::HashMap;

use chat::{Message, SignatureFormat, SignedReasoning};

/// The signatures that a provider has returned.
pub trait SignatureStore {
    /// The signature of a text of reasoning, or of a key of [`signature_keys`], if it is known.
    fn find(&self, key: &str) -> Option<String>;

    /// The tag of the provider, which its signatures have in histories.
    fn provider(&self) -> &str {
        ""
    }
}

/// A store without signatures.
impl SignatureStore for () {
    fn find(&self, _key: &str) -> Option<String> {
        None
    }
}

/// The keys under which a signature is kept: its text, and the call that it belongs to. A client
/// that does not return reasoning returns its calls.
pub fn signature_keys(signed: &SignedReasoning) -> impl Iterator<Item = String> {
    let text = (!signed.text.is_empty()).then(|| signed.text.clone());
    text.into_iter().chain(signed.call.as_deref().map(call_key))
}

fn call_key(id: &str) -> String {
    format!("call {id}")
}

/// The signatures of one message that a provider can verify.
pub(super) struct MessageSignatures<'a> {
    store: &'a dyn SignatureStore,
    /// Those that the client has returned.
    returned: Vec<&'a SignedReasoning>,
    /// Those of calls among them.
    of_calls: HashMap<&'a str, &'a str>,
    /// Whether the client has returned others.
    pub(super) has_foreign: bool,
}

impl<'a> MessageSignatures<'a> {
    /// The signatures of `message` in this format. Except for Claude's, the provider of `store` can
    /// verify only its own.
    pub(super) fn new(message: &'a Message, format: SignatureFormat, store: &'a dyn SignatureStore) -> Self {
        let is_own = |signed: &&SignedReasoning| {
            let is_valid_everywhere = format == SignatureFormat::Anthropic;
            signed.format == format && (is_valid_everywhere || signed.provider == store.provider())
        };
        let (returned, foreign): (Vec<_>, Vec<_>) = message.signatures.iter().partition(is_own);
        let call = |signed: &&'a SignedReasoning| Some((signed.call.as_deref()?, signed.signature.as_str()));
        let of_calls = returned.iter().filter_map(call).collect();
        // Redacted reasoning has the note `redacted_thinking` instead.
        let has_foreign = foreign.iter().any(|signed| !signed.is_redacted());
        Self { store, returned, of_calls, has_foreign }
    }

    pub(super) fn returned(&self) -> impl Iterator<Item = &'a SignedReasoning> {
        self.returned.iter().copied()
    }

    /// The signature that belongs to a call.
    pub(super) fn call_signature(&self, id: &str) -> Option<String> {
        self.store.find(&call_key(id)).or_else(|| self.of_calls.get(id).map(|signature| (*signature).to_owned()))
    }

    /// The signature of the whole reasoning. Encrypted reasoning comes back without its text.
    pub(super) fn text_signature(&self, text: &str) -> Option<String> {
        let is_of = |signed: &&&SignedReasoning| signed.text == text || signed.text.is_empty() && signed.call.is_none();
        let returned = || self.returned.iter().find(is_of).map(|signed| signed.signature.clone());
        self.store.find(text).or_else(returned)
    }
}
