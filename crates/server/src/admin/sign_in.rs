//! Sign-in with a password or a key, sessions, and one's own password.

use chat::{Error, ErrorKind};
use gateway::{generate_token, token_hash};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use store::{Role, User, now_micros};
use subtle::ConstantTimeEq;

use super::errors::store_error;
use super::request::{AdminRequest, AdminResponse};
use super::units::unix_seconds;
use crate::sign_in::cookie::{clear_cookie, set_cookie};
use crate::sign_in::passwords::check_rule;
use crate::sign_in::sessions::{SessionOwner, name_and_role};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    name: Option<String>,
    password: Option<String>,
    key: Option<String>,
}

pub(super) async fn sign_in(request: AdminRequest) -> Result<AdminResponse, Error> {
    let body: SignIn = request.parse_body()?;
    check_secure(&request)?;
    request.store()?;
    match body {
        SignIn { name: Some(name), password: Some(password), key: None } => {
            let user = check_password(&request, &name, password).await?;
            begin_session(&request, SessionOwner::User { user: &user, key_id: None }).await
        }
        SignIn { name: None, password: None, key: Some(key) } => sign_in_with_key(&request, &key).await,
        _ => Err(Error::invalid("The body has either `name` and `password`, or `key`")),
    }
}

/// The user with this name and password.
///
/// # Errors
/// `Unauthorized`, after the same time for every reason; `RateLimited` after too many failures.
async fn check_password(request: &AdminRequest, name: &str, password: String) -> Result<User, Error> {
    let attempt = request.app.sign_in.throttle.begin(Some(name), request.client.network())?;
    let found = request.store()?.password(name).await.map_err(store_error)?;
    let (user, hash) = found.unzip();
    let is_right = request.app.sign_in.passwords.verify(password, hash).await?;
    let user = user.filter(|_| is_right).ok_or_else(sign_in_error)?;
    attempt.succeed();
    Ok(user)
}

async fn sign_in_with_key(request: &AdminRequest, key: &str) -> Result<AdminResponse, Error> {
    let attempt = request.app.sign_in.throttle.begin(None, request.client.network())?;
    let digest: [u8; 32] = Sha256::digest(key).into();
    if request.app.config.admin_token.is_some_and(|token| bool::from(token.ct_eq(&digest[..]))) {
        attempt.succeed();
        return begin_session(request, SessionOwner::AdminToken(&digest)).await;
    }
    let found = request.app.gateway.accounting().keys.find(&digest, request.client.peer);
    let api_key = match found {
        Err(error) if error.kind == ErrorKind::Overloaded => return Err(error),
        found => found.ok().flatten().ok_or_else(sign_in_error)?,
    };
    // A key without a user is of a program.
    let user_id = api_key.user_id().ok_or_else(sign_in_error)?;
    let users = request.store()?.users().await.map_err(store_error)?;
    let user = users.into_iter().find(|user| user.id == **user_id).ok_or_else(sign_in_error)?;
    attempt.succeed();
    begin_session(request, SessionOwner::User { user: &user, key_id: Some(api_key.id()) }).await
}

/// Begins a session and ends the one that the request had.
pub(super) async fn begin_session(request: &AdminRequest, owner: SessionOwner<'_>) -> Result<AdminResponse, Error> {
    let store = request.store()?;
    let sessions = &request.app.sign_in.sessions;
    if let Some(former) = &request.operator.session {
        store.end_session(&former.id).await.map_err(store_error)?;
        sessions.forget();
    }
    let (session, token) = sessions
        .begin(store, owner, &request.client.address.to_string(), &request.client.user_agent)
        .await
        .map_err(store_error)?;
    let (name, role) = name_and_role(&session);
    let value = json!({"name": name, "role": role.as_str(), "expires_at": unix_seconds(session.expires_at())});
    Ok(AdminResponse::created(value).with_cookie(set_cookie(&request.client, &token)))
}

