//! Upload of a file to one provider. The file of a batch goes to the provider of its model, any
//! other to the one that the caller names, or to the only one.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chat::Error;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap};
use store::StoredFile;
use wire::passthrough::multipart_fields::MultipartFields;
use wire::tasks::{TaskKind, is_path_safe_id};
use wire::upstream::Dialect;

use crate::Gateway;
use crate::files::access::{new_file_id, store_error, with_ids};
use crate::files::batch_input::{BatchInput, first_model, in_line, scan_file};
use crate::keys::caller::Caller;
use crate::memory::inflight_budget::RequestMemory;
use crate::offload::offload;
use crate::passthrough::body_rewrite::TargetModel;
use crate::routing::route::Route;
use crate::routing::target::{Backend, Target};
use crate::task_ids::task_owner;
use crate::tasks::reply::{TaskReply, read_task_reply};
use crate::upstream::remote_provider::Upstream;

/// The purpose of files of which batches are made.
const BATCH_PURPOSE: &str = "batch";
/// Most characters of a name or a purpose that are kept.
const MAX_NAME_CHARS: usize = 256;
/// The remedy where several providers are possible.
const NAME_THE_PROVIDER: &str = "name one with the header `x-gateway-provider`";

/// A form with a file.
#[derive(Clone, Debug)]
pub struct FileUpload {
    /// The content type of the form.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The provider that the caller names.
    pub provider: Option<String>,
}

/// The description of a new file, and what was changed in it for its model.
#[derive(Debug)]
pub struct FileReply {
    pub reply: TaskReply,
    pub notes: Vec<String>,
}

/// The fields of a form.
struct UploadForm {
    purpose: String,
    filename: String,
    /// The position of the file in the form.
    range: Range<usize>,
}

/// A form as its provider gets it.
struct OutgoingForm {
    upstream: Arc<Upstream>,
    body: Bytes,
    batch_input: Option<BatchInput>,
    notes: Vec<String>,
}

impl Gateway {
    /// Uploads a file to a provider.
    ///
    /// # Errors
    /// `InvalidRequest` for a form without `file` and `purpose`, a file for batches whose lines are
    /// not requests to one model, and where it is not clear which provider is meant; the errors of
    /// [`Gateway::answer`] about the model; the error that the provider's refusal maps to.
    pub async fn create_file(&self, caller: &Caller, upload: FileUpload) -> Result<FileReply, Error> {
        let store = self.file_store()?;
        let form = read_form(&caller.memory, &upload).await?;
        let outgoing = match form.purpose == BATCH_PURPOSE {
            true => self.batch_form(caller, &form, &upload).await?,
            false => OutgoingForm {
                upstream: self.file_provider(caller, upload.provider.as_deref())?,
                body: upload.body,
                batch_input: None,
                notes: Vec::new(),
            },
        };
        let OutgoingForm { upstream, body, batch_input, notes } = outgoing;
        self.note_log.log(caller.key_name.as_ref(), &notes);
        let response = upstream.request(Method::POST, "files", &upload.headers, body).await;
        let response = response.map_err(|error| match error.is_missing_at_provider() {
            true => Error::invalid(format!("The provider `{}` does not take files", upstream.name())),
            false => error,
        })?;
        let has_id = |answer: &serde_json::Value| answer["id"].as_str().is_some_and(is_path_safe_id);
        let (reply, answer) = read_task_reply(&caller.memory, &upstream, response, has_id).await?;
        let file = StoredFile {
            id: new_file_id(),
            provider_id: answer["id"].as_str().unwrap_or_default().to_owned(),
            upstream: upstream.name().clone(),
            owner: task_owner(caller).to_text(),
            purpose: form.purpose,
            filename: answer["filename"].as_str().map_or(form.filename, str::to_owned),
            bytes: answer["bytes"].as_i64().unwrap_or_else(|| form.range.len().try_into().unwrap_or(i64::MAX)),
            batch_input: batch_input.map(|input| serde_json::to_string(&input).expect("an input is JSON")),
            created_at: store::now_micros(),
        };
        let file = store.add_file(&file).await.map_err(|error| store_error(&error))?;
        Ok(FileReply { reply: with_ids(reply, &[("id", &file.id)])?, notes })
    }

