//! The models inside the program, and the names that `--model` reserves for them: `fixture`, the
//! small model of the tests, and `minnow`, which runs when no model is named.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use weights::{Checkpoint, static_bytes};

/// The name and the bytes of a file of a model's folder.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// Bytes aligned to a cache line, as the weights of a mapped checkpoint are.
#[repr(C, align(64))]
pub struct Aligned<B: ?Sized>(pub B);

/// The files of `models/minnow/`. The library does not contain them, so that tests need not be
/// linked with a large model.
static MINNOW: OnceLock<&'static [EmbeddedFile]> = OnceLock::new();

macro_rules! fixture_files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, {
            static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!("../../../models/fixture/", $name)));
            &FILE.0
        })),*]
    };
}

static FIXTURE: &[EmbeddedFile] = fixture_files![
    "config.json",
    "generation_config.json",
    "model-00001-of-00001.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Adds the model `minnow`, for the whole process. A second call has no effect.
pub fn add_minnow(files: &'static [EmbeddedFile]) {
    MINNOW.get_or_init(|| files);
}

/// The names of the models that this program contains.
pub(crate) fn embedded_model_names() -> Vec<String> {
    let contained = [Some(EmbeddedModel::Fixture), MINNOW.get().map(|_| EmbeddedModel::Minnow)];
    contained.into_iter().flatten().map(|model| model.name().to_owned()).collect()
}

/// A model inside the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EmbeddedModel {
    Fixture,
    Minnow,
}

impl EmbeddedModel {
    /// The model of a reserved name. A folder of that name has another spelling, such as
    /// `./fixture`.
    pub(crate) fn named(name: &Path) -> Option<Self> {
        // Paths compare by their components, which would make `fixture/` a reserved name.
        [Self::Fixture, Self::Minnow].into_iter().find(|model| name.as_os_str() == model.name())
    }

    /// The model that runs when none is named.
    pub(crate) fn default_model() -> Self {
        if MINNOW.get().is_some() { Self::Minnow } else { Self::Fixture }
    }

    /// The names of the models of this build, for a sentence.
    pub(crate) fn names() -> &'static str {
        if MINNOW.get().is_some() { "`minnow` and `fixture`" } else { "`fixture`" }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fixture => "fixture",
            Self::Minnow => "minnow",
        }
    }

    /// Opens the model.
    ///
    /// # Errors
    /// A model that this build does not contain; files that were damaged when it was built.
    pub(crate) fn checkpoint(self) -> Result<Checkpoint> {
        let files = match self {
            Self::Fixture => FIXTURE,
            Self::Minnow => MINNOW.get().copied().context(
                "this build does not contain the model `minnow`: build it with the feature `embedded-model` and with `models/minnow/`, \
                 give `--model fixture` for the model of the tests, or `--model ./minnow` for a folder of that name",
            )?,
        };
        let files = files.iter().map(|&(name, bytes)| (name.to_owned(), static_bytes(bytes)));
        Checkpoint::from_files(self.name(), files).with_context(|| format!("the embedded model `{}`", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_names_are_reserved() {
        let named = |name: &str| EmbeddedModel::named(Path::new(name));
        assert_eq!((named("fixture"), named("minnow")), (Some(EmbeddedModel::Fixture), Some(EmbeddedModel::Minnow)));
        for folder in ["./fixture", "fixture/", "/models/minnow", "models/fixture", "Minnow", "none", ""] {
            assert_eq!(named(folder), None, "{folder}");
        }
    }

    #[test]
    fn without_minnow_the_fixture_is_the_default_and_minnow_an_error_with_the_remedy() {
        assert_eq!(EmbeddedModel::default_model(), EmbeddedModel::Fixture);
        assert_eq!(EmbeddedModel::Fixture.checkpoint().unwrap().name(), "fixture");
        let missing = EmbeddedModel::Minnow.checkpoint().err().unwrap().to_string();
        assert!(missing.contains("`embedded-model`") && missing.contains("`--model ./minnow`"), "{missing}");
    }
}
