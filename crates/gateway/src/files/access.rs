//! The files of a caller: one, a page of them, their contents, and their deletion.

use bytes::Bytes;
use chat::{Error, ErrorKind};
use futures_util::StreamExt;
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use store::{FilePage, Store, StoreError, StoredFile};
use wire::passthrough::json_fields::JsonFields;
use wire::tasks::is_path_safe_id;

use crate::Gateway;
use crate::keys::caller::Caller;
use crate::task_ids::{random_bytes, task_owner};
use crate::tasks::reply::{TaskReply, read_task_reply};
use crate::tasks::status::TaskArtifact;
use crate::upstream::error::transport_error;

/// The page of a list of files that a caller requests.
#[derive(Clone, Debug)]
pub struct FileList {
    /// Only files of this purpose.
    pub purpose: Option<String>,
    /// The id of the file that the page begins after.
    pub after: Option<String>,
    /// The oldest file first.
    pub is_ascending: bool,
    pub limit: usize,
}

impl Gateway {
    /// Fetches the description of a file.
    ///
    /// # Errors
    /// `NotFound` when the caller has no such file; the error that the provider's refusal maps to.
    pub async fn file(&self, caller: &Caller, id: &str) -> Result<TaskReply, Error> {
        let file = self.find_file(caller, id).await?;
        let upstream = self.configured_upstream(&file.upstream, "file")?;
        let path = format!("files/{}", file.provider_id);
        let response = upstream.request(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await;
        let response = response.map_err(|error| or_missing(error, &file.id))?;
        let (reply, _) =
            read_task_reply(&caller.memory, &upstream, response, |answer| answer["id"].is_string()).await?;
        with_ids(reply, &[("id", &file.id)])
    }

    /// A page of the caller's files, in OpenAI's format.
    ///
    /// # Errors
    /// `NotFound` when the page begins after a file that the caller does not have.
    pub async fn files(&self, caller: &Caller, list: FileList) -> Result<Value, Error> {
        let store = self.file_store()?;
        let after = match &list.after {
            Some(id) => Some(self.find_file(caller, id).await?),
            None => None,
        };
        let page = FilePage {
            purpose: list.purpose.as_deref(),
            after: after.as_ref(),
            is_ascending: list.is_ascending,
            // Another one says whether there are more.
            limit: i64::try_from(list.limit + 1).unwrap_or(i64::MAX),
        };
        let files = store.files(task_owner(caller), page).await.map_err(|error| store_error(&error))?;
        Ok(list_object(files.iter().map(file_object).collect(), list.limit))
    }

    /// Downloads a file, as it arrives.
    ///
    /// # Errors
    /// As [`Gateway::file`].
    pub async fn file_content(&self, caller: &Caller, id: &str) -> Result<TaskArtifact, Error> {
        let file = self.find_file(caller, id).await?;
        let upstream = self.configured_upstream(&file.upstream, "file")?;
        let path = format!("files/{}/content", file.provider_id);
        let response = upstream.request(Method::GET, &path, &HeaderMap::new(), Bytes::new()).await;
        let response = response.map_err(|error| or_missing(error, &file.id))?;
        let name = upstream.name().clone();
        let body = response.body.map(move |bytes| bytes.map_err(|error| transport_error(&name, &error)));
        // Whatever it is: a browser must not show it as a page of this server.
        let content_type = HeaderValue::from_static("application/octet-stream");
        Ok(TaskArtifact { content_type, body: body.boxed() })
    }

    /// Deletes a file, here and at its provider.
    ///
    /// # Errors
    /// As [`Gateway::file`].
    pub async fn delete_file(&self, caller: &Caller, id: &str) -> Result<Value, Error> {
        let store = self.file_store()?;
        let file = self.find_file(caller, id).await?;
        if !store.is_file_shared(&file).await.map_err(|error| store_error(&error))? {
            let upstream = self.configured_upstream(&file.upstream, "file")?;
            let path = format!("files/{}", file.provider_id);
            match upstream.request(Method::DELETE, &path, &HeaderMap::new(), Bytes::new()).await {
                Ok(_) => {}
                // It was deleted there before, or has expired.
                Err(error) if error.is_missing_at_provider() => {}
                Err(error) => return Err(error),
            }
        }
        store.delete_file(&file).await.map_err(|error| store_error(&error))?;
        Ok(json!({"id": file.id, "object": "file", "deleted": true}))
    }

    /// The caller's file with this id.
    ///
    /// # Errors
    /// `NotFound` without one.
    pub(crate) async fn find_file(&self, caller: &Caller, id: &str) -> Result<StoredFile, Error> {
        let store = self.file_store()?;
        let found = match is_path_safe_id(id) {
            true => store.file(task_owner(caller), id).await.map_err(|error| store_error(&error))?,
            false => None,
        };
        found.ok_or_else(|| missing_file(id))
    }

    /// The store, which knows whose files are whose.
    ///
    /// # Errors
    /// `InvalidRequest` on a server without one.
    pub(crate) fn file_store(&self) -> Result<&Store, Error> {
        let message = "Files and batches need the database that says whose they are, and this server runs without one (`[store] url`)";
        self.accounting.store().ok_or_else(|| Error::invalid(message))
    }
}

/// A new id of a file, which cannot be guessed.
pub(crate) fn new_file_id() -> String {
    format!("file-{:032x}", u128::from_be_bytes(random_bytes()))
}

/// The reply with other ids in these fields, which are written as JSON.
///
/// # Errors
/// `Upstream` for a reply that is not an object, or has a field twice.
pub(crate) fn with_ids(reply: TaskReply, ids: &[(&str, &str)]) -> Result<TaskReply, Error> {
    let changes: Vec<_> = ids.iter().map(|(field, id)| (*field, Value::from(*id).to_string())).collect();
    let fields = JsonFields::scan(&reply.bytes);
    let fields = fields
        .map_err(|_| Error::new(ErrorKind::Upstream(502), "The provider sent an answer that is not one object"))?;
    let bytes = fields.with_changes(&changes).into();
    Ok(TaskReply { bytes, ..reply })
}

/// A list in OpenAI's format, of which `items` has at most one more than `limit`.
pub(crate) fn list_object(mut items: Vec<Value>, limit: usize) -> Value {
    let has_more = items.len() > limit;
    items.truncate(limit);
    let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let (first_id, last_id) = (id(items.first()), id(items.last()));
    json!({"object": "list", "data": items, "first_id": first_id, "last_id": last_id, "has_more": has_more})
}

/// The error for a store that cannot be used.
pub(crate) fn store_error(error: &StoreError) -> Error {
    tracing::error!(%error, "failed to look up a file");
    Error::new(ErrorKind::Overloaded, "Files cannot be looked for right now, please try again later")
}

/// The error of a provider, or [`missing_file`] if it says that there is no such file.
fn or_missing(error: Error, id: &str) -> Error {
    if error.is_missing_at_provider() { missing_file(id) } else { error }
}

fn missing_file(id: &str) -> Error {
    let mut error = Error::new(ErrorKind::NotFound, format!("No such File object: {id:.64}"));
    error.param = Some("id".into());
    error
}

/// A file in OpenAI's format.
fn file_object(file: &StoredFile) -> Value {
    json!({
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at / 1_000_000,
        "expires_at": null,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": null,
    })
}
