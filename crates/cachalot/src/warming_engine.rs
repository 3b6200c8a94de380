//! The local engine while its weights are read from disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use chat::{BoxFuture, Chat, EngineStatus, Error, MemoryStatus, Provider, StartedAnswer};
use engine::Engine;
use weights::Checkpoint;

use crate::load;
use crate::system_memory;

/// An engine whose weights are still being read from disk. It answers slowly at first; it reports
/// that it is ready once the weights are in memory.
pub(crate) struct WarmingEngine {
    engine: Engine,
    weights_loaded: Arc<AtomicBool>,
    model_name: String,
    weights_bytes: u64,
}

impl WarmingEngine {
    /// Starts a thread that reads the weights.
    pub(crate) fn start(engine: Engine, checkpoint: Checkpoint) -> Result<Self> {
        let weights_loaded = Arc::new(AtomicBool::new(false));
        let loaded_flag = weights_loaded.clone();
        let (model_name, weights_bytes) = (checkpoint.name(), checkpoint.bytes_total());
        // Not a task of the runtime: a shutdown does not wait for this thread.
        std::thread::Builder::new().name("weights".into()).spawn(move || {
            load::preload_weights(&checkpoint);
            loaded_flag.store(true, Ordering::Release);
        })?;
        Ok(Self { engine, weights_loaded, model_name, weights_bytes })
    }
}

impl Provider for WarmingEngine {
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        self.engine.validate(chat)
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<StartedAnswer, Error>> {
        self.engine.chat(chat)
    }

    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        self.engine.count_tokens(chat)
    }

    fn context_length(&self) -> Option<u64> {
        self.engine.context_length()
    }

    fn takes_engine_fields(&self) -> bool {
        self.engine.takes_engine_fields()
    }

    fn is_ready(&self) -> bool {
        self.weights_loaded.load(Ordering::Acquire) && self.engine.is_ready()
    }

    fn engine_status(&self) -> Option<EngineStatus> {
        let status = self.engine.status();
        let memory = MemoryStatus {
            weights: self.weights_bytes,
            total: system_memory::total(),
            available: system_memory::available(),
            ..status.memory
        };
        Some(EngineStatus { model: self.model_name.clone(), ready: self.is_ready(), memory, ..status })
    }
}
