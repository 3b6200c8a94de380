//! Links that work once: the setup of the first user, invitations, and links that set a password.

use chat::{Error, ErrorKind};
use gateway::{generate_token, token_hash};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{
    DAY_MICROS, Invitation, LinkKind, NewUserRights, PASSWORD_LINK_MICROS, Role, Store, StoreError, now_micros,
};

use super::accounts::{parse_role, validate_name};
use super::errors::{invalid_field, name_error, role_error, store_error};
use super::request::{AdminRequest, AdminResponse};
use super::sign_in::{begin_session, check_secure};
use super::units::{Dollars, unix_seconds};
use crate::auth::authenticate_operator;
use crate::config::SignupAccess;
use crate::sign_in::passwords::check_rule;
use crate::sign_in::sessions::SessionOwner;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setup {
    /// Absent if the caller is an admin without it, as whoever is on the machine of a new server.
    token: Option<String>,
    name: String,
    password: String,
}

pub(super) async fn set_up(request: AdminRequest) -> Result<AdminResponse, Error> {
    let Setup { token, name, password } = request.parse_body()?;
    check_secure(&request)?;
    check_rule(validate_name(&name)?, &password)?;
    let attempt = request.app.sign_in.throttle.begin(None, request.client.network())?;
    let (store, token) = (request.store()?, token.as_deref().map(token_hash));
    match &token {
        Some(token) => {
            if !store.has_link(LinkKind::Setup, token, now_micros()).await.map_err(store_error)? {
                return Err(link_error("setup_token"));
            }
        }
        None => {
            authenticate_operator(&request.app, &request.parts, Role::Admin)?;
        }
    }
    let hash = request.app.sign_in.passwords.hash(password).await?;
    let set_up = store.set_up(token.as_deref(), &name, &hash).await;
    let user = set_up.map_err(|error| link_or_store_error(error, "setup_token"))?;
    attempt.succeed();
    request.refresh_accounts().await?;
    begin_session(&request, SessionOwner::User { user: &user, key_id: None }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewInvitation {
    name: Option<String>,
    role: String,
    project: String,
    budget: Option<Dollars>,
    days: i64,
}

pub(super) async fn invite(request: AdminRequest) -> Result<AdminResponse, Error> {
    let new: NewInvitation = request.parse_body()?;
    let role = parse_role(&new.role)?;
    if role > request.operator.role {
        return Err(role_error("An invitation gives at most your own role"));
    }
    if !(1..=30).contains(&new.days) {
        return Err(invalid_field("days", "Invalid 'days': expected a number from 1 to 30"));
    }
    let store = request.store()?;
    if let Some(name) = &new.name {
        check_name_is_free(store, validate_name(name)?).await?;
    }
    let project = store.project(&new.project).await.map_err(store_error)?;
    let budget = new.budget.map(|budget| budget.nano()).transpose()?;
    let rights = NewUserRights { role, project_id: project.id, budget };
    let invitation = Invitation { name: new.name, rights };
    let (token, expires_at) = (generate_token(""), now_micros() + new.days * DAY_MICROS);
    store.add_invitation(&token_hash(&token), expires_at, &invitation).await.map_err(store_error)?;
    Ok(AdminResponse::created(link_json(&request, "invitation", &token, expires_at)))
}

async fn check_name_is_free(store: &Store, name: &str) -> Result<(), Error> {
    match store.user(name).await {
        Err(StoreError::NotFound(_)) => Ok(()),
        Ok(_) => Err(name_error(StoreError::Conflict(format!("there is a user `{name}` already")))),
        Err(error) => Err(store_error(error)),
    }
}

/// A link to the console, whose token is in the part of the address that is never sent.
fn link_json(request: &AdminRequest, kind: &str, token: &str, expires_at: i64) -> Value {
    let link = format!("{}/console/#{kind}={token}", request.client.origin);
    json!({"link": link, "expires_at": unix_seconds(expires_at)})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUp {
    token: Option<String>,
    name: String,
    password: String,
}

pub(super) async fn sign_up(request: AdminRequest) -> Result<AdminResponse, Error> {
    let SignUp { token, name, password } = request.parse_body()?;
    check_secure(&request)?;
    check_rule(validate_name(&name)?, &password)?;
    let attempt = request.app.sign_in.throttle.begin(None, request.client.network())?;
    let store = request.store()?;
    let token = token.as_deref().map(token_hash);
    let rights = match &token {
        Some(token) => {
            let invitation = store.invitation(token, now_micros()).await.map_err(store_error)?;
            let invitation = invitation.ok_or_else(|| link_error("invitation"))?;
            if invitation.name.as_ref().is_some_and(|invited| *invited != name) {
                return Err(invalid_field("name", "This invitation is for another name"));
            }
            invitation.rights
        }
        None => open_signup_rights(&request).await?,
    };
    check_name_is_free(store, &name).await?;
    let hash = request.app.sign_in.passwords.hash(password).await?;
    let signed_up = store.sign_up(token.as_deref(), &name, &rights, &hash).await;
    let user = signed_up.map_err(|error| link_or_store_error(error, "invitation"))?;
    // A sign-up without an invitation stays counted, so that an address makes few users.
    if token.is_some() {
        attempt.succeed();
    }
    request.refresh_accounts().await?;
    begin_session(&request, SessionOwner::User { user: &user, key_id: None }).await
}

/// The rights of users who sign up without an invitation: members of the default project.
async fn open_signup_rights(request: &AdminRequest) -> Result<NewUserRights, Error> {
    if request.app.config.console.signup == SignupAccess::Closed {
        let mut error = Error::new(ErrorKind::Forbidden, "Signing up here needs an invitation");
        error.code = Some("signup_closed");
        return Err(error);
    }
    let project = gateway::find_or_create_project(request.store()?, gateway::DEFAULT_PROJECT).await;
    Ok(NewUserRights { role: Role::Member, project_id: project.map_err(store_error)?.id, budget: None })
}

pub(super) async fn add_password_link(request: AdminRequest) -> Result<AdminResponse, Error> {
    let user = request.store()?.user(&request.path_param).await.map_err(store_error)?;
    let (token, expires_at) = (generate_token(""), now_micros() + PASSWORD_LINK_MICROS);
    request.store()?.add_password_link(&token_hash(&token), expires_at, &user).await.map_err(store_error)?;
    Ok(AdminResponse::created(link_json(&request, "password", &token, expires_at)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    token: String,
    password: String,
}

/// Sets the password of a user by a link, and signs the user in.
pub(super) async fn set_password(request: AdminRequest) -> Result<AdminResponse, Error> {
    let NewPassword { token, password } = request.parse_body()?;
    check_secure(&request)?;
    let attempt = request.app.sign_in.throttle.begin(None, request.client.network())?;
    let (store, token) = (request.store()?, token_hash(&token));
    let user = store.user_of_password_link(&token, now_micros()).await.map_err(store_error)?;
    let user = user.ok_or_else(|| link_error("password_token"))?;
    check_rule(&user.name, &password)?;
    let hash = request.app.sign_in.passwords.hash(password).await?;
    let set = store.set_password_by_link(&token, &user, &hash).await;
    set.map_err(|error| link_or_store_error(error, "password_token"))?;
    attempt.succeed();
    request.refresh_accounts().await?;
    begin_session(&request, SessionOwner::User { user: &user, key_id: None }).await
}

fn link_error(code: &'static str) -> Error {
    let mut error = Error::new(ErrorKind::Unauthorized, "This link is used up, expired or wrong: ask for a new one");
    error.code = Some(code);
    error
}

fn link_or_store_error(error: StoreError, code: &'static str) -> Error {
    match error {
        StoreError::LinkNotValid => link_error(code),
        error => store_error(error),
    }
}
