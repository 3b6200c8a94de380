//! The feed-forward part of a block: the routed experts and the dense MLP.

use std::ops::Range;

use crate::cpu::{Activations, Cpu};
use crate::gate::ExpertRoutes;
use crate::linear::Linear;
use crate::mat::Mat;
use crate::pool::Disjoint;
use crate::product::{Nt, Right};
use crate::rows::Rows;
use crate::scratch;
use crate::softmax::silu_mul;

/// Output columns of one item.
const COLUMNS: usize = 32;

/// The three matrices of a gated MLP: `down(silu(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// `[intermediate, hidden]`
    pub gate: Mat,
    /// `[intermediate, hidden]`
    pub up: Mat,
    /// `[hidden, intermediate]`
    pub down: Mat,
}

/// The pairs of a position and one of its experts, grouped by expert in ascending order.
struct ExpertPairs {
    /// Per pair, ascending within a group.
    positions: Vec<u32>,
    /// Per pair: the weight of the expert's output.
    weights: Vec<f32>,
    groups: Vec<ExpertGroup>,
}

/// The pairs of one expert.
struct ExpertGroup {
    expert: usize,
    pairs: Range<usize>,
}

impl ExpertPairs {
    fn new(routes: &ExpertRoutes) -> Self {
        let pairs = routes.ids.iter().zip(&routes.weights).enumerate();
        let mut pairs: Vec<(u32, u32, f32)> =
            pairs.map(|(pair, (id, weight))| (*id, (pair / routes.top_k) as u32, *weight)).collect();
        pairs.sort_by_key(|(expert, position, _)| (*expert, *position));
        let mut groups = Vec::new();
        let mut start = 0;
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            groups.push(ExpertGroup { expert: group[0].0 as usize, pairs: start..start + group.len() });
            start += group.len();
        }
        Self {
            positions: pairs.iter().map(|(_, position, _)| *position).collect(),
            weights: pairs.iter().map(|(_, _, weight)| *weight).collect(),
            groups,
        }
    }

    fn len(&self) -> usize {
        self.positions.len()
    }

    /// One matrix of each chosen expert.
    fn weights_of<'e>(&self, experts: &'e [Mlp], of: impl Fn(&'e Mlp) -> &'e Mat) -> impl Iterator<Item = &'e Mat> {
        self.groups.iter().map(move |group| of(&experts[group.expert]))
    }
}

impl Cpu {
    /// `out[i] = sum over the chosen experts of weight * expert(x[i])`, experts added in
    /// ascending order.
    pub fn experts(&self, x: &Rows, experts: &[Mlp], routes: &ExpertRoutes, out: &mut Rows) {
        let pairs = ExpertPairs::new(routes);
        let numbers = pairs.len() * experts[0].gate.rows();
        scratch::with(2 * numbers, |buffer| {
            let (gates, ups) = buffer.split_at_mut(numbers);
            self.gate_and_up(x, experts, &pairs, gates, ups);
            out.resize(x.len());
            out.all_mut().fill(0.0);
            let width = out.width();
            let sums = Disjoint::new(out.all_mut());
            let hidden = self.activations(gates, experts[0].down.cols(), pairs.weights_of(experts, |mlp| &mlp.down));
            let products = DownProducts { experts, pairs: &pairs, hidden, sums: &sums, width };
            self.pool.run(width.div_ceil(COLUMNS), numbers * width, |item| {
                let start = item * COLUMNS;
                products.add_columns(self, start..(start + COLUMNS).min(width));
            });
        });
    }

    /// Leaves `silu(gate(x)) * up(x)` of every pair in `gates`, `[pairs, intermediate]`; `ups` is
    /// working memory of the same shape.
    fn gate_and_up(&self, x: &Rows, experts: &[Mlp], pairs: &ExpertPairs, gates: &mut [f32], ups: &mut [f32]) {
        let inter = experts[0].gate.rows();
        let blocks = inter.div_ceil(COLUMNS);
        let cost = 2 * gates.len() * x.width();
        let (gates, ups) = (Disjoint::new(gates), Disjoint::new(ups));
        let weights = pairs.weights_of(experts, |mlp| &mlp.gate).chain(pairs.weights_of(experts, |mlp| &mlp.up));
        let activations = self.activations(x.all(), x.width(), weights);
        self.pool.run(pairs.groups.len() * blocks, cost, |item| {
            let ExpertGroup { expert, pairs: group } = &pairs.groups[item / blocks];
            let start = item % blocks * COLUMNS;
            let columns = start..(start + COLUMNS).min(inter);
            for (w, out) in [(&experts[*expert].gate, &gates), (&experts[*expert].up, &ups)] {
                let nt = Nt {
                    x: activations.for_weight(w),
                    rows: Some(&pairs.positions[group.clone()]),
                    m: group.len(),
                    k: x.width(),
                    w: Right::Mat(w),
                    first: 0,
                    out,
                    offset: group.start * inter,
                    stride: inter,
                };
                self.nt(&nt, columns.clone());
            }
            for pair in group.clone() {
                let at = pair * inter + start;
                // SAFETY: an item owns its columns of its expert's pairs.
                let (gate, up) = unsafe { (gates.piece(at, columns.len()), ups.piece(at, columns.len())) };
                silu_mul(gate, up);
            }
        });
    }

    /// `out = down(silu(gate(x)) * up(x))`; `gate` and `up` are working memory of the MLP's
    /// intermediate width.
    pub fn mlp(&self, x: &Rows, mlp: &Mlp, gate: &mut Rows, up: &mut Rows, out: &mut Rows) {
        self.linear(x, &mut [Linear { w: &mlp.gate, out: gate }, Linear { w: &mlp.up, out: up }]);
        silu_mul(gate.all_mut(), up.all());
        self.linear(gate, &mut [Linear { w: &mlp.down, out }]);
    }
}

/// The last products of all experts, added up per position.
struct DownProducts<'a> {
    experts: &'a [Mlp],
    pairs: &'a ExpertPairs,
    /// `[pairs, intermediate]`
    hidden: Activations<'a>,
    /// `[n, width]`
    sums: &'a Disjoint<f32>,
    width: usize,
}

impl DownProducts<'_> {
    /// `sums[position] += weight * down(hidden)` in `columns`, expert by expert. An item calls it
    /// for columns of its own.
    fn add_columns(&self, cpu: &Cpu, columns: Range<usize>) {
        let width = columns.len();
        scratch::with(self.pairs.len() * width, |values| {
            let values = Disjoint::new(values);
            for ExpertGroup { expert, pairs } in &self.pairs.groups {
                let down = &self.experts[*expert].down;
                let rows: Vec<u32> = (pairs.start as u32..pairs.end as u32).collect();
                let nt = Nt {
                    x: self.hidden.for_weight(down),
                    rows: Some(&rows),
                    m: pairs.len(),
                    k: down.cols(),
                    w: Right::Mat(down),
                    first: columns.start,
                    out: &values,
                    offset: pairs.start * width,
                    stride: width,
                };
                cpu.nt(&nt, columns.clone());
                for pair in pairs.clone() {
                    let row = self.pairs.positions[pair] as usize;
                    // SAFETY: `values` is this item's own; of `sums`, an item owns its columns.
                    let (value, sum) = unsafe {
                        (values.piece(pair * width, width), self.sums.piece(row * self.width + columns.start, width))
                    };
                    let weight = self.pairs.weights[pair];
                    sum.iter_mut().zip(value).for_each(|(sum, v)| *sum += weight * *v);
                }
            }
        });
    }
}
