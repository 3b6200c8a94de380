//! What the configuration file can say too: providers, aliases, prices. Neither overwrites the
//! other: what the file names is changed in the file.

use std::sync::Arc;

use chat::{Error, ErrorKind};
use serde_json::{Value, json};
use store::Setting;

use super::request::{AdminRequest, AdminResponse, store_error};
use crate::control::{ConfigController, SettingEntry, SettingKind, SettingSource};

const MAX_NAME_CHARS: usize = 256;

fn controller(request: &AdminRequest) -> Result<Arc<dyn ConfigController>, Error> {
    let none = || Error::new(ErrorKind::Conflict, "This server has no configuration that could be changed");
    request.app.controller.clone().ok_or_else(none)
}

pub(super) async fn config(request: AdminRequest) -> Result<AdminResponse, Error> {
    Ok(controller(&request)?.config().into())
}

pub(super) async fn reload(request: AdminRequest) -> Result<AdminResponse, Error> {
    controller(&request)?.reload().await?;
    Ok(json!({"reloaded": true}).into())
}

pub(super) async fn list(request: AdminRequest, kind: SettingKind) -> Result<AdminResponse, Error> {
    let settings = controller(&request)?.settings(kind).into_iter().map(
        |SettingEntry { name, value, source: origin, disabled_reason: disabled }| {
            let source = if origin == SettingSource::File { "file" } else { "store" };
            let mut listed = json!({"name": name, "source": source, "value": value});
            if let Some(reason) = disabled {
                listed["disabled"] = reason.into();
            }
            listed
        },
    );
    Ok(json!({"data": settings.collect::<Vec<_>>()}).into())
}

/// What the file says is changed in the file.
fn refuse_file_setting(controller: &dyn ConfigController, kind: SettingKind, name: &str) -> Result<(), Error> {
    let settings = controller.settings(kind);
    if settings.iter().any(|row| row.name == name && row.source == SettingSource::File) {
        let message = format!("The {} `{name:.64}` is set in the configuration file: change it there", kind.as_str());
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

pub(super) async fn put(request: AdminRequest, kind: SettingKind) -> Result<AdminResponse, Error> {
    let (controller, value) = (controller(&request)?, request.parse_body::<Value>()?);
    refuse_file_setting(controller.as_ref(), kind, &request.path_param)?;
    // Names of aliases and prices are ids of models, which are longer than other names.
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
