//! The parser of a provider's list of models.

use serde::Deserialize;

use crate::provider_limits;

/// Maximum number of models of a list; the rest is ignored.
const MAX_MODELS: usize = 20_000;
/// Maximum length of a model id; longer ids are ignored.
const MAX_MODEL_ID_BYTES: usize = 512;

/// The ids in a list of models in OpenAI's or Gemini's format; `None` when it is in neither.
pub fn parse_model_list(list: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        data: Option<Vec<Model>>,
        models: Option<Vec<Model>>,
    }
    #[derive(Deserialize)]
    struct Model {
        id: Option<String>,
        name: Option<String>,
    }
    provider_limits::check_event_values(list).ok()?;
    let List { data, models } = serde_json::from_slice(list).ok()?;
    let id = |Model { id, name }: Model| id.or_else(|| Some(name?.trim_start_matches("models/").to_owned()));
    let ids = data.or(models)?.into_iter().filter_map(id);
    Some(ids.filter(|id| id.len() <= MAX_MODEL_ID_BYTES).take(MAX_MODELS).collect())
}
