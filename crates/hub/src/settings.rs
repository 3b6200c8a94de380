//! The settings of the hub, which are the environment variables of its other tools.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use url::Url;

use crate::{Error, Token};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// The most bytes of a token's file.
const MAX_TOKEN_BYTES: u64 = 4096;

/// Where models come from, and where they are kept.
#[derive(Clone, Debug)]
pub struct HubSettings {
    /// `HF_ENDPOINT`, without a slash at the end.
    pub endpoint: Url,
    /// `HF_TOKEN`, or the token that `hf auth login` has stored.
    pub token: Option<Token>,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, which is `~/.cache/huggingface` by default.
    pub cache: PathBuf,
    /// `HF_HUB_OFFLINE`: nothing is requested from the hub.
    pub offline: bool,
}

impl HubSettings {
    /// The settings of this process's environment.
    ///
    /// # Errors
    /// An endpoint that is not an http(s) URL, a token that no header can carry; neither `HOME` nor
    /// another variable that names a folder.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(&|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let path = |name: &str| variable(name).map(PathBuf::from);
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let user_cache = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(user_cache()?.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or(Error::NoCacheFolder)?;
        Ok(Self {
            endpoint: parse_endpoint(&text("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into()))?,
            token: match text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
                Some(token) => Some(Token::new(&token).ok_or(Error::InvalidToken { source_name: "HF_TOKEN".into() })?),
                None => stored_token(path("HF_TOKEN_PATH").or_else(|| Some(home?.join("token"))).as_deref())?,
            },
            cache,
            offline: text("HF_HUB_OFFLINE")
                .is_some_and(|value| ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())),
        })
    }
}

/// The token in a file; `None` without the file.
fn stored_token(path: Option<&Path>) -> Result<Option<Token>, Error> {
    let Some(path) = path.filter(|path| fs::metadata(path).is_ok()) else { return Ok(None) };
    let text = files::read_text(path, MAX_TOKEN_BYTES).map_err(|source| Error::Io { path: path.into(), source })?;
    match text.trim() {
        "" => Ok(None),
        token => {
            let token = Token::new(token);
            token.map(Some).ok_or_else(|| Error::InvalidToken { source_name: path.display().to_string() })
        }
    }
}

fn parse_endpoint(text: &str) -> Result<Url, Error> {
    let invalid = |reason| Error::InvalidEndpoint { reason };
    let mut url = Url::parse(text.trim_end_matches('/')).map_err(|error| invalid(error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(invalid(format!("its scheme is `{}`", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has credentials, a query or a fragment".into()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<HubSettings, Error> {
        let variables: HashMap<&str, &str> = variables.iter().copied().collect();
        HubSettings::from_variables(&|name| variables.get(name).map(OsString::from))
    }

    #[test]
    fn the_cache_is_where_other_tools_have_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        let home = ("HOME", "/h");
        assert_eq!(cache(&[home]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert!(matches!(settings(&[]), Err(Error::NoCacheFolder)));
    }

    #[test]
    fn the_token_is_that_of_the_environment_else_the_stored_one_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let home = ("HF_HOME", folder.path().to_str().unwrap());
        assert_eq!(settings(&[home]).unwrap().token, None);
        fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        assert_eq!(settings(&[home]).unwrap().token, Token::new("hf_stored"));
        let found = settings(&[home, ("HF_TOKEN", " hf_named ")]).unwrap();
        assert_eq!(found.token, Token::new("hf_named"));
        assert!(!format!("{found:?}").contains("hf_named"));
        let error = settings(&[home, ("HF_TOKEN", "hf_a secret")]).unwrap_err().to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn an_endpoint_is_an_address_without_credentials() {
        let endpoint = |text: &str| settings(&[("HOME", "/h"), ("HF_ENDPOINT", text)]).map(|s| s.endpoint.to_string());
        assert_eq!(endpoint("https://hub.example/api/hf/").unwrap(), "https://hub.example/api/hf");
        assert_eq!(settings(&[("HOME", "/h")]).unwrap().endpoint.as_str(), "https://huggingface.co/");
        for text in ["hub.example", "ftp://hub.example", "https://user:hidden@hub.example", "https://h/?a=hidden"] {
            let error = endpoint(text).unwrap_err().to_string();
            assert!(error.contains("HF_ENDPOINT") && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn offline_is_a_switch() {
        let offline = |value: &str| settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap().offline;
        assert!(offline("1") && offline("True") && !offline("0"));
    }
}
