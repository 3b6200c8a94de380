//! The state of a local engine, for operators.

/// A local engine: its model, its load and its memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStatus {
    /// The name of the model.
    pub model: String,
    /// The architecture, as `model_type` of the checkpoint's configuration names it.
    pub model_type: String,
    /// The positions that attention reads: `sparse` or `dense`.
    pub attention: &'static str,
    /// The number format of products: `f32` or `bf16`.
    pub compute: &'static str,
    /// The instruction set of the kernels.
    pub kernels: &'static str,
    pub threads: usize,
    /// The most tokens of prompt and answer together.
    pub context: u64,
    /// Whether the weights are in memory and the engine runs.
    pub ready: bool,
    /// Requests being answered, and the most of them.
    pub running: usize,
    pub max_running: usize,
    /// Requests in the queue, and the most of them.
    pub waiting: usize,
    pub queue: usize,
    pub throughput: Throughput,
    pub cache: CacheStatus,
    pub memory: MemoryStatus,
}

/// The tokens that an engine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throughput {
    /// Tokens of prompts that were computed in a second, as an average over the last ten.
    pub prompt_tokens_per_second: f64,
    /// Tokens that were generated in a second, as an average over the last ten.
    pub generated_tokens_per_second: f64,
    /// Tokens of all prompts since the start.
    pub prompt_tokens: u64,
    /// The part of them that was found in a prefix cache.
    pub cached_prompt_tokens: u64,
}

/// The latent cache, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    pub tokens: u64,
    /// Held by requests.
    pub used_tokens: u64,
    /// Held by no request, and kept for prompts with the same prefix.
    pub cached_tokens: u64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    pub weights: u64,
    /// The latent cache.
    pub cache: u64,
    /// The memory that this process may use, and the part of it that is free.
    pub total: u64,
    pub available: u64,
}
