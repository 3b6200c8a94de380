//! The model that answers: a local one with an engine of its own, or a model of a server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chat::{BoxDeltaStream, Chat, Error, Provider};
use engine::{Engine, PrefillProgress};
use gateway::{Secret, Upstream, UpstreamConfig};
use tokio::sync::watch;
use url::Url;
use wire::upstream::Dialect;

use crate::cache_args::CacheArgs;
use crate::config::Config;
use crate::embedded_model::embedded_model_names;
use crate::load::{self, ArithmeticDefaults, ModelArgs};
use crate::suggestion;

/// Time until the first byte of a server's answer: a long prompt on a small machine takes minutes.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(600);

/// A model that answers.
pub(super) struct Connection {
    /// The id of the model.
    pub(super) model: String,
    /// `None`: the server decides.
    pub(super) thinking: Option<bool>,
    source: Source,
}

enum Source {
    Local {
        engine: Engine,
        args: Box<LocalArgs>,
    },
    Server(Box<Server>),
    #[cfg(test)]
    Scripted(std::sync::Arc<dyn Provider>),
}

/// A server, and the models that it lists.
struct Server {
    host: String,
    has_key: bool,
    upstream: Upstream,
    models: Vec<String>,
}

/// The switches of a local model.
#[derive(Clone)]
pub(super) struct LocalArgs {
    pub(super) model: ModelArgs,
    pub(super) cache: CacheArgs,
    pub(super) think: bool,
}

/// The switches of a server.
pub(super) struct ServerArgs {
    base_url: Url,
    key: Option<Secret>,
    think: bool,
}

impl ServerArgs {
    /// The address and the key of a server. An address without a path gets `/v1`, where servers
    /// have the API.
    ///
    /// # Errors
    /// A text that is not an http(s) URL.
    pub(super) fn new(url: &str, key: Option<&str>, think: bool) -> Result<Self> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed = Url::parse(&with_scheme).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let mut base_url = parsed.with_context(|| {
            format!("`--url {url}` is not the address of a server: write one such as http://127.0.0.1:8000")
        })?;
        if base_url.path() == "/" {
            base_url.set_path("/v1");
        }
        let key = key.map(str::trim).filter(|key| !key.is_empty()).map(Secret::new);
        Ok(Self { base_url, key, think })
    }
}

impl Connection {
    /// Loads a model and starts its engine.
    ///
    /// # Errors
    /// A model that cannot be loaded, or does not fit in the memory.
    pub(super) fn to_local_model(args: LocalArgs) -> Result<Self> {
        let loaded = load::model(&args.model, ArithmeticDefaults::Fast)?;
        let encoding = load::encoding(&loaded.checkpoint, &args.model)?;
        let options = args.cache.engine_options(&loaded, &Config::default())?;
        let thinking = args.think || !encoding.supports_non_thinking();
        let model = loaded.checkpoint.name().to_owned();
        let engine = Engine::start(loaded.model, encoding, options)?;
        Ok(Self { model, thinking: Some(thinking), source: Source::Local { engine, args: Box::new(args) } })
    }

    /// Asks a server for its models, and chooses `model` or the first one.
    ///
    /// # Errors
    /// A server that cannot be reached or refuses the key, and a model that it does not list.
    pub(super) async fn to_server(args: ServerArgs, model: Option<&Path>) -> Result<Self> {
        let host = args.base_url.authority().to_owned();
        let has_key = args.key.is_some();
        // OpenAI's own service refuses the fields that other servers understand.
        let dialect =
            if args.base_url.host_str() == Some("api.openai.com") { Dialect::OpenAi } else { Dialect::DeepSeek };
        let config = UpstreamConfig {
            name: host.clone(),
            preset: None,
            base_url: args.base_url.to_string(),
            dialect,
            key: args.key,
            private: true,
            metrics: None,
        };
        let upstream = Upstream::new(config)
            .with_context(|| format!("`--url {}`", args.base_url))?
            .with_first_byte_timeout(FIRST_BYTE_TIMEOUT);
        let mut server = Server { host, has_key, upstream, models: Vec::new() };
        match (server.upstream.models().await, model) {
            (Ok(models), _) => server.models = models,
            // A server need not have a list.
            (Err(_), Some(_)) => {}
            (Err(error), None) => {
                let context = format!("cannot list the models of `{}`: is a server there?", args.base_url);
                return Err(server.explain(error)).context(context);
            }
        }
        let model = match model {
            Some(model) => server.find(&model.to_string_lossy())?,
            None => server.models.first().cloned().context("the server lists no models: name one with --model")?,
        };
        let thinking = args.think.then_some(true);
        Ok(Self { model, thinking, source: Source::Server(Box::new(server)) })
    }

    #[cfg(test)]
    pub(super) fn scripted(provider: impl Provider + 'static) -> Self {
        Self { model: "scripted".into(), thinking: None, source: Source::Scripted(std::sync::Arc::new(provider)) }
    }

