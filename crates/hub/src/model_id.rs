//! The name of a model on a hub, and its revision: `ORG/NAME` and `ORG/NAME@REVISION`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::Error;

/// The branch that is meant where no revision is named.
pub const DEFAULT_REVISION: &str = "main";

/// The longest part of a name, in bytes.
const MAX_PART_BYTES: usize = 96;
/// The longest revision, in bytes.
const MAX_REVISION_BYTES: usize = 255;

/// The name of a model: an organisation or user, and the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId {
    org: String,
    name: String,
}

impl ModelId {
    /// The organisation or user.
    pub fn org(&self) -> &str {
        &self.org
    }

    /// The name without the organisation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the model's folder in the cache.
    pub(crate) fn folder_name(&self) -> String {
        format!("models--{}--{}", self.org, self.name)
    }

    /// The model of a folder in the cache; `None` for other folders.
    pub(crate) fn from_folder_name(folder: &str) -> Option<Self> {
        let (org, name) = folder.strip_prefix("models--")?.split_once("--")?;
        format!("{org}/{name}").parse().ok()
    }
}

impl FromStr for ModelId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (org, name) = text.split_once('/').ok_or_else(|| Error::InvalidId { text: text.to_owned() })?;
        if !is_part(org) || !is_part(name) {
            return Err(Error::InvalidId { text: text.to_owned() });
        }
        Ok(Self { org: org.to_owned(), name: name.to_owned() })
    }
}

impl Display for ModelId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.org, self.name)
    }
}

/// Whether a hub allows the text as one part of a name: it stays one folder, and `--` separates
/// the parts in the cache.
fn is_part(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    part.len() <= MAX_PART_BYTES
        && part.bytes().all(allowed)
        && is_edge(part.bytes().next())
        && is_edge(part.bytes().next_back())
        && !part.contains("--")
        && !part.contains("..")
}

/// A model and a revision of it: a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    pub id: ModelId,
    pub revision: String,
}

impl ModelRef {
    /// Whether the revision is a commit, which never changes.
    pub(crate) fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl FromStr for ModelRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (id, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let id = id.parse()?;
        if !is_revision(revision) {
            return Err(Error::InvalidRevision { text: revision.to_owned() });
        }
        Ok(Self { id, revision: revision.to_owned() })
    }
}

impl Display for ModelRef {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.revision.as_str() {
            DEFAULT_REVISION => write!(f, "{}", self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

/// Whether the text is a commit: 40 hex digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the text can be a branch or tag, which is a path below the cache's `refs`.
fn is_revision(text: &str) -> bool {
    let is_plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+');
    text.len() <= MAX_REVISION_BYTES && text.bytes().all(allowed) && text.split('/').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_parts_that_stay_below_the_cache() {
        let id: ModelId = "deepseek-ai/DeepSeek-V3.2".parse().unwrap();
        assert_eq!((id.org(), id.name()), ("deepseek-ai", "DeepSeek-V3.2"));
        assert_eq!(id.folder_name(), "models--deepseek-ai--DeepSeek-V3.2");
        assert_eq!(ModelId::from_folder_name(&id.folder_name()), Some(id));
        for text in
            ["", "a", "a/", "/a", "a/b/c", "../b", "a/..", "a/.b", "a/b.", "-a/b", "a--b/c", "a/b c", "a\\b/c", "é/b"]
        {
            assert!(text.parse::<ModelId>().is_err(), "{text}");
        }
        for folder in ["models--a", "datasets--a--b", "models--..--b", "version.txt"] {
            assert_eq!(ModelId::from_folder_name(folder), None, "{folder}");
        }
    }

    #[test]
    fn a_revision_is_a_branch_a_tag_or_a_commit() {
        let parse = |text: &str| text.parse::<ModelRef>().map(|model| model.revision).ok();
        assert_eq!(parse("a/b").as_deref(), Some("main"));
        assert_eq!(parse("a/b@refs/pr/1").as_deref(), Some("refs/pr/1"));
        assert_eq!(parse("a/b@v1.0+fp8").as_deref(), Some("v1.0+fp8"));
        for text in ["a/b@", "a/b@..", "a/b@x/../y", "a/b@/x", "a/b@x/", "a/b@x y", "a/b@x@y", "a/b@.x"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let commit: ModelRef = format!("a/b@{}", "0f".repeat(20)).parse().unwrap();
        assert!(commit.is_commit() && !"a/b".parse::<ModelRef>().unwrap().is_commit());
        assert_eq!("a/b@main".parse::<ModelRef>().unwrap().to_string(), "a/b");
    }
}
