//! The choice of the files of a model that are downloaded.

use crate::{Error, Glob, RepoFile, Repository};

/// Endings of weights in formats other than safetensors.
const OTHER_WEIGHTS: [&str; 11] =
    [".bin", ".pt", ".pth", ".ckpt", ".gguf", ".ggml", ".onnx", ".onnx_data", ".h5", ".msgpack", ".tflite"];

/// The files to download, and those that are left out.
#[derive(Clone, Debug)]
pub struct Selection<'a> {
    pub files: Vec<&'a RepoFile>,
    /// The number and the bytes of the files that were left out as weights in other formats.
    pub left_out: (usize, u64),
}

/// Selects the files that match one of `include`. Without patterns these are all files; but where
/// there are safetensors, weights in other formats are left out, because they are the same again.
///
/// # Errors
/// No file is selected.
pub fn select<'a>(repository: &'a Repository, include: &[Glob], patterns: &str) -> Result<Selection<'a>, Error> {
    let has_safetensors = repository.files.iter().any(|file| file.path.ends_with(".safetensors"));
    let is_wanted = |file: &RepoFile| match include {
        [] => !has_safetensors || !OTHER_WEIGHTS.iter().any(|ending| file.path.ends_with(ending)),
        globs => globs.iter().any(|glob| glob.matches(&file.path)),
    };
    let (files, rest): (Vec<&RepoFile>, Vec<&RepoFile>) = repository.files.iter().partition(|file| is_wanted(file));
    if files.is_empty() {
        let patterns = if include.is_empty() { "the default selection" } else { patterns };
        return Err(Error::NothingSelected { id: repository.id.to_string(), patterns: patterns.to_owned() });
    }
    let left_out = if include.is_empty() { (rest.len(), rest.iter().map(|file| file.bytes()).sum()) } else { (0, 0) };
    Ok(Selection { files, left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(paths: &[&str]) -> Repository {
        let file = |path: &&str| RepoFile { path: (*path).to_owned(), content: None };
        let files = paths.iter().map(file).collect();
        Repository { id: "a/b".parse().unwrap(), commit: "0".repeat(40), files, base_models: Vec::new() }
    }

    fn selected(paths: &[&str], include: &[&str]) -> Option<Vec<String>> {
        let globs: Vec<Glob> = include.iter().map(|glob| glob.parse().unwrap()).collect();
        let repository = repository(paths);
        let selection = select(&repository, &globs, "x").ok()?;
        Some(selection.files.iter().map(|file| file.path.clone()).collect())
    }

    #[test]
    fn weights_are_taken_in_one_format() {
        let all = ["config.json", "model.safetensors", "pytorch_model.bin", "q4.gguf", "LICENSE"];
        assert_eq!(selected(&all, &[]).unwrap(), ["config.json", "model.safetensors", "LICENSE"]);
        assert_eq!(selected(&all, &["*.gguf", "config*"]).unwrap(), ["config.json", "q4.gguf"]);
        assert_eq!(selected(&all, &["*"]).unwrap().len(), 5);
        assert_eq!(selected(&["a.gguf", "b.gguf"], &[]).unwrap().len(), 2);
        assert_eq!(selected(&all, &["*.txt"]), None);
        assert_eq!(selected(&[], &[]), None);
    }
}
