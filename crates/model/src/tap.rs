//! What an observer may see of a forward pass. While serving the observer is `()`,
//! which sees nothing.

use kernels::{ExpertRoutes, Rows, Selection};

/// An observer; every method has a default that looks away.
pub trait Tap {
    /// The residual stream, `[n, hidden_size]`: layer 0 is the embedding, `l + 1` what layer
    /// `l` left behind.
    fn residual(&mut self, layer: usize, rows: &Rows) {
        let _ = (layer, rows);
    }

    /// The positions layer `layer` attends to.
    fn selection(&mut self, layer: usize, selection: &Selection) {
        let _ = (layer, selection);
    }

    /// The experts layer `layer` chose.
    fn routes(&mut self, layer: usize, routes: &ExpertRoutes) {
        let _ = (layer, routes);
    }
}

impl Tap for () {}
