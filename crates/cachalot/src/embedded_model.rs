//! The model inside the binary: `models/mini/`, what runs when no checkpoint is given.

use weights::{Checkpoint, static_bytes};

/// Bytes on a cache line border, so that the weights of the embedded model lie as
/// well as mapped ones.
#[repr(C, align(64))]
struct Aligned<B: ?Sized>(B);

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, {
            static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!("../../../models/mini/", $name)));
            &FILE.0
        })),*]
    };
}

/// Opens the embedded model.
///
/// # Errors
/// None in a program that was built from a sound `models/mini/`.
pub(crate) fn checkpoint() -> Result<Checkpoint, weights::Error> {
    let files: [(&str, &'static [u8]); 6] = files![
        "config.json",
        "generation_config.json",
        "model-00001-of-00001.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    Checkpoint::from_files("minnow", files.map(|(name, bytes)| (name.to_owned(), static_bytes(bytes))))
}
