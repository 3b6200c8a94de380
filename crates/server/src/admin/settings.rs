//! Settings that the configuration file can contain too: providers, aliases, prices. A setting of
//! the file is changed only in the file.

use std::sync::Arc;

use chat::{Error, ErrorKind};
use serde_json::{Value, json};
use store::Setting;

use super::errors::store_error;
use super::request::{AdminRequest, AdminResponse};
use crate::control::{ConfigController, SettingEntry, SettingKind, SettingSource};

/// The most characters of the name of a setting.
const MAX_NAME_CHARS: usize = 256;

fn controller(request: &AdminRequest) -> Result<Arc<dyn ConfigController>, Error> {
    let not_available = || Error::new(ErrorKind::Conflict, "This server has no configuration that could be changed");
    request.app.controller.clone().ok_or_else(not_available)
}

pub(super) async fn config(request: AdminRequest) -> Result<AdminResponse, Error> {
    Ok(controller(&request)?.config()?.into())
}

pub(super) async fn reload(request: AdminRequest) -> Result<AdminResponse, Error> {
    controller(&request)?.reload().await?;
    Ok(json!({"reloaded": true}).into())
}

pub(super) async fn test_provider(request: AdminRequest) -> Result<AdminResponse, Error> {
    let test = controller(&request)?.test_provider(request.path_param.clone()).await?;
    Ok(json!(test).into())
}

pub(super) async fn list(request: AdminRequest, kind: SettingKind) -> Result<AdminResponse, Error> {
    let settings = controller(&request)?.settings(kind);
    Ok(json!({"data": settings.into_iter().map(entry_json).collect::<Vec<_>>()}).into())
}

fn entry_json(entry: SettingEntry) -> Value {
    let source = match entry.source {
        SettingSource::File => "file",
        SettingSource::Store => "store",
    };
    let mut json = json!({"name": entry.name, "source": source, "value": entry.value});
    if let Some(reason) = entry.disabled_reason {
        json["disabled"] = reason.into();
    }
    if let Some(error) = entry.last_error {
        json["last_error"] = error.into();
    }
    json
}

/// Refuses to change a setting of the configuration file.
fn refuse_file_setting(controller: &dyn ConfigController, kind: SettingKind, name: &str) -> Result<(), Error> {
    let settings = controller.settings(kind);
    if settings.iter().any(|entry| entry.name == name && entry.source == SettingSource::File) {
        let message = format!("The {} `{name:.64}` is set in the configuration file: change it there", kind.as_str());
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

pub(super) async fn put(request: AdminRequest, kind: SettingKind) -> Result<AdminResponse, Error> {
    let controller = controller(&request)?;
    let value = request.parse_body::<Value>()?;
    refuse_file_setting(controller.as_ref(), kind, &request.path_param)?;
    // Names of aliases and prices contain model ids, which may be longer than other names.
    if request.path_param.chars().count() > MAX_NAME_CHARS || !store::is_printable(&request.path_param) {
        let message = format!("A name has 1 to {MAX_NAME_CHARS} characters, none of which controls how text is shown");
        return Err(Error::invalid(message));
    }
    controller.check(kind, &request.path_param, &value)?;
    let setting = Setting { kind: kind.as_str().into(), name: request.path_param.clone(), value: value.to_string() };
    request.store()?.put_setting(&setting).await.map_err(store_error)?;
    controller.reload().await?;
    Ok(json!({"name": request.path_param, "source": "store", "value": value}).into())
}

pub(super) async fn remove(request: AdminRequest, kind: SettingKind) -> Result<AdminResponse, Error> {
    let controller = controller(&request)?;
    refuse_file_setting(controller.as_ref(), kind, &request.path_param)?;
    request.store()?.remove_setting(kind.as_str(), &request.path_param).await.map_err(store_error)?;
    controller.reload().await?;
    Ok(json!({"removed": request.path_param}).into())
}
