//! Linear layers, embedding lookup, and residual addition.

use crate::cpu::{Activations, Cpu};
use crate::mat::Mat;
use crate::pool::Disjoint;
use crate::product::{Nt, Right};
use crate::rows::Rows;

/// Output columns per item of a parallel region: enough to amortise reading the left side, few
/// enough to share between threads.
const COLUMNS: usize = 32;

/// One matrix of a [`Cpu::linear`] call: `out = x @ w^T`.
pub struct Linear<'a> {
    pub w: &'a Mat,
    pub out: &'a mut Rows,
}

impl Cpu {
    /// `out[i] = table[tokens[i]]`, in f32.
    pub fn embed(&self, table: &Mat, tokens: &[u32], out: &mut Rows) {
        out.resize(tokens.len());
        for (i, token) in tokens.iter().enumerate() {
            table.row(*token as usize, out.row_mut(i));
        }
    }

    /// Multiplies several matrices with one input, in one parallel region. `x` is `[n, in]`, each
    /// `w` `[out, in]`, each `out` becomes `[n, out]`.
    pub fn linear(&self, x: &Rows, layers: &mut [Linear<'_>]) {
        let activations = self.activations(x.all(), x.width(), layers.iter().map(|layer| layer.w));
        self.products(&activations, x.len(), x.width(), layers);
    }

    /// [`Cpu::linear`] with f32 products regardless of the processor's setting, for the gate, the
    /// index head weights and the output head. Packed weights follow the setting.
    pub fn linear_f32(&self, x: &Rows, layers: &mut [Linear<'_>]) {
        let activations = self.exact_activations(x.all(), x.width(), layers.iter().map(|layer| layer.w));
        self.products(&activations, x.len(), x.width(), layers);
    }

    fn products(&self, x: &Activations<'_>, m: usize, k: usize, layers: &mut [Linear<'_>]) {
        let mut items = Vec::new();
        let mut tasks = Vec::with_capacity(layers.len());
        let mut cost = 0;
        for (task, layer) in layers.iter_mut().enumerate() {
            assert_eq!(
                (layer.w.cols(), layer.w.rows()),
                (k, layer.out.width()),
                "the matrix fits its input and output"
            );
            layer.out.resize(m);
            cost += m * k * layer.w.rows();
            items.extend((0..layer.w.rows()).step_by(COLUMNS).map(|start| (task, start)));
            tasks.push((layer.w, Disjoint::new(layer.out.all_mut()), layer.out.width()));
        }
        self.pool.run(items.len(), cost, |item| {
            let (task, start) = items[item];
            let (w, out, n) = &tasks[task];
            let nt =
                Nt { x: x.for_weight(w), rows: None, m, k, w: Right::Mat(w), first: 0, out, offset: 0, stride: *n };
            self.nt(&nt, start..(start + COLUMNS).min(*n));
        });
    }

    /// `x += y`.
    pub fn add(&self, x: &mut Rows, y: &Rows) {
        x.all_mut().iter_mut().zip(y.all()).for_each(|(x, y)| *x += y);
    }
}
