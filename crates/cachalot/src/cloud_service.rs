//! The settings of a provider that is one of a cloud.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gateway::{AwsCredentials, Secret, Service, ServiceAccount};
use url::Url;

use crate::builtin_providers::CloudService;
use crate::config::ProviderSettings;

/// Most bytes of the key file of a service account.
const MAX_KEY_FILE_BYTES: u64 = 64 << 10;
/// The variable that usually holds the id of an access key.
pub(crate) const ACCESS_KEY_ENV: &str = "AWS_ACCESS_KEY_ID";

/// The secret of a cloud in the value of the variable that `key_env` names. For Vertex AI it is the
/// key file of a service account, or its path, as in `GOOGLE_APPLICATION_CREDENTIALS`.
///
/// # Errors
/// A value that is neither, and a file that cannot be read. A value that may be a secret is not
/// part of the error.
pub(crate) fn read_key(service: Option<CloudService>, value: &str) -> Result<String> {
    if service != Some(CloudService::Vertex) || value.trim_start().starts_with('{') {
        return Ok(value.to_owned());
    }
    let path = Path::new(value);
    ensure!(
        path.is_file(),
        "the variable of `key_env` has neither the JSON of a service account's key file nor the path of one"
    );
    files::read_text(path, MAX_KEY_FILE_BYTES).context("the key file of the service account cannot be read")
}

/// The cloud of a provider with these settings. `read_variable` reads an environment variable that
/// may be sent to the provider.
///
/// # Errors
/// Settings that the cloud needs or does not have, and a key that cannot be used.
pub(crate) fn service_of(
    settings: &ProviderSettings,
    service: Option<CloudService>,
    key: Option<&Secret>,
    private: bool,
    base_url: &str,
    read_variable: impl Fn(&str) -> Result<Secret>,
) -> Result<Option<Service>> {
    ensure!(
        settings.api_version.is_none() || service == Some(CloudService::Azure),
        "`api_version` is a setting of providers with `service = \"azure\"`"
    );
    let has_aws_settings =
        settings.access_key_env.is_some() || settings.session_token_env.is_some() || settings.region.is_some();
    ensure!(
        !has_aws_settings || service == Some(CloudService::Bedrock),
        "`access_key_env`, `session_token_env` and `region` are settings of providers with `service = \"bedrock\"`"
    );
    let Some(service) = service else { return Ok(None) };
    ensure!(
        settings.models.is_some() || !settings.rename.is_empty(),
        "name its models in `models`: the cloud lists others than those that are deployed"
    );
    Ok(Some(match service {
        CloudService::Azure => Service::Azure { api_version: settings.api_version.clone() },
        CloudService::Vertex => {
            let key =
                key.context("`key_env` names the variable with the key file of a service account, or its path")?;
            Service::Vertex(Arc::new(ServiceAccount::from_secret(key, private)?))
        }
        CloudService::Bedrock => {
            let secret_key = key.context("`key_env` names the variable with the secret access key")?.clone();
            let access_key = read_variable(settings.access_key_env.as_deref().unwrap_or(ACCESS_KEY_ENV))?;
            let session_token = settings.session_token_env.as_deref().map(read_variable).transpose()?;
            let region = settings.region.clone().or_else(|| region_of(base_url));
            let region = region.context("give its `region`, such as `us-east-1`: its `base_url` does not name one")?;
            Service::bedrock(AwsCredentials { access_key, secret_key, session_token }, region)
        }
    }))
}

/// The region in the host of Bedrock: `bedrock-runtime.us-east-1.amazonaws.com`.
fn region_of(base_url: &str) -> Option<String> {
    let url = Url::parse(base_url).ok()?;
    let (service, rest) = url.host_str()?.split_once('.')?;
    let (region, domain) = rest.split_once('.')?;
    (service.starts_with("bedrock-runtime") && domain.starts_with("amazonaws.com")).then(|| region.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_key_file_is_not_part_of_the_error() {
        let error = read_key(Some(CloudService::Vertex), "sk-0123456789abcdef").unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("`key_env`") && !text.contains("sk-"), "{text}");
        assert_eq!(read_key(Some(CloudService::Vertex), " {}").unwrap(), " {}");
        assert_eq!(read_key(None, "sk-0").unwrap(), "sk-0");
    }
}
