//! Submission of batches.

use std::sync::Arc;

use bytes::Bytes;
use chat::{Error, ErrorKind};
use http::header::HeaderMap;
use store::TaskId;
use wire::passthrough::json_fields::JsonFields;
use wire::tasks::TaskKind;

use crate::Gateway;
use crate::billing::usage_estimate::UsageEstimate;
use crate::files::access::with_ids;
use crate::files::batch_input::BatchInput;
use crate::keys::caller::Caller;
use crate::limits::budget::format_dollars;
use crate::offload::offload;
use crate::routing::route::{Route, missing_price_error};
use crate::routing::target::Target;
use crate::task_ids::new_task_id;
use crate::tasks::reply::TaskReply;
use crate::tasks::submit::TaskRequest;

impl Gateway {
    /// Submits a batch of the caller's file.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such file; `InvalidRequest` for a file that was not
    /// uploaded for batches, or for another endpoint; the errors of [`Gateway::answer`] about model
    /// and limits, of which `InsufficientBalance` is about the most that the batch can cost.
    pub async fn create_batch(&self, caller: &Caller, body: &Bytes) -> Result<TaskReply, Error> {
        let memory = &caller.memory;
        let bytes = body.clone();
        let (file_id, url) = offload(memory, body.len(), move || read_fields(&bytes)).await?;
        let file = self.find_file(caller, &file_id).await;
        let file = file.map_err(|error| Error { param: Some("input_file_id".into()), ..error })?;
        let input = batch_input(file.batch_input.as_deref(), &file_id)?;
        if url != input.url {
            return Err(Error::invalid(format!(
                "Invalid 'endpoint': the requests of the file are to `{}`, not to `{url:.64}`",
                input.url
            )));
        }
        let (route, target) = self.target_of_input(caller, &input, &file.upstream)?;
        check_end_users(caller, &input)?;
        let cost =
            target.price.as_ref().map_or(0, |price| price.batch_worst_case(input.totals(&target), store::now_micros()));
        let targets = [target];
        let estimate = UsageEstimate::of_batch(cost);
        let admission = self.open_admission(&route);
        let admitted = admission.reserve(caller, &targets, estimate, input.end_user.as_deref()).await;
        let admitted = admitted.map_err(|error| with_worst_case(error, &input, cost))?;
        let (mut meter, selected) = admitted.begin()?;
        let bytes = body.clone();
        let provider_file_id = file.provider_id.clone();
        let with_file = offload(memory, body.len(), move || {
            let id = serde_json::Value::from(provider_file_id).to_string();
            Ok(Bytes::from(JsonFields::scan(&bytes)?.with_changes(&[("input_file_id", id)])))
        });
        let body = &meter.record_error(with_file.await)?;
        let request = TaskRequest { kind: TaskKind::Batch, memory, path: "batches", headers: &HeaderMap::new() };
        let submitted = self.submit_to(&targets, &selected, request, |_| body.clone()).await;
        let ((reply, answer), _active) = meter.record_error(submitted)?;
        let accepted = TaskKind::Batch.accepted_task(&answer).ok_or_else(|| Error::internal("a batch has no id"))?;
        let id = TaskId { kind: TaskKind::Batch.name().into(), id: new_task_id(TaskKind::Batch) };
        // The batch is recorded first: it runs even if the answer cannot be rewritten.
        meter.record_task(id.clone(), accepted.id, true);
        with_ids(reply, &[("id", &id.id), ("input_file_id", &file.id)])
    }

    /// The target that has the file of a batch.
    ///
    /// # Errors
    /// Those of the router; `Forbidden` without a price for a caller with a budget;
    /// `InvalidRequest` when the model has moved since the file was uploaded.
    fn target_of_input(
        &self,
        caller: &Caller,
        input: &BatchInput,
        provider: &str,
    ) -> Result<(Arc<Route>, Target), Error> {
        let of_file = |error: Error| Error {
            message: format!(
                "{} (line 1 of the file, as all lines, names the model `{:.64}`)",
                error.message, input.model
            ),
            ..error
        };
        let route = self.router.load().find(caller, &input.model).map_err(of_file)?;
        let is_same =
            |target: &&Target| *target.provider == *provider && *target.upstream_model == *input.upstream_model;
        let target = route.targets.iter().find(is_same).cloned().ok_or_else(|| {
            Error::invalid(format!(
                "The model `{:.64}` has another provider, or another name there, since the file was uploaded: upload it again",
                input.model
            ))
        })?;
        let has_budget = caller.api_key.as_ref().is_some_and(|api_key| api_key.limits.has_budget());
        if has_budget && target.price.is_none() {
            return Err(of_file(missing_price_error(&route.id)));
        }
        Ok((route, target))
    }
}

/// The file and the endpoint that a body names.
fn read_fields(body: &[u8]) -> Result<(String, String), Error> {
    let fields = JsonFields::scan(body)?;
    let text = |name: &str| {
        fields.text(name).ok_or_else(|| {
            let mut error = Error::invalid(format!("Missing or invalid field `{name}`: expected a string"));
            error.param = Some(name.into());
            error
        })
    };
    Ok((text("input_file_id")?, text("endpoint")?))
}

/// The requests of a file.
fn batch_input(stored: Option<&str>, file_id: &str) -> Result<BatchInput, Error> {
    let stored = stored.ok_or_else(|| {
        let mut error = Error::invalid(format!("The file `{file_id:.64}` was not uploaded with the purpose `batch`"));
        error.param = Some("input_file_id".into());
        error
    })?;
    serde_json::from_str(stored).map_err(|error| {
        tracing::error!(%error, file = file_id, "the stored input of a batch cannot be read");
        Error::invalid(format!("The file `{file_id:.64}` cannot be used any more: upload it again"))
    })
}

/// Checks that one end user pays for the batch.
///
/// # Errors
/// `InvalidRequest` for several, if the key has budgets of end users.
fn check_end_users(caller: &Caller, input: &BatchInput) -> Result<(), Error> {
    let counts_end_users = caller.api_key.as_ref().is_some_and(|api_key| api_key.limits.has_end_users());
    if counts_end_users && input.has_several_end_users {
        return Err(Error::invalid(
            "The requests of the file have several end users (`user`), and this key has budgets for each of them: make a batch for each",
        ));
    }
    Ok(())
}

/// Adds what the batch can cost to an error about a budget.
fn with_worst_case(error: Error, input: &BatchInput, cost: i64) -> Error {
    if error.kind != ErrorKind::InsufficientBalance {
        return error;
    }
    let (dollars, requests) = (format_dollars(cost), input.requests);
    let mut message = format!("{}: the {requests} requests of the batch can cost up to ${dollars}", error.message);
    if input.unlimited_answers > 0 {
        message += ", because not all of them have `max_tokens`";
    }
    Error { message, ..error }
}
