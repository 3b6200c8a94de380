//! The local engine while its weights are still on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use chat::{BoxDeltaStream, BoxFuture, Chat, Error, Provider};
use engine::Engine;
use weights::Checkpoint;

use crate::load;

/// An engine whose weights are being read from disk. It answers meanwhile, only slowly; ready it is when they are in memory.
pub(crate) struct Warming {
    engine: Engine,
    warm: Arc<AtomicBool>,
}

impl Warming {
    pub(crate) fn begin(engine: Engine, checkpoint: Checkpoint) -> Result<Self> {
        let warm = Arc::new(AtomicBool::new(false));
        let done = warm.clone();
        // A thread of its own: a shutdown does not wait for it.
        std::thread::Builder::new().name("weights".into()).spawn(move || {
            load::read_weights(&checkpoint);
            done.store(true, Ordering::Release);
        })?;
        Ok(Self { engine, warm })
    }
}

impl Provider for Warming {
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
        self.warm.load(Ordering::Acquire) && self.engine.is_ready()
    }
}
