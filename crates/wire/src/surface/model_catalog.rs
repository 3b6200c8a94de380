//! The model catalogue of `GET /api/models` (API document 4.4).

use serde::Serialize;

/// A model in the catalogue.
#[derive(Clone, Debug)]
pub struct CatalogEntry {
    pub id: String,
    pub provider: String,
    pub pricing: Pricing,
    /// Tokens; `None`: unknown, rendered as null.
    pub context_length: Option<u64>,
}

/// The prices of a model in US dollars. `input`, `cached_input` and `output` are per million
/// tokens, `per_second` is per second of video. `None`: unknown, rendered as null.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pricing {
    pub input: Option<f64>,
    pub cached_input: Option<f64>,
    pub output: Option<f64>,
    pub per_request: Option<f64>,
    pub per_second: Option<f64>,
}

#[derive(Serialize)]
struct ModelCatalog<'a> {
    success: bool,
    /// Always 0, as `page_size`: the catalogue is not divided into pages.
    page: u32,
    page_size: u32,
    total: usize,
    data: Vec<ModelBody<'a>>,
}

#[derive(Serialize)]
struct ModelBody<'a> {
    id: &'a str,
    provider: &'a str,
    model_type: &'static str,
    features: [&'static str; 1],
    pricing: PricingBody,
    context_length: Option<u64>,
    api_doc_url: Option<&'static str>,
}

#[derive(Serialize)]
struct PricingBody {
    currency: &'static str,
    input: Option<f64>,
    cached_input: Option<f64>,
    output: Option<f64>,
    per_request: Option<f64>,
    per_second: Option<f64>,
}

impl<'a> ModelBody<'a> {
    /// Renders an entry. The type of the model is guessed: from the part of its id before the first
    /// `_`, else from a price per second.
    fn new(entry: &'a CatalogEntry) -> Self {
        let Pricing { input, cached_input, output, per_request, per_second } = entry.pricing;
        let currency = "USD / M Tokens";
        let pricing = PricingBody { currency, input, cached_input, output, per_request, per_second };
        let (model_type, feature) = match entry.id.split('_').next() {
            Some("mj") => ("image", "text-to-image"),
            Some("suno") => ("music", "text-to-music"),
            _ if per_second.is_some() => ("video", "text-to-video"),
            _ => ("text", "text-to-text"),
        };
        Self {
            id: &entry.id,
            provider: &entry.provider,
            model_type,
            features: [feature],
            pricing,
            context_length: entry.context_length,
            api_doc_url: None,
        }
    }
}

/// The JSON body of the catalogue, with `models` in their order.
pub fn render_catalog(models: &[CatalogEntry]) -> String {
    let data: Vec<_> = models.iter().map(ModelBody::new).collect();
    let catalog = ModelCatalog { success: true, page: 0, page_size: 0, total: data.len(), data };
    serde_json::to_string(&catalog).expect("a catalogue is plain data")
}
