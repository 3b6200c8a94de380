//! The switches that size the engine's cache, and the engine options that follow from them.

use anyhow::{Result, bail, ensure};

use crate::byte_size::parse_bytes;
use crate::config::Config;
use crate::load::{self, Loaded};
use crate::system_memory;

/// Size of the context and of its cache
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Model options")]
pub struct CacheArgs {
    /// Most tokens of prompt and answer together [default: the model's context, at most 131072 and
    /// at most what the cache holds]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Memory for the cache, such as 8GiB [default: a quarter of the free memory]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub cache_memory: Option<u64>,
}

/// The limit of DeepSeek's own service, in tokens.
const MAX_CONTEXT: usize = 131_072;

impl CacheArgs {
    /// Engine options for this model on this machine: context and pages of the cache from the
    /// switches, sampling defaults from the checkpoint, the rest from the configuration.
    ///
    /// # Errors
    /// A context beyond the model's; a cache larger than the free memory beside the weights, or too
    /// small for a conversation or for the requested context; a `generation_config.json` with a
    /// value out of range.
    pub fn engine_options(&self, loaded: &Loaded, config: &Config) -> Result<engine::Options> {
        let info = loaded.model.info();
        // The system counts mapped weights as memory that it can reclaim, but they must stay.
        // Weights that do not fit are read from disk, through the memory that the cache leaves.
        let resident = if load::fits_memory(&loaded.checkpoint) { loaded.checkpoint.bytes_total() } else { 0 };
        let free = system_memory::available().saturating_sub(resident);
        let bytes = self.cache_memory.unwrap_or(free / 4);
        ensure!(
            bytes <= free,
            "--cache-memory {bytes} is more than the {free} bytes of memory that are free beside the weights"
        );
        let requested_context = self.context.unwrap_or(MAX_CONTEXT.min(info.context));
        ensure!(
            requested_context <= info.context,
            "--context {requested_context} is more than the model's {} positions",
            info.context
        );
        // Not more pages than all running requests can fill.
        let max_pages = requested_context.div_ceil(model::PAGE_ROWS).saturating_mul(config.engine.max_running.max(1));
        let pages = ((bytes / info.page_bytes as u64) as usize).min(max_pages);
        let cache_positions = pages * model::PAGE_ROWS;
        if cache_positions < 2 * model::PAGE_ROWS {
            bail!(
                "a cache of {bytes} bytes holds {pages} pages of {} bytes, too few for a conversation: raise --cache-memory",
                info.page_bytes
            );
        }
        if self.context.is_some() && cache_positions < requested_context {
            bail!(
                "--context {requested_context} needs {} bytes of cache, but it has {bytes}: raise --cache-memory",
                requested_context.div_ceil(model::PAGE_ROWS) * info.page_bytes
            );
        }
        let context = requested_context.min(cache_positions);
        tracing::info!(
            context,
            cache_tokens = cache_positions,
            cache_mib = (pages * info.page_bytes) >> 20,
            "cache sized"
        );
        Ok(engine::Options {
            cache_pages: pages,
            context,
            queue: config.engine.queue,
            max_running: config.engine.max_running,
            batch_tokens: config.engine.batch_tokens,
            profile: config.compat.profile.into(),
            sampling_defaults: load::sampling_defaults(&loaded.checkpoint)?,
            ..engine::Options::default()
        })
    }
}