    /// A line about the model: its name, where it runs and the size of its context.
    pub(super) fn description(&self) -> String {
        let model = &self.model;
        match &self.source {
            Source::Local { engine, .. } => {
                let context = engine.validation_rules().context;
                let note = if model == "fixture" { "; the model of the tests, which is not an assistant" } else { "" };
                format!("{model}: on this machine, context {context} tokens{note}")
            }
            Source::Server(server) => format!("{model}: at {}", server.host),
            #[cfg(test)]
            Source::Scripted(_) => model.clone(),
        }
    }

    /// The models that [`Connection::switch_model`] accepts, as far as they are known.
    pub(super) fn known_models(&self) -> Vec<String> {
        match &self.source {
            Source::Local { .. } => embedded_model_names(),
            Source::Server(server) => server.models.clone(),
            #[cfg(test)]
            Source::Scripted(_) => vec![self.model.clone()],
        }
    }

    /// Changes to another model: of the same server, or a local one, which replaces this one.
    ///
    /// # Errors
    /// A model that does not exist or cannot be loaded. The present one stays.
    pub(super) fn switch_model(&mut self, model: &str) -> Result<()> {
        match &self.source {
            Source::Local { args, .. } => {
                let mut args = (**args).clone();
                args.model.model = Some(model.into());
                args.think = self.thinking == Some(true);
                *self = Self::to_local_model(args)?;
            }
            Source::Server(server) => self.model = server.find(model)?,
            #[cfg(test)]
            Source::Scripted(_) => bail!("there is no model `{model}`"),
        }
        Ok(())
    }

    /// Sets whether the model thinks before it answers.
    ///
    /// # Errors
    /// A local model that does not have this mode.
    pub(super) fn set_thinking(&mut self, thinking: bool) -> Result<()> {
        if let Source::Local { engine, .. } = &self.source {
            ensure!(!thinking || engine.supports_thinking(), "`{}` cannot think before it answers", self.model);
            ensure!(thinking || engine.supports_non_thinking(), "`{}` always thinks before it answers", self.model);
        }
        self.thinking = Some(thinking);
        Ok(())
    }

    /// Starts an answer. `progress` receives the progress of a local prompt.
    ///
    /// # Errors
    /// A request that is invalid or refused, a server that cannot be reached.
    pub(super) async fn ask(
        &self,
        mut chat: Chat,
        progress: watch::Sender<PrefillProgress>,
    ) -> Result<BoxDeltaStream, Error> {
        let started = match &self.source {
            Source::Local { engine, .. } => {
                engine.validate(&mut chat)?;
                engine.chat_with_progress(chat, Some(progress)).await?
            }
            Source::Server(server) => server.upstream.chat(chat).await.map_err(|error| server.explain(error))?,
            #[cfg(test)]
            Source::Scripted(provider) => provider.chat(chat).await?,
        };
        Ok(started.deltas)
    }
}

impl Server {
    /// The error for a person who gave the key of this server. A provider's error is for the
    /// callers of a gateway.
    fn explain(&self, error: Error) -> Error {
        let is_refused = error.message.ends_with("refused this server's credentials");
        let lacks_key = !self.has_key && error.message.ends_with("is not available right now");
        if !is_refused && !lacks_key {
            return error;
        }
        let what = if lacks_key { "requires a key" } else { "refuses the key" };
        let message = format!("`{}` {what}: name one with --key or in CACHALOT_KEY", self.host);
        Error { message, ..error }
    }

    /// The model of this id. A server that lists no models decides itself.
    fn find(&self, model: &str) -> Result<String> {
        if self.models.is_empty() || self.models.iter().any(|known| known == model) {
            return Ok(model.to_owned());
        }
        let near = suggestion::did_you_mean(model, self.models.iter().map(String::as_str));
        let hint = if near.is_empty() { format!(": it has {}", shortened(&self.models)) } else { near };
        bail!("`{}` lists no model `{model}`{hint}", self.host)
    }
}

/// The first few of a list.
fn shortened(models: &[String]) -> String {
    let mut names = models.iter().take(8).map(|model| format!("`{model}`")).collect::<Vec<_>>().join(", ");
    if models.len() > 8 {
        names.push_str(&format!(" and {} more", models.len() - 8));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_completed() {
        let address = |url: &str| ServerArgs::new(url, None, false).map(|args| args.base_url.to_string());
        assert_eq!(address("http://127.0.0.1:8000").unwrap(), "http://127.0.0.1:8000/v1");
        assert_eq!(address("localhost:8000/").unwrap(), "http://localhost:8000/v1");
        assert_eq!(address("https://api.example.org/beta").unwrap(), "https://api.example.org/beta");
        for bad in ["ftp://x", "", "http://"] {
            assert!(address(bad).unwrap_err().to_string().contains("http://127.0.0.1:8000"), "{bad}");
        }
    }

    #[test]
    fn long_lists_are_shortened() {
        let models: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
        assert!(shortened(&models).ends_with("`m7` and 2 more"), "{}", shortened(&models));
        assert_eq!(shortened(&models[..2]), "`m0`, `m1`");
    }
}
