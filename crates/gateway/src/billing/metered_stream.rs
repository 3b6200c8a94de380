//! The deltas of one request, metered as the caller consumes them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chat::{BoxDeltaStream, Delta, Error, Usage};
use futures_core::Stream;

use crate::billing::request_meter::RequestMeter;
use crate::memory::inflight_budget::RequestMemory;
use crate::routing::selected_target::SelectedTarget;

/// The deltas of one request, metered as they pass. Dropping the stream cancels the request.
pub struct MeteredStream {
    deltas: BoxDeltaStream,
    meter: RequestMeter,
    selected: SelectedTarget,
    /// Whether the model thinks before it answers.
    pub thinking: bool,
    /// Warnings: what was accepted although DeepSeek's service would refuse it.
    pub notes: Vec<String>,
    memory: RequestMemory,
}

impl MeteredStream {
    pub(crate) fn new(
        deltas: BoxDeltaStream,
        meter: RequestMeter,
        selected: SelectedTarget,
        thinking: bool,
        notes: Vec<String>,
        memory: RequestMemory,
    ) -> Self {
        Self { deltas, meter, selected, thinking, notes, memory }
    }

    /// The memory reservation of the request. A buffer that collects the response grows it.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// The target that answers, known after the first delta.
    pub fn selected_target(&self) -> &SelectedTarget {
        &self.selected
    }

    /// The model id of the route, as the list of models spells it.
    pub fn model(&self) -> &Arc<str> {
        self.meter.model()
    }

    /// The usage; `None` until the provider has reported it.
    pub fn usage(&self) -> Option<Usage> {
        self.meter.usage()
    }
}

impl Stream for MeteredStream {
    type Item = Result<Delta, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut polled = self.deltas.as_mut().poll_next(context);
        if let Poll::Ready(Some(item)) = &mut polled {
            self.meter.observe_delta(item);
        }
        polled
    }
}
