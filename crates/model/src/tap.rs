//! Observation of a forward pass, for tests and tools. In serving the observer is `()`, which
//! ignores everything.

use kernels::{ExpertRoutes, Rows, Selection};

/// An observer of a forward pass; by default every method does nothing.
pub trait Tap {
    /// Receives the residual stream, `[n, hidden_size]`: 0 is the embedding, `l + 1` the output of
    /// layer `l`.
    fn residual(&mut self, layer: usize, rows: &Rows) {
        let _ = (layer, rows);
    }

    /// Receives the positions that layer `layer` attends to.
    fn selection(&mut self, layer: usize, selection: &Selection) {
        let _ = (layer, selection);
    }

    /// Receives the experts of layer `layer`.
    fn routes(&mut self, layer: usize, routes: &ExpertRoutes) {
        let _ = (layer, routes);
    }
}

impl Tap for () {}
