//! Files that callers keep at a provider, in OpenAI's API (docs/api.md 2.10).

use std::sync::Arc;

use ::chat::{Error, ErrorKind};
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use gateway::{FileList, FileUpload};
use http::HeaderMap;

use crate::api::authed_request::{AuthedRequest, authenticate, read_request_as};
use crate::api::media::multipart_headers;
use crate::api::run_to_end::run_to_end;
use crate::app::AppState;
use crate::body::BodyType;
use crate::error_response::or_error_response;
use crate::request_log::RequestLog;
use crate::respond::{body_response, json_response, set_compat_note};

type SharedState = State<Arc<AppState>>;

/// The most files of a page, and its length where the request names none.
const MAX_FILES: usize = 10_000;
/// The header that names the provider of a file.
const PROVIDER_HEADER: &str = "x-gateway-provider";

/// The routes.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    let mut router = Router::new();
    for prefix in ["", "/v1"] {
        router = router
            .route(&format!("{prefix}/files"), post(create).get(list))
            .route(&format!("{prefix}/files/{{id}}"), get(show).delete(delete))
            .route(&format!("{prefix}/files/{{id}}/content"), get(content));
    }
    router
}

/// Uploads a form with a file.
async fn create(State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let create = async {
        let AuthedRequest { caller, parts, bytes } = read_request_as(&app, &log, request, BodyType::Multipart).await?;
        let headers = multipart_headers(BodyType::Multipart, &parts.headers);
        let provider = provider_of(&parts.headers);
        let (gateway, upload) = (app.gateway.clone(), FileUpload { headers, body: bytes, provider });
        let created = run_to_end(async move { gateway.create_file(&caller, upload).await }).await?;
        let mut response = body_response(Body::from(created.reply.bytes), created.reply.content_type, false);
        set_compat_note(&mut response, &created.notes);
        Ok(response)
    };
    or_error_response(create.await, &log)
}

/// Lists the caller's files.
async fn list(State(app): SharedState, Extension(log): Extension<RequestLog>, request: Request) -> Response {
    let list = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        let query = PageQuery::parse(parts.uri.query(), MAX_FILES, MAX_FILES)?;
        let page = FileList {
            purpose: query.purpose,
            after: query.after,
            is_ascending: query.is_ascending,
            limit: query.limit,
        };
        app.gateway.files(&caller, page).await.map(|files| json_response(files.to_string()))
    };
    or_error_response(list.await, &log)
}

/// Describes a file.
async fn show(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let show = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        let reply = app.gateway.file(&caller, &id).await?;
        Ok(body_response(Body::from(reply.bytes), reply.content_type, false))
    };
    or_error_response(show.await, &log)
}

/// Downloads a file.
async fn content(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let content = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        let file = app.gateway.file_content(&caller, &id).await?;
        Ok(body_response(Body::from_stream(file.body), file.content_type, false))
    };
    or_error_response(content.await, &log)
}

/// Deletes a file.
async fn delete(
    State(app): SharedState,
    Extension(log): Extension<RequestLog>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let delete = async {
        let (parts, _) = request.into_parts();
        let caller = authenticate(&app, &log, &parts)?;
        app.gateway.delete_file(&caller, &id).await.map(|deleted| json_response(deleted.to_string()))
    };
    or_error_response(delete.await, &log)
}

/// The provider that a request names.
fn provider_of(headers: &HeaderMap) -> Option<String> {
    headers.get(PROVIDER_HEADER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned())
}

/// The query of a list.
pub(crate) struct PageQuery {
    pub(crate) purpose: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) is_ascending: bool,
    pub(crate) limit: usize,
}

impl PageQuery {
    /// Parses a query. Other parameters are ignored, as OpenAI's service does.
    ///
    /// # Errors
    /// `InvalidRequest` for a `limit` that is not from 1 to `max`, and an `order` that is neither
    /// `asc` nor `desc`.
    pub(crate) fn parse(query: Option<&str>, default_limit: usize, max: usize) -> Result<Self, Error> {
        let mut page = Self { purpose: None, after: None, is_ascending: false, limit: default_limit };
        let invalid = |name: &str, what: String| {
            let error = Error::new(ErrorKind::InvalidRequest, format!("Invalid '{name}': expected {what}"));
            Error { param: Some(name.into()), ..error }
        };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "purpose" => page.purpose = Some(value.into_owned()),
                "after" => page.after = Some(value.into_owned()),
                "order" => match &*value {
                    "asc" => page.is_ascending = true,
                    "desc" => page.is_ascending = false,
                    _ => return Err(invalid("order", "`asc` or `desc`".into())),
                },
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=max).contains(limit));
                    page.limit = limit.ok_or_else(|| invalid("limit", format!("a whole number from 1 to {max}")))?;
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_list_is_read() {
        let parse = |query| PageQuery::parse(Some(query), 20, 100);
        let page = parse("purpose=batch&limit=7&after=file-1&order=asc&other=x").unwrap();
        assert_eq!((page.purpose.as_deref(), page.after.as_deref()), (Some("batch"), Some("file-1")));
        assert_eq!((page.limit, page.is_ascending), (7, true));
        let default = PageQuery::parse(None, 20, 100).unwrap();
        assert_eq!((default.limit, default.is_ascending), (20, false));
        for bad in ["limit=0", "limit=101", "limit=x", "limit=-1", "order=up"] {
            let error = parse(bad).map(drop).unwrap_err();
            assert!(error.message.contains("Invalid '") && error.param.is_some(), "{bad}");
        }
    }
}
