//! A model's files on the hub, as its API lists them.

use serde::Deserialize;

use crate::model_id::is_commit;
use crate::{Checksum, Error, ModelId};

/// The most files of a model.
const MAX_FILES: usize = 100_000;

/// A revision of a model on the hub.
#[derive(Clone, Debug)]
pub struct Repository {
    pub id: ModelId,
    /// The commit that the requested revision names now.
    pub commit: String,
    pub files: Vec<RepoFile>,
    /// The models that it was made from, by its own account.
    pub base_models: Vec<ModelId>,
}

/// A file of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoFile {
    /// The path below the model's folder, with `/`. It has been checked to stay there.
    pub path: String,
    /// Size in bytes, and checksum; `None` where the hub does not give both.
    pub content: Option<(u64, Checksum)>,
}

impl RepoFile {
    /// Size in bytes; 0 where it is unknown.
    pub fn bytes(&self) -> u64 {
        self.content.as_ref().map_or(0, |(size, _)| *size)
    }
}

impl Repository {
    /// Reads the API's answer about a revision of `id`, with the fields of `blobs=true`.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::UnsafeName`] for a file that would leave the folder.
    pub(crate) fn from_json(id: &ModelId, host: &str, json: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed { host: host.to_owned(), reason };
        let answer: Answer = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
        if !is_commit(&answer.sha) {
            return Err(malformed("`sha` is not a commit".into()));
        }
        if answer.siblings.len() > MAX_FILES {
            return Err(malformed(format!("it lists {} files", answer.siblings.len())));
        }
        let files = answer.siblings.into_iter().map(Sibling::check).collect::<Result<_, _>>()?;
        Ok(Self { id: id.clone(), commit: answer.sha, files, base_models: base_models(&answer.tags) })
    }

    /// The file of this path.
    pub fn file(&self, path: &str) -> Option<&RepoFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The size of all files whose name ends in `ending`, and their number.
    pub fn bytes_of(&self, ending: &str) -> (u64, usize) {
        let found = self.files.iter().filter(|file| file.path.ends_with(ending));
        found.fold((0, 0), |(bytes, files), file| (bytes + file.bytes(), files + 1))
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Sibling {
    fn check(self) -> Result<RepoFile, Error> {
        if !is_inside(&self.rfilename) {
            return Err(Error::UnsafeName { file: self.rfilename });
        }
        let content = match &self.lfs {
            Some(lfs) => lfs.size.or(self.size).zip(lfs.sha256.as_deref().and_then(Checksum::sha256)),
            None => self.size.zip(self.blob_id.as_deref().and_then(Checksum::git_blob)),
        };
        Ok(RepoFile { path: self.rfilename, content })
    }
}

/// Whether a path stays below its folder, on every system.
fn is_inside(path: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let is_allowed = |character: char| !character.is_control() && !['\\', ':'].contains(&character);
    path.len() <= 1024 && path.chars().all(is_allowed) && path.split('/').all(is_plain)
}

/// The models of the tags `base_model:ORG/NAME` and `base_model:quantized:ORG/NAME`.
fn base_models(tags: &[String]) -> Vec<ModelId> {
    let named = tags.iter().filter_map(|tag| tag.strip_prefix("base_model:"));
    let mut models: Vec<ModelId> = named.filter_map(|name| name.rsplit(':').next()?.parse().ok()).collect();
    models.sort();
    models.dedup();
    models
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &serde_json::Value) -> Result<Repository, Error> {
        Repository::from_json(&"a/b".parse().unwrap(), "hub", json.to_string().as_bytes())
    }

    #[test]
    fn files_have_the_checksum_of_lfs_or_of_git() {
        let (blob, sha256) = ("ab".repeat(20), "cd".repeat(32));
        let found = read(&json!({
            "sha": "0".repeat(40), "gated": "auto", "tags": ["fp8", "base_model:c/d", "base_model:quantized:c/d"],
            "siblings": [
                {"rfilename": "config.json", "size": 7, "blobId": blob},
                {"rfilename": "sub/model.safetensors", "size": 135, "blobId": blob, "lfs": {"sha256": sha256, "size": 9_000_000_000_u64, "pointerSize": 135}},
                {"rfilename": "unknown"},
            ],
        }))
        .unwrap();
        assert_eq!(found.file("config.json").unwrap().content, Some((7, Checksum::git_blob(&blob).unwrap())));
        let (size, checksum) = found.files[1].content.clone().unwrap();
        assert_eq!((size, checksum.to_string()), (9_000_000_000, sha256));
        assert_eq!((found.files[2].content.as_ref(), found.files[2].bytes()), (None, 0));
        assert_eq!(found.bytes_of(".safetensors"), (9_000_000_000, 1));
        assert_eq!(found.base_models, ["c/d".parse().unwrap()]);
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", "a\\b", "C:x", "a\nb", "a/", ".."] {
            let found = read(&json!({"sha": "0".repeat(40), "siblings": [{"rfilename": path}]}));
            assert!(matches!(found, Err(Error::UnsafeName { .. })), "{path}");
        }
        let found = read(&json!({"sha": "0".repeat(40), "siblings": [{"rfilename": ".gitattributes"}]}));
        assert_eq!(found.unwrap().files[0].path, ".gitattributes");
    }

    #[test]
    fn a_commit_names_a_folder_and_is_checked() {
        for sha in ["", "main", "../../x", &"G".repeat(40)] {
            assert!(matches!(read(&json!({"sha": sha})), Err(Error::Malformed { .. })), "{sha}");
        }
    }
}
