//! The judgement, before a download, whether a model of a hub can run here; and what to run
//! instead.

use hub::Repository;
use indicatif::BinaryBytes;
use model::config::Config;
use serde_json::Value;

use crate::system_memory;

/// The reason why a model of a hub cannot run on this machine, with hints; `None` if it can, as far
/// as its configuration and the size of its weights tell.
pub(crate) fn obstacle(repository: &Repository, config: Option<&Value>) -> Option<String> {
    if let Some(format) = other_format(repository) {
        return Some(format);
    }
    let id = &repository.id;
    let Some(config) = config else { return Some(format!("`{id}` has no `config.json`: it is not a checkpoint")) };
    if let Err(error) = Config::from_json(config) {
        return Some(format!("this program cannot run `{id}`: {error}{}", base_hint(repository)));
    }
    let (weights, _) = repository.bytes_of(".safetensors");
    let total = system_memory::total();
    if weights <= total {
        return None;
    }
    let text =
        format!("the weights of `{id}` take {}, and this machine has {}", BinaryBytes(weights), BinaryBytes(total));
    Some(format!("{text} of memory\n{ALTERNATIVES}"))
}

/// Hints about what runs in place of a model that is too large.
const ALTERNATIVES: &str = "hint: the embedded model runs here: `cachalot serve`\n\
    hint: providers offer the large ones: add `[[providers]]` to cachalot.toml and run `cachalot serve --model none` (docs/gateway.md)\n\
    hint: a smaller checkpoint of the family, or one that `cachalot pack` has made on a larger machine";

/// A line about the memory that a model needs, where this machine has less.
pub(crate) fn memory_hint(repository: &Repository) -> Option<String> {
    let (weights, _) = repository.bytes_of(".safetensors");
    let total = system_memory::total();
    (weights > total).then(|| {
        let (weights, total) = (BinaryBytes(weights), BinaryBytes(total));
        format!("hint: its weights take {weights}, and this machine has {total} of memory: it runs here only from disk, with `--allow-mmap-larger-than-memory`\n{ALTERNATIVES}")
    })
}

/// The message for a model whose weights are not safetensors.
pub(crate) fn other_format(repository: &Repository) -> Option<String> {
    if repository.bytes_of(".safetensors").1 > 0 {
        return None;
    }
    let id = &repository.id;
    let (bytes, files) = repository.bytes_of(".gguf");
    if files > 0 {
        return Some(format!(
            "`{id}` has GGUF files ({files}, {}), which are for llama.cpp and Ollama: this program reads safetensors{}",
            BinaryBytes(bytes),
            base_hint(repository)
        ));
    }
    Some(format!("`{id}` has no safetensors, which are the weights that this program reads{}", base_hint(repository)))
}

/// The models from which this one was made, by its own account.
fn base_hint(repository: &Repository) -> String {
    let commands: Vec<String> = repository.base_models.iter().map(|id| format!("`cachalot pull {id}`")).collect();
    if commands.is_empty() { String::new() } else { format!("\nhint: it was made from: {}", commands.join(", ")) }
}