    /// Reads a file for batches, and rewrites it for the provider of its model.
    async fn batch_form(&self, caller: &Caller, form: &UploadForm, upload: &FileUpload) -> Result<OutgoingForm, Error> {
        let model = first_model(&upload.body[form.range.clone()])?;
        let target = self.batch_target(caller, &model, upload.provider.as_deref());
        let (route, target) = target.map_err(|error| in_line(1, error))?;
        let Backend::Remote(upstream) = &target.backend else {
            return Err(Error::internal("the local engine has no batches"));
        };
        let (thinking_mode, target) = (route.thinking_mode, TargetModel::of(&target)?);
        let mut reservation = caller.memory.empty_reservation();
        let (body, range) = (upload.body.clone(), form.range.clone());
        let scanned = offload(&caller.memory, range.len(), move || {
            let scanned = scan_file(&body, range, &model, &target, thinking_mode, &mut reservation)?;
            let Some(changed) = scanned.changed else { return Ok((body, scanned.input, scanned.notes)) };
            reservation.resize(changed.len())?;
            Ok((reservation.attach_to(changed), scanned.input, scanned.notes))
        });
        let (body, input, notes) = scanned.await?;
        Ok(OutgoingForm { upstream: upstream.clone(), body, batch_input: Some(input), notes })
    }

    /// The target that runs a batch of `model`: the one of `provider`, else the only one that may
    /// have batches.
    ///
    /// # Errors
    /// Those of the router about the model; `InvalidRequest` for a model without such a target, or
    /// with several.
    fn batch_target(
        &self,
        caller: &Caller,
        model: &str,
        provider: Option<&str>,
    ) -> Result<(Arc<Route>, Target), Error> {
        let route = self.router.load().find(caller, model)?;
        let is_possible = |target: &&Target| {
            let takes = target.backend.dialect().is_some_and(|dialect| dialect.supports_task(TaskKind::Batch));
            takes && provider.is_none_or(|provider| *target.provider == *provider)
        };
        let mut targets: Vec<_> = route.targets.iter().filter(is_possible).cloned().collect();
        prefer_openai(&mut targets, |target| target.backend.dialect());
        match targets.len() {
            1 => Ok((route, targets.remove(0))),
            0 => Err(Error::invalid(format!(
                "the model `{model:.64}` has no batches here: they need a provider of the dialect `openai`, `deepseek` or `responses`{}",
                provider.map_or_else(String::new, |provider| format!(", and `{provider:.64}` was named"))
            ))),
            _ => Err(Error::invalid(format!(
                "several providers have the model `{model:.64}`: {NAME_THE_PROVIDER}, or write `provider/model`"
            ))),
        }
    }

    /// The provider that keeps a file: the one of this name, else the only one that may keep files,
    /// of those whose models the caller may use.
    ///
    /// # Errors
    /// `InvalidRequest` where none is possible, or several are.
    fn file_provider(&self, caller: &Caller, name: Option<&str>) -> Result<Arc<Upstream>, Error> {
        let upstreams = self.router.load().upstreams_for(caller).into_values();
        let is_possible = |upstream: &Arc<Upstream>| {
            upstream.dialect().has_openai_endpoints() && name.is_none_or(|name| **upstream.name() == *name)
        };
        let mut possible: Vec<_> = upstreams.filter(is_possible).collect();
        prefer_openai(&mut possible, |upstream| Some(upstream.dialect()));
        match (possible.len(), name) {
            (1, _) => Ok(possible.remove(0)),
            (0, Some(name)) => Err(Error::invalid(format!(
                "There is no provider `{name:.64}` that takes files for this key (`x-gateway-provider`)"
            ))),
            (0, None) => Err(Error::invalid("No provider takes files: they need one of the dialect `openai`")),
            _ => Err(Error::invalid(format!("Several providers take files: {NAME_THE_PROVIDER}"))),
        }
    }
}

/// Keeps those of OpenAI's dialect, if there are any: its service has files.
fn prefer_openai<T>(possible: &mut Vec<T>, dialect: impl Fn(&T) -> Option<Dialect>) {
    let is_openai = |one: &T| dialect(one) == Some(Dialect::OpenAi);
    if possible.iter().any(is_openai) {
        possible.retain(is_openai);
    }
}

/// Reads the fields of a form.
async fn read_form(memory: &RequestMemory, upload: &FileUpload) -> Result<UploadForm, Error> {
    let content_type = upload.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let content_type = String::from_utf8_lossy(content_type).into_owned();
    let body = upload.body.clone();
    offload(memory, body.len(), move || {
        let form = MultipartFields::scan(&content_type, &body)?;
        let missing = |name: &str| {
            let mut error = Error::invalid(format!("The form has no field `{name}`"));
            error.param = Some(name.into());
            error
        };
        let file = form.file("file")?.ok_or_else(|| missing("file"))?;
        let purpose = form.text("purpose").ok_or_else(|| missing("purpose"))?;
        let shorten = |text: &str| text.chars().take(MAX_NAME_CHARS).collect::<String>();
        Ok(UploadForm { purpose: shorten(&purpose), filename: shorten(&file.filename), range: file.range })
    })
    .await
}
