//! The state of an engine without requests, which follows from its model and its options.

use chat::{EngineStatus, MemoryStatus};
use model::{Compute, Info};

/// The state of an engine that serves a model with `context` positions, under the name of its
/// architecture and without its weights and the memory of the machine, which it does not know.
pub(crate) fn idle_status(
    info: &Info,
    context: u32,
    max_running: usize,
    queue: usize,
    cache_pages: usize,
) -> EngineStatus {
    EngineStatus {
        model: info.model_type.clone(),
        model_type: info.model_type.clone(),
        attention: info.attention,
        compute: match info.compute {
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
        },
        kernels: info.isa,
        threads: info.threads,
        context: context.into(),
        max_running,
        queue,
        memory: MemoryStatus { cache: (cache_pages * info.page_bytes) as u64, ..MemoryStatus::default() },
        ..EngineStatus::default()
    }
}
