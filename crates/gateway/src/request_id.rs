//! The id of an HTTP request, which its caller gets, and what is known about the request so far.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use store::UsageRecord;
use uuid::Uuid;

/// The id of an HTTP request. Its first usage record has the same 128 bits as its id.
#[derive(Debug)]
pub struct RequestId {
    text: Arc<str>,
    /// `None` for an id that the caller chose: it may have chosen it before.
    uuid: Option<Uuid>,
    is_taken: AtomicBool,
    /// A usage record of the request is in the journal.
    is_recorded: AtomicBool,
    /// The model that the request names; `None` for an unknown one.
    model: OnceLock<Option<Arc<str>>>,
}

impl RequestId {
    /// A new id: `req_` and the 32 digits of a UUID v7.
    pub fn generate() -> Arc<Self> {
        let uuid = Uuid::now_v7();
        Self::new(format!("req_{}", uuid.simple()).into(), Some(uuid))
    }

    /// The id that the caller of a record's request got.
    pub fn of_record(record: &UsageRecord) -> String {
        match &record.request_id {
            Some(id) => id.to_string(),
            None => format!("req_{}", record.id.replace('-', "")),
        }
    }

    /// The id of the first record of the request with the id `text`, or `text` itself.
    pub fn to_record_id(text: &str) -> String {
        let digits = text.strip_prefix("req_").unwrap_or(text);
        Uuid::parse_str(digits).map_or_else(|_| text.to_owned(), |uuid| uuid.to_string())
    }

    /// The id that the caller chose.
    pub fn from_caller(text: &str) -> Arc<Self> {
        Self::new(text.into(), None)
    }

    fn new(text: Arc<str>, uuid: Option<Uuid>) -> Arc<Self> {
        let (is_taken, is_recorded) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { text, uuid, is_taken, is_recorded, model: OnceLock::new() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The id of a new record of the request, and the id of the request if it is another one.
    pub(crate) fn next_record(&self) -> (String, Option<Arc<str>>) {
        match self.uuid.filter(|_| !self.is_taken.swap(true, Ordering::Relaxed)) {
            Some(uuid) => (uuid.to_string(), None),
            None => (Uuid::now_v7().to_string(), Some(self.text.clone())),
        }
    }

    pub(crate) fn mark_recorded(&self) {
        self.is_recorded.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.is_recorded.load(Ordering::Relaxed)
    }

    /// Sets the model that the request names; `None` for an unknown one.
    pub(crate) fn set_model(&self, model: Option<&Arc<str>>) {
        // The first of several choices has set the same.
        let _ = self.model.set(model.cloned());
    }

    /// The model that the request names; `Some(None)` for an unknown one, `None` as long as nobody
    /// has looked.
    pub(crate) fn model(&self) -> Option<Option<&Arc<str>>> {
        self.model.get().map(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_has_the_bits_of_the_request() {
        let id = RequestId::generate();
        let (first, none) = id.next_record();
        assert_eq!((format!("req_{}", first.replace('-', "")), none), (id.as_str().to_owned(), None));
        let (second, request) = id.next_record();
        assert!(second != first && request.as_deref() == Some(id.as_str()));
    }

    #[test]
    fn an_id_that_the_caller_chose_is_no_id_of_a_record() {
        let taken = RequestId::generate().as_str().to_owned();
        let (record, request) = RequestId::from_caller(&taken).next_record();
        assert!(!taken.ends_with(&record.replace('-', "")) && request.as_deref() == Some(&*taken));
    }
}
