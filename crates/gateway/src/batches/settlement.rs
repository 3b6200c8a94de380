//! The end of batches: what they used is charged, the rest of their price is refunded, and the
//! files that they wrote become files of their owners.

use bytes::Bytes;
use chat::{Error, Usage};
use futures_util::StreamExt;
use http::Method;
use http::header::HeaderMap;
use serde_json::Value;
use store::{StoredFile, Task, TaskOwner};
use wire::batches::{LineOutcome, lines, read_outcome, usage_of_batch};
use wire::provider_limits::MAX_LINE_BYTES;
use wire::tasks::{TaskKind, TaskState, is_path_safe_id};

use crate::Gateway;
use crate::billing::submitted_tasks::BatchSettlement;
use crate::files::access::{new_file_id, store_error, with_ids};
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::pricing::Price;
use crate::tasks::reply::{TaskReply, read_task_reply};
use crate::upstream::error::transport_error;

/// The fields of a batch that name files.
const FILE_FIELDS: [&str; 3] = ["input_file_id", "output_file_id", "error_file_id"];
/// The text in place of the id of a file that its owner has deleted.
const DELETED_FILE: &str = "deleted";

/// The answers of an output file.
#[derive(Debug, Default)]
struct OutputTotals {
    usage: Usage,
    /// Nano-dollars of the answers that have a usage.
    cost: i64,
    answers: u64,
    answers_without_usage: u64,
}

impl Gateway {
    /// Settles a batch that has ended, once.
    pub(crate) async fn record_batch_state(&self, memory: &RequestMemory, task: &Task, batch: &Value) {
        let state = TaskKind::Batch.state(batch);
        if !task.is_open || state == TaskState::InProgress {
            return;
        }
        // Its files are the owner's, even if the owner never asks for the batch again.
        for field in &FILE_FIELDS[1..] {
            if let Err(error) = self.file_of_batch(memory, task, &batch[*field]).await {
                return tracing::warn!(%error, task = task.id.id, "failed to record a file of a batch");
            }
        }
        match self.settlement(task, batch).await {
            Ok(settlement) => self.accounting.record_batch_end(task, settlement, state == TaskState::Failed).await,
            // It stays open, and is polled again.
            Err(error) => tracing::warn!(%error, task = task.id.id, "failed to read what a batch used"),
        }
    }

    /// The reply with the gateway's ids of the batch and its files.
    pub(crate) async fn with_batch_ids(
        &self,
        memory: &RequestMemory,
        task: &Task,
        reply: TaskReply,
        batch: &Value,
    ) -> Result<TaskReply, Error> {
        let mut ids = vec![("id", task.id.id.clone())];
        for field in FILE_FIELDS {
            if batch[field].is_string() {
                let file = match field {
                    "input_file_id" => self.known_file(task, &batch[field]).await?,
                    _ => self.file_of_batch(memory, task, &batch[field]).await?,
                };
                ids.push((field, file.map_or_else(|| DELETED_FILE.to_owned(), |file| file.id)));
            }
        }
        let ids: Vec<_> = ids.iter().map(|(field, id)| (*field, id.as_str())).collect();
        with_ids(reply, &ids)
    }

    /// The owner's file that the provider of a batch calls `provider_id`.
    async fn known_file(&self, task: &Task, provider_id: &Value) -> Result<Option<StoredFile>, Error> {
        let Some(provider_id) = provider_id.as_str() else { return Ok(None) };
        let store = self.file_store()?;
        let owner = TaskOwner::of(task).to_text();
        store.file_of_provider(&owner, &task.upstream, provider_id).await.map_err(|error| store_error(&error))
    }

