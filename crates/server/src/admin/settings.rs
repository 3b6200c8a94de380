//! What the configuration file can say too: providers, aliases, prices. Neither overwrites the other: what the file names is
//! changed in the file.

use std::sync::Arc;

use chat::{BoxFuture, Error, ErrorKind};
use serde_json::{Value, json};
use store::Setting;

use super::{Answer, Ask, fault};

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Provider,
    Alias,
    Price,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Provider, Self::Alias, Self::Price];

    /// What the store calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Alias => "alias",
            Self::Price => "price",
        }
    }
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    File,
    Store,
}

/// One setting.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub value: Value,
    pub origin: Origin,
    /// Why it is not in force.
    pub disabled: Option<String>,
}

/// Whoever has read the configuration, and can read it again.
pub trait Control: Send + Sync {
    /// What is in force, without secrets.
    fn config(&self) -> Value;

    /// The settings of a kind, in force or disabled.
    fn settings(&self, kind: Kind) -> Vec<Row>;

    /// Whether a setting could be used.
    ///
    /// # Errors
    /// The error that the API returns for a value that cannot be used.
    fn check(&self, kind: Kind, name: &str, value: &Value) -> Result<(), Error>;

    /// Reads file and store again. What cannot be used leaves all as it was.
    ///
    /// # Errors
    /// The error that the API returns for a configuration that cannot be used.
    fn reload(&self) -> BoxFuture<'_, Result<(), Error>>;
}

const LONGEST_NAME: usize = 256;

fn control(ask: &Ask) -> Result<Arc<dyn Control>, Error> {
    let none = || Error::new(ErrorKind::Conflict, "This server has no configuration that could be changed");
    ask.app.control.clone().ok_or_else(none)
}

pub(super) async fn config(ask: Ask) -> Result<Answer, Error> {
    Ok(control(&ask)?.config().into())
}

pub(super) async fn reload(ask: Ask) -> Result<Answer, Error> {
    control(&ask)?.reload().await?;
    Ok(json!({"reloaded": true}).into())
}

pub(super) async fn list(ask: Ask, kind: Kind) -> Result<Answer, Error> {
    let settings = control(&ask)?.settings(kind).into_iter().map(|Row { name, value, origin, disabled }| {
        let origin = if origin == Origin::File { "file" } else { "store" };
        let mut listed = json!({"name": name, "source": origin, "value": value});
        if let Some(reason) = disabled {
            listed["disabled"] = reason.into();
        }
        listed
    });
    Ok(json!({"data": settings.collect::<Vec<_>>()}).into())
}

/// What the file says is changed in the file.
fn not_in_file(control: &dyn Control, kind: Kind, name: &str) -> Result<(), Error> {
    let settings = control.settings(kind);
    if settings.iter().any(|row| row.name == name && row.origin == Origin::File) {
        let message = format!("The {} `{name:.64}` is set in the configuration file: change it there", kind.as_str());
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(())
}

pub(super) async fn put(ask: Ask, kind: Kind) -> Result<Answer, Error> {
    let (control, value) = (control(&ask)?, ask.read::<Value>()?);
    not_in_file(control.as_ref(), kind, &ask.name)?;
    // Names of aliases and prices are ids of models, which are longer than other names.
    if ask.name.chars().count() > LONGEST_NAME || !store::is_printable(&ask.name) {
        let message = format!("A name has 1 to {LONGEST_NAME} characters, none of which controls how text is shown");
        return Err(Error::invalid(message));
    }
    control.check(kind, &ask.name, &value)?;
    let setting = Setting { kind: kind.as_str().into(), name: ask.name.clone(), value: value.to_string() };
    ask.store()?.put_setting(&setting).await.map_err(fault)?;
    control.reload().await?;
    Ok(json!({"name": ask.name, "source": "store", "value": value}).into())
}

pub(super) async fn remove(ask: Ask, kind: Kind) -> Result<Answer, Error> {
    let control = control(&ask)?;
    not_in_file(control.as_ref(), kind, &ask.name)?;
    ask.store()?.remove_setting(kind.as_str(), &ask.name).await.map_err(fault)?;
    control.reload().await?;
    Ok(json!({"removed": ask.name}).into())
}
