//! The model inside the binary, `models/fixture/`, which runs when no checkpoint is given.

use weights::{Checkpoint, static_bytes};

/// Bytes aligned to a cache line, as the weights of a mapped checkpoint are.
#[repr(C, align(64))]
struct Aligned<B: ?Sized>(B);

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, {
            static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!("../../../models/fixture/", $name)));
            &FILE.0
        })),*]
    };
}

/// Opens the embedded model.
///
/// # Errors
/// Only in a program that was built from a damaged `models/fixture/`.
pub(crate) fn checkpoint() -> Result<Checkpoint, weights::Error> {
    let files: [(&str, &'static [u8]); 6] = files![
        "config.json",
        "generation_config.json",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    Checkpoint::from_files("fixture", files.map(|(name, bytes)| (name.to_owned(), static_bytes(bytes))))
}