    /// The file that a batch wrote, which becomes the owner's when it is first seen. `None` for one
    /// that the owner has deleted after the end of the batch.
    async fn file_of_batch(
        &self,
        memory: &RequestMemory,
        task: &Task,
        provider_id: &Value,
    ) -> Result<Option<StoredFile>, Error> {
        let known = self.known_file(task, provider_id).await?;
        let Some(id) = provider_id.as_str().filter(|id| is_path_safe_id(id) && known.is_none()) else {
            return Ok(known);
        };
        if !task.is_open {
            return Ok(None);
        }
        let upstream = self.upstream_of(task)?;
        let path = format!("files/{id}");
        let response = upstream.request(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await;
        let described = match response {
            Ok(response) => read_task_reply(memory, &upstream, response, |answer| answer["id"].is_string()).await,
            Err(error) => Err(error),
        };
        // Without a description it is a file all the same.
        let description = described.map_or(Value::Null, |(_, description)| description);
        let text = |field: &str, default: String| description[field].as_str().map_or(default, str::to_owned);
        let file = StoredFile {
            id: new_file_id(),
            provider_id: id.to_owned(),
            upstream: task.upstream.clone(),
            owner: TaskOwner::of(task).to_text(),
            purpose: text("purpose", "batch_output".into()),
            filename: text("filename", format!("{}.jsonl", task.id.id)),
            bytes: description["bytes"].as_i64().unwrap_or(0),
            batch_input: None,
            created_at: store::now_micros(),
        };
        self.file_store()?.add_file(&file).await.map(Some).map_err(|error| store_error(&error))
    }

    /// The usage and the cost of a batch that has ended: as its provider reports it, else as the
    /// lines of its output do. Where neither is known, all that was paid.
    ///
    /// # Errors
    /// The output cannot be read now.
    async fn settlement(&self, task: &Task, batch: &Value) -> Result<BatchSettlement, Error> {
        let paid =
            |is_estimated| BatchSettlement { usage: Usage::default(), cost: task.cost, is_estimated, price: "".into() };
        let route = self.router.load().find(&Caller::default(), &task.model).ok();
        let target =
            route.as_ref().and_then(|route| route.targets.iter().find(|target| target.provider == task.upstream));
        let price = target.and_then(|target| target.price.as_deref());
        if price.is_none() && task.cost != 0 {
            tracing::warn!(task = task.id.id, model = &*task.model, "no price: a batch is not refunded");
            return Ok(paid(true));
        }
        let completed = batch["request_counts"]["completed"].as_u64();
        let reported = usage_of_batch(batch).filter(|_| price.is_none_or(|price| !price.depends_on_prompt()));
        let output_file = batch["output_file_id"].as_str().filter(|id| is_path_safe_id(id));
        let (usage, cost, is_estimated) = match (reported, output_file) {
            (Some(usage), _) => {
                let cost = price.map_or(0, |price| price.batch_cost(&usage, completed.unwrap_or(0), task.created_at));
                (usage, cost, false)
            }
            (None, Some(file)) => match self.read_output(task, file, price).await {
                Ok(totals) => {
                    let requests = batch["request_counts"]["total"].as_u64().unwrap_or(0).max(totals.answers).max(1);
                    let share = i128::from(task.cost) * i128::from(totals.answers_without_usage) / i128::from(requests);
                    let share = i64::try_from(share).unwrap_or(task.cost);
                    (totals.usage, totals.cost.saturating_add(share), totals.answers_without_usage > 0)
                }
                // The owner has deleted it before it was counted.
                Err(error) if error.is_missing_at_provider() => return Ok(paid(true)),
                Err(error) => return Err(error),
            },
            (None, None) if completed.unwrap_or(0) > 0 => return Ok(paid(true)),
            (None, None) => (Usage::default(), 0, false),
        };
        let most = u64::try_from(store::MAX_TOKENS).unwrap_or(u64::MAX);
        if cost > task.cost || usage.prompt_tokens > most || usage.completion_tokens > most {
            tracing::warn!(
                task = task.id.id,
                cost,
                paid = task.cost,
                "a batch used more than it can: it is not refunded"
            );
            return Ok(paid(true));
        }
        let price = price.map(|price| price.name.clone()).unwrap_or_default();
        Ok(BatchSettlement { usage, cost, is_estimated, price })
    }

    /// Reads the answers of an output file line by line. A line that is too long has no usage.
    async fn read_output(&self, task: &Task, file: &str, price: Option<&Price>) -> Result<OutputTotals, Error> {
        let upstream = self.upstream_of(task)?;
        let path = format!("files/{file}/content");
        let response = upstream.request(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await?;
        let mut totals = OutputTotals::default();
        let mut chunks = response.body;
        let mut line = Vec::new();
        let mut is_too_long = false;
        let mut add_line = |line: &mut Vec<u8>, is_too_long: &mut bool| {
            if *is_too_long {
                totals.add(LineOutcome::Answered(None), price, task.created_at);
            } else {
                for (_, line) in lines(line) {
                    totals.add(read_outcome(line), price, task.created_at);
                }
            }
            line.clear();
            *is_too_long = false;
        };
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| transport_error(upstream.name(), &error))?;
            for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
                is_too_long |= line.len() + piece.len() > MAX_LINE_BYTES;
                if !is_too_long {
                    line.extend_from_slice(piece);
                }
                if piece.ends_with(b"\n") {
                    add_line(&mut line, &mut is_too_long);
                }
            }
        }
        add_line(&mut line, &mut is_too_long);
        Ok(totals)
    }
}

impl OutputTotals {
    fn add(&mut self, outcome: LineOutcome, price: Option<&Price>, at: i64) {
        let LineOutcome::Answered(usage) = outcome else { return };
        self.answers += 1;
        match usage {
            Some(usage) => {
                let cost = price.map_or(0, |price| price.batch_cost(&usage, 1, at));
                self.cost = self.cost.saturating_add(cost);
                self.usage = self.usage + usage;
            }
            None => self.answers_without_usage += 1,
        }
    }
}
