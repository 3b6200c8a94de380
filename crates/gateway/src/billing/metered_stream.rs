//! The deltas of one request, metered as the caller consumes them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chat::{BoxDeltaStream, Delta, Error, Usage};
use futures_core::Stream;
use wire::progress::AnswerProgress;

use crate::billing::request_meter::RequestMeter;
use crate::memory::inflight_budget::RequestMemory;
use crate::routing::selected_target::SelectedTarget;
use crate::upstream::shared_notes::SharedNotes;
use crate::upstream::shared_progress::SharedProgress;

/// Deltas, their progress, and the meter that observes it.
pub(crate) struct MeteredDeltas {
    pub(crate) deltas: BoxDeltaStream,
    /// The progress that the events of a remote provider show; `None` for the local engine.
    pub(crate) remote_progress: Option<SharedProgress>,
    pub(crate) meter: RequestMeter,
}

/// The notes for the caller, of which some are known when the request has been sent.
#[derive(Clone)]
pub struct AnswerNotes {
    /// The notes on the request.
    pub(crate) notes: Vec<String>,
    /// Those on the body that the provider gets.
    pub(crate) body_notes: SharedNotes,
}

/// The deltas of one request, metered as they pass. Dropping the stream cancels the request.
pub struct MeteredStream {
    metered: MeteredDeltas,
    /// The progress of the local engine.
    local_progress: AnswerProgress,
    selected: SelectedTarget,
    /// Whether the model thinks before it answers.
    pub thinking: bool,
    notes: AnswerNotes,
    memory: RequestMemory,
}

impl AnswerNotes {
    /// The notes so far: what was accepted although DeepSeek's service would refuse it, what was
    /// left out, and, once the request has been sent, what was changed for the model.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        notes.extend(self.body_notes.notes());
        notes
    }

    /// Notes that the caller's API has no place for a part of the answer.
    pub fn add_missing(&self, name: &'static str) {
        self.body_notes.add_missing(name);
    }

    /// The note on what the caller does not get of the answer so far.
    pub fn missing(&self) -> Option<String> {
        self.body_notes.missing()
    }
}

impl MeteredStream {
    pub(crate) fn new(
        metered: MeteredDeltas,
        selected: SelectedTarget,
        thinking: bool,
        notes: AnswerNotes,
        memory: RequestMemory,
    ) -> Self {
        Self { metered, local_progress: AnswerProgress::default(), selected, thinking, notes, memory }
    }

    /// The memory reservation of the request. A buffer that collects the response grows it.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// The target that answers, known after the first delta.
    pub fn selected_target(&self) -> &SelectedTarget {
        &self.selected
    }

    /// The notes so far.
    pub fn notes(&self) -> Vec<String> {
        self.notes.notes()
    }

    /// The notes, to be read again when the answer has begun.
    pub fn note_source(&self) -> AnswerNotes {
        self.notes.clone()
    }

    /// The model id of the route, as the list of models spells it.
    pub fn model(&self) -> &Arc<str> {
        self.metered.meter.model()
    }

    /// The usage; `None` until the provider has reported it.
    pub fn usage(&self) -> Option<Usage> {
        self.metered.meter.usage()
    }
}

impl Stream for MeteredStream {
    type Item = Result<Delta, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { metered: MeteredDeltas { deltas, remote_progress, meter }, local_progress, .. } = &mut *self;
        let mut polled = deltas.as_mut().poll_next(context);
        // An event may end the answer without a delta.
        if let Some(progress) = &*remote_progress {
            progress.read(|progress| meter.observe(progress));
        }
        if let Poll::Ready(Some(item)) = &mut polled {
            if let (None, Ok(delta)) = (remote_progress, &*item) {
                local_progress.add_delta(delta);
                meter.observe(local_progress);
            }
            meter.observe_item(item);
        }
        polled
    }
}
