//! The state of an engine, for operators.

use std::time::Instant;

use chat::{CacheStatus, EngineStatus};
use model::PAGE_ROWS;

use crate::engine::Engine;

impl Engine {
    /// The state of the engine now, without the name and the weights of the model and without the
    /// memory of the machine.
    pub fn status(&self) -> EngineStatus {
        let load = self.load();
        let tokens = |pages: usize| (pages * PAGE_ROWS) as u64;
        EngineStatus {
            ready: self.is_ready(),
            running: load.running,
            waiting: load.waiting,
            throughput: self.shared.token_counter.lock().throughput(Instant::now()),
            cache: CacheStatus {
                tokens: tokens(load.pages_total),
                used_tokens: tokens(load.pages_used),
                cached_tokens: tokens(load.pages_cached),
            },
            ..self.shared.idle_status.clone()
        }
    }
}
