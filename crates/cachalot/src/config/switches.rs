//! The settings that the command line sets. They win over the file, also when it is read again.

use std::fmt;
use std::sync::Arc;

/// The switches that were given, of a configuration `C`.
pub struct Switches<C>(Vec<Switch<C>>);

/// A switch: the setting that it sets, such as `server.listen`, and how.
struct Switch<C> {
    setting: &'static str,
    apply: Arc<dyn Fn(&mut C) + Send + Sync>,
}

impl<C> Switches<C> {
    /// Adds the switch for `setting`, if it was given.
    pub fn add<T: Clone + Send + Sync + 'static>(&mut self, setting: &'static str, value: Option<T>, set: fn(&mut C, T))
    where
        C: 'static,
    {
        if let Some(value) = value {
            self.0.push(Switch { setting, apply: Arc::new(move |config| set(config, value.clone())) });
        }
    }

    /// Whether a switch sets this setting.
    pub(crate) fn has(&self, setting: &str) -> bool {
        self.0.iter().any(|switch| switch.setting == setting)
    }

    /// Sets all settings.
    pub(super) fn apply(&self, config: &mut C) {
        self.0.iter().for_each(|switch| (switch.apply)(config));
    }
}

impl<C> Default for Switches<C> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<C> Clone for Switches<C> {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|Switch { setting, apply }| Switch { setting, apply: apply.clone() }).collect())
    }
}

impl<C> fmt::Debug for Switches<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|switch| switch.setting)).finish()
    }
}
