//! The error for a model id that has no route.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chat::{Error, ErrorKind};

use crate::keys::caller::Caller;
use crate::routing::route::Route;

/// The time after which a request for a model that may yet be discovered is worth a retry.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The error for an id that none of `routes` has. Where it is `provider/model` of an unknown
/// provider, the error names the providers of which the caller may use a model, as the list of
/// models does. `undiscovered` are the providers whose models are not known yet.
pub(super) fn unknown_model(routes: &[Arc<Route>], undiscovered: &[Arc<str>], caller: &Caller, model: &str) -> Error {
    if let Some((provider, _)) = model.split_once('/')
        && undiscovered.iter().all(|undiscovered| **undiscovered != *provider)
    {
        let usable = routes.iter().filter(|route| caller.may_use(&route.id));
        let known: BTreeSet<&str> = usable.filter_map(|route| route.named_provider()).collect();
        if !known.is_empty() && !known.contains(provider) {
            return Error::unknown_provider(provider, known);
        }
    }
    if undiscovered.is_empty() {
        return Error::unknown_model();
    }
    let message =
        format!("The model `{model:.128}` is not available: its provider cannot be reached now, or no provider has it");
    Error { retry_after: Some(RETRY_AFTER), ..Error::new(ErrorKind::Overloaded, message) }
}