/// Refuses to send the cookie of a session over a network without TLS.
pub(super) fn check_secure(request: &AdminRequest) -> Result<(), Error> {
    if request.client.tls || request.client.loopback {
        return Ok(());
    }
    let message = "Signing in needs https: put a proxy with TLS in front and name it in `proxies` of [server], or use http://127.0.0.1 through an SSH tunnel";
    let mut error = Error::new(ErrorKind::Forbidden, message);
    error.code = Some("tls_required");
    Err(error)
}

fn sign_in_error() -> Error {
    let mut error = Error::new(ErrorKind::Unauthorized, "The name, the password or the key is not right");
    error.code = Some("login");
    error
}

pub(super) async fn sign_out(request: AdminRequest) -> Result<AdminResponse, Error> {
    if let Some(session) = &request.operator.session {
        let store = request.store()?;
        match request.query.value("all") {
            Some("true") => store.end_sessions_like(session).await.map_err(store_error)?,
            None | Some("false") => _ = store.end_session(&session.id).await.map_err(store_error)?,
            Some(other) => return Err(Error::invalid(format!("Invalid 'all': `{other:.32}` is not true or false"))),
        }
        request.app.sign_in.sessions.forget();
    }
    Ok(AdminResponse::no_content().with_cookie(clear_cookie(&request.client)))
}

pub(super) async fn sessions(request: AdminRequest) -> Result<AdminResponse, Error> {
    let sessions = request.store()?.sessions(None, now_micros()).await.map_err(store_error)?;
    let own = sessions.iter().filter(|session| may_end(&request, session));
    let current = request.operator.session.as_ref().map(|session| session.id.as_str());
    let session_json = |session: &store::Session| {
        json!({
            "id": session.id, "user": session.user.as_ref().map(|user| &user.name),
            "current": current == Some(session.id.as_str()), "created_at": unix_seconds(session.created_at),
            "used_at": unix_seconds(session.used_at), "expires_at": unix_seconds(session.expires_at()),
            "address": session.address, "user_agent": session.user_agent,
        })
    };
    Ok(json!({"data": own.map(session_json).collect::<Vec<_>>()}).into())
}

/// Whether a session is one's own. Those of everybody are an admin's.
fn may_end(request: &AdminRequest, session: &store::Session) -> bool {
    let user_id = session.user.as_ref().map(|user| user.id.as_str());
    request.operator.role == Role::Admin || (user_id.is_some() && user_id == request.operator.user_id.as_deref())
}

pub(super) async fn end_session(request: AdminRequest) -> Result<AdminResponse, Error> {
    let store = request.store()?;
    let sessions = store.sessions(None, now_micros()).await.map_err(store_error)?;
    let session = sessions.iter().find(|session| session.id == request.path_param && may_end(&request, session));
    let session = session.ok_or_else(|| Error::new(ErrorKind::NotFound, "There is no such session"))?;
    store.end_session(&session.id).await.map_err(store_error)?;
    request.app.sign_in.sessions.forget();
    Ok(AdminResponse::no_content())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    old: String,
    new: String,
}

pub(super) async fn change_password(request: AdminRequest) -> Result<AdminResponse, Error> {
    let PasswordChange { old, new } = request.parse_body()?;
    let session = request.operator.session.clone();
    let Some((session, user)) = session.as_ref().and_then(|session| Some((session, session.user.as_ref()?))) else {
        let mut error = Error::new(ErrorKind::Forbidden, "Only a user who is signed in has a password to change");
        error.code = Some("session_required");
        return Err(error);
    };
    check_rule(&user.name, &new)?;
    check_password(&request, &user.name, old).await?;
    let hash = request.app.sign_in.passwords.hash(new).await?;
    let (store, token) = (request.store()?, generate_token(""));
    store.set_password(user, &hash, Some(&session.id)).await.map_err(store_error)?;
    store.replace_session_token(&session.id, &token_hash(&token)).await.map_err(store_error)?;
    request.app.sign_in.sessions.forget();
    Ok(AdminResponse::no_content().with_cookie(set_cookie(&request.client, &token)))
}
