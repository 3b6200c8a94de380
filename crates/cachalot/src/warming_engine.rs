//! The local engine while its weights are still on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use chat::{BoxDeltaStream, BoxFuture, Chat, Error, Provider};
use engine::Engine;
use weights::Checkpoint;

use crate::load;

/// An engine whose weights are being read from disk. It answers meanwhile, only slowly; ready it is
/// when they are in memory.
pub(crate) struct WarmingEngine {
    engine: Engine,
    weights_loaded: Arc<AtomicBool>,
}

impl WarmingEngine {
    pub(crate) fn start(engine: Engine, checkpoint: Checkpoint) -> Result<Self> {
        let weights_loaded = Arc::new(AtomicBool::new(false));
        let loaded_flag = weights_loaded.clone();
        // A thread of its own: a shutdown does not wait for it.
        std::thread::Builder::new().name("weights".into()).spawn(move || {
            load::preload_weights(&checkpoint);
            loaded_flag.store(true, Ordering::Release);
        })?;
        Ok(Self { engine, weights_loaded })
    }
}

impl Provider for WarmingEngine {
    fn validate(&self, chat: &mut Chat) -> Result<(), Error> {
        self.engine.validate(chat)
    }

    fn chat(&self, chat: Chat) -> BoxFuture<'_, Result<BoxDeltaStream, Error>> {
        self.engine.chat(chat)
    }

    fn count_tokens(&self, chat: Chat) -> BoxFuture<'_, Result<u64, Error>> {
        self.engine.count_tokens(chat)
    }

    fn context_length(&self) -> Option<u64> {
        self.engine.context_length()
    }

    fn is_ready(&self) -> bool {
        self.weights_loaded.load(Ordering::Acquire) && self.engine.is_ready()
    }
}
