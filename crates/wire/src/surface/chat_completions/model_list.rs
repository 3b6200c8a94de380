//! The list of models (`GET /models`).

use serde::Serialize;

/// An entry of `GET /models`.
#[derive(Clone, Debug, Serialize)]
pub struct ModelObject {
    pub id: String,
    object: &'static str,
    created: u64,
    pub owned_by: String,
}

impl ModelObject {
    /// Creates an entry. `created` is the release day of V3.2: OpenAI's type requires a number, and
    /// no better one is known.
    pub fn new(id: impl Into<String>, owned_by: impl Into<String>) -> Self {
        Self { id: id.into(), object: "model", created: 1_764_547_200, owned_by: owned_by.into() }
    }

    /// The entry as JSON, the body of `GET /models/{id}`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a model is plain data")
    }
}

/// The body of `GET /models`.
pub fn model_list(data: &[ModelObject]) -> String {
    #[derive(Serialize)]
    struct List<'a> {
        object: &'static str,
        data: &'a [ModelObject],
    }
    serde_json::to_string(&List { object: "list", data }).expect("a list of models is plain data")
}
