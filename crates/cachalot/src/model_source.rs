//! The source of a model that a command line names: inside the program, in a folder, or in the
//! cache of a hub.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use hub::ModelRef;
use weights::Checkpoint;

use crate::embedded_model::EmbeddedModel;
use crate::hub_model;
use crate::model_names;

/// The source of a model.
#[derive(Clone, Debug)]
pub(crate) enum ModelSource {
    Embedded(EmbeddedModel),
    Folder(PathBuf),
    Hub(ModelRef),
}

impl ModelSource {
    /// The source that a command line names. A folder wins over a model of the same name on a hub.
    ///
    /// # Errors
    /// A name that is not one of the three, with what it is as far as that is known.
    pub(crate) fn of(named: Option<&Path>) -> Result<Self> {
        let Some(path) = named else { return Ok(Self::Embedded(EmbeddedModel::default_model())) };
        if let Some(model) = EmbeddedModel::named(path) {
            return Ok(Self::Embedded(model));
        }
        let text = path.to_string_lossy();
        if path.symlink_metadata().is_ok() || is_path(&text) {
            return Ok(Self::Folder(path.to_owned()));
        }
        match (model_names::explain(&text), text.parse()) {
            (Some(explanation), _) => Err(anyhow!("`{text}` {explanation}")),
            (None, Ok(model)) => Ok(Self::Hub(model)),
            (None, Err(_)) if text.contains('/') => Ok(Self::Folder(path.to_owned())),
            (None, Err(_)) => Err(anyhow!(
                "there is no model and no folder `{text}`: the program contains {}, and `cachalot models list` shows those that were downloaded",
                EmbeddedModel::names()
            )),
        }
    }

    /// Opens the checkpoint.
    ///
    /// # Errors
    /// A folder that is not a checkpoint, a model that this build does not contain, a model that
    /// has not been downloaded. Nothing is downloaded.
    pub(crate) fn checkpoint(&self) -> Result<Checkpoint> {
        match self {
            Self::Embedded(model) => model.checkpoint(),
            Self::Folder(dir) => {
                Checkpoint::open(dir).with_context(|| format!("cannot open the checkpoint `{}`", dir.display()))
            }
            Self::Hub(model) => hub_model::open_cached(model),
        }
    }
}

/// Whether the text is written as a path, which no name on a hub is.
fn is_path(text: &str) -> bool {
    ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start)) || text.ends_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_wins_over_a_model_on_a_hub() {
        let source = |name: &str| ModelSource::of(Some(Path::new(name))).unwrap();
        assert!(matches!(source("fixture"), ModelSource::Embedded(_)));
        assert!(matches!(source("a/b"), ModelSource::Hub(_)));
        assert!(matches!(source("a/b@v1"), ModelSource::Hub(_)));
        // The crate's folder, in which tests run.
        assert!(matches!(source("src/commands"), ModelSource::Folder(_)));
        for path in ["./a/b", "/a/b", "../a", "a/b/", "a/b/c"] {
            assert!(matches!(source(path), ModelSource::Folder(_)), "{path}");
        }
        let unknown = ModelSource::of(Some(Path::new("none-such"))).unwrap_err().to_string();
        assert!(unknown.contains("no model and no folder `none-such`"), "{unknown}");
    }
}
