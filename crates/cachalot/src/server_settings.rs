//! The `[server]` section as the server's own configuration.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use gateway::IpNetwork;
use server::{ConsoleConfig, KeepAlive, ServerConfig, SignupAccess};

use crate::config::{Config, Console};
use crate::inflight_limits;
use crate::key_config::key_configs;

/// A day, in seconds.
const MAX_GRACE_S: u64 = 86_400;

/// The time that open responses get after a shutdown was requested.
pub(crate) fn shutdown_grace(config: &Config) -> Duration {
    // A larger value is refused by `server_config`.
    Duration::from_secs(config.server.shutdown_grace_s.min(MAX_GRACE_S))
}

/// The server's configuration, without admin token, fingerprint and tracer.
///
/// # Errors
/// A setting of `[server]` or `[engine]` that is out of range, a key that cannot be used.
pub(crate) fn server_config(config: &Config) -> Result<ServerConfig> {
    let settings = &config.server;
    validate_engine(&config.engine)?;
    let grace_s = settings.shutdown_grace_s;
    ensure!(grace_s <= MAX_GRACE_S, "`shutdown_grace_s` takes 0 to {MAX_GRACE_S} seconds, not {grace_s}");
    let stream = keep_alive_duration("stream_keepalive_s", settings.stream_keepalive_s)?;
    let reply = keep_alive_duration("reply_keepalive_s", settings.reply_keepalive_s)?;
    if let Some(origin) = settings.cors_origins.iter().find(|origin| !origin.contains("://")) {
        bail!("`cors_origins` takes origins such as `https://example.org`, not `{origin}`");
    }
    let defaults = ServerConfig::default();
    Ok(ServerConfig {
        keys: key_configs(config)?.into(),
        allowed_hosts: settings.hosts.clone(),
        inflight: inflight_limits::limits(settings, defaults.body_limit)?,
        cors_origins: settings.cors_origins.clone(),
        proxies: settings.proxies.iter().map(|proxy| parse_proxy(proxy)).collect::<Result<_>>()?,
        console: console_config(&config.console)?,
        keep_alive: KeepAlive { stream_first: stream, stream_every: stream, json_first: reply, ..KeepAlive::default() },
        shutdown_grace: shutdown_grace(config),
        // The engine itself ends requests that it has not begun within ten minutes. Reading a long
        // prompt may take longer.
        queue_timeout: defaults.total_timeout,
        ..defaults
    })
}

fn parse_proxy(text: &str) -> Result<IpNetwork> {
    IpNetwork::parse(text)
        .with_context(|| format!("`proxies` takes addresses and ranges such as `10.0.0.0/8`, not `{text:.64}`"))
}

/// The settings of the web console.
fn console_config(settings: &Console) -> Result<ConsoleConfig> {
    let budget = settings.member_budget.as_deref().map(store::money::parse).transpose();
    let member_budget = budget.map_err(|error| anyhow!("`member_budget` in [console]: {error}"))?;
    ensure!(
        settings.signup == SignupAccess::Closed || member_budget.is_some(),
        "`signup = \"open\"` in [console] needs a `member_budget`: otherwise anybody could spend without a limit"
    );
    Ok(ConsoleConfig { enabled: settings.enabled, guide: settings.guide, signup: settings.signup, member_budget })
}

/// Checks that the numbers of `[engine]` are neither zero nor beyond any memory.
fn validate_engine(engine: &crate::config::Engine) -> Result<()> {
    for (setting, number) in
        [("queue", engine.queue), ("max_running", engine.max_running), ("batch_tokens", engine.batch_tokens)]
    {
        ensure!((1..=1 << 20).contains(&number), "`{setting}` in [engine] takes 1 to 1048576, not {number}");
    }
    Ok(())
}

/// The time between two keep-alives.
fn keep_alive_duration(setting: &str, seconds: u64) -> Result<Duration> {
    ensure!((1..=86_400).contains(&seconds), "`{setting}` takes 1 to 86400 seconds, not {seconds}");
    Ok(Duration::from_secs(seconds))
}
