//! The `[server]` section as the server's own configuration.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use server::{KeepAlive, ServerConfig};

use crate::config::Config;
use crate::inflight_limits;
use crate::key_config::key_configs;

/// A day, in seconds.
const MAX_GRACE_S: u64 = 86_400;

/// The time that open responses get after a shutdown was requested. The switch `--grace` wins over
/// the configuration.
pub(crate) fn shutdown_grace(grace_flag: Option<u64>, config: &Config) -> Duration {
    // A larger value is refused by `server_config`.
    Duration::from_secs(grace_flag.unwrap_or(config.server.shutdown_grace_s).min(MAX_GRACE_S))
}

/// The server's configuration, without admin token, fingerprint and tracer.
///
/// # Errors
/// A setting of `[server]` or `[engine]` that is out of range, a key that cannot be used.
pub(crate) fn server_config(grace_flag: Option<u64>, config: &Config) -> Result<ServerConfig> {
    let settings = &config.server;
    validate_engine(&config.engine)?;
    let grace_s = grace_flag.unwrap_or(settings.shutdown_grace_s);
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
        keep_alive: KeepAlive { stream_first: stream, stream_every: stream, json_first: reply, ..KeepAlive::default() },
        shutdown_grace: shutdown_grace(grace_flag, config),
        // The engine itself ends requests that it has not begun within ten minutes. Reading a long
        // prompt may take longer.
        queue_timeout: defaults.total_timeout,
        ..defaults
    })
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
