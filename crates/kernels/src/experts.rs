//! The feed-forward part of a block: the gate that picks experts, the routed experts,
//! and the dense MLP.

use crate::cpu::Cpu;
use crate::linear::Linear;
use crate::mat::Mat;
use crate::pool::Disjoint;
use crate::product::{Nt, Right};
use crate::rows::Rows;
use crate::scratch;
use crate::softmax::{sigmoid, silu_mul};

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

/// How the gate chooses (`docs/model.md` section 8).
#[derive(Clone, Debug)]
pub struct GateRule {
    pub n_group: usize,
    pub topk_group: usize,
    /// Experts a token.
    pub top_k: usize,
    pub norm_topk_prob: bool,
    pub routed_scaling_factor: f32,
    /// `e_score_correction_bias`, `[n_experts]`: selects, never weighs.
    pub bias: Option<Vec<f32>>,
}

/// The experts of every position: `top_k` ids, ascending, and their weights.
#[derive(Clone, Debug, Default)]
pub struct ExpertRoutes {
    pub top_k: usize,
    pub ids: Vec<u32>,
    pub weights: Vec<f32>,
}

impl Cpu {
    /// Picks experts. `x` is `[n, hidden]`, `weight` `[n_experts, hidden]`; `scores` is working
    /// memory of width `n_experts`.
    ///
    /// Products are f32. Ties go to the lower expert.
    pub fn gate(&self, x: &Rows, weight: &Mat, rule: &GateRule, scores: &mut Rows, routes: &mut ExpertRoutes) {
        self.linear_f32(x, &mut [Linear { w: weight, out: scores }]);
        routes.top_k = rule.top_k;
        routes.ids.clear();
        routes.weights.clear();
        for i in 0..x.len() {
            let row = scores.row_mut(i);
            row.iter_mut().for_each(|s| *s = sigmoid(*s));
            route_token(row, rule, routes);
        }
    }

    /// `out[i] = sum over the chosen experts of weight * expert(x[i])`, experts added in
    /// ascending order.
    pub fn experts(&self, x: &Rows, experts: &[Mlp], routes: &ExpertRoutes, out: &mut Rows) {
        let hidden = x.width();
        let inter = experts[0].gate.rows();
        // Pairs (position, weight) grouped by expert; `spans` has the experts that
        // were chosen at all.
        let mut pairs: Vec<(u32, u32, f32)> = routes
            .ids
            .iter()
            .zip(&routes.weights)
            .enumerate()
            .map(|(pair, (id, weight))| (*id, (pair / routes.top_k) as u32, *weight))
            .collect();
        pairs.sort_by_key(|(expert, position, _)| (*expert, *position));
        let positions: Vec<u32> = pairs.iter().map(|(_, position, _)| *position).collect();
        let spans: Vec<(usize, usize, usize)> = pairs
            .chunk_by(|a, b| a.0 == b.0)
            .scan(0, |start, span| {
                let first = *start;
                *start += span.len();
                Some((span[0].0 as usize, first, *start))
            })
            .collect();

        scratch::with(2 * pairs.len() * inter, |hidden_rows| {
            let (gates, ups) = hidden_rows.split_at_mut(pairs.len() * inter);
            self.with_activations(x.all(), |activations| {
                let (gates, ups) = (Disjoint::new(gates), Disjoint::new(ups));
                let blocks = inter.div_ceil(COLUMNS);
                self.pool.run(spans.len() * blocks, 2 * pairs.len() * inter * hidden, |item| {
                    let (expert, first, end) = spans[item / blocks];
                    let start = item % blocks * COLUMNS;
                    let columns = start..(start + COLUMNS).min(inter);
                    for (w, out) in [(&experts[expert].gate, &gates), (&experts[expert].up, &ups)] {
                        let rows = Some(&positions[first..end]);
                        let nt = Nt {
                            x: activations.for_weight(w),
                            rows,
                            m: end - first,
                            k: hidden,
                            w: Right::Mat(w),
                            first: 0,
                            out,
                            offset: first * inter,
                            stride: inter,
                        };
                        self.nt(&nt, columns.clone());
                    }
                    for pair in first..end {
                        // SAFETY: an item owns its columns of its expert's pairs.
                        let (gate, up) = unsafe {
                            (
                                gates.piece(pair * inter + start, columns.len()),
                                ups.piece(pair * inter + start, columns.len()),
                            )
                        };
                        silu_mul(gate, up);
                    }
                });
            });
            out.resize(x.len());
            out.all_mut().fill(0.0);
            let sums = Disjoint::new(out.all_mut());
            self.with_activations(gates, |activations| {
                self.pool.run(hidden.div_ceil(COLUMNS), pairs.len() * inter * hidden, |item| {
                    let start = item * COLUMNS;
                    let width = COLUMNS.min(hidden - start);
                    scratch::with(pairs.len() * width, |values| {
                        let values = Disjoint::new(values);
                        for &(expert, first, end) in &spans {
                            let down = &experts[expert].down;
                            let rows: Vec<u32> = (first as u32..end as u32).collect();
                            let nt = Nt {
                                x: activations.for_weight(down),
                                rows: Some(&rows),
                                m: end - first,
                                k: inter,
                                w: Right::Mat(down),
                                first: start,
                                out: &values,
                                offset: first * width,
                                stride: width,
                            };
                            self.nt(&nt, start..start + width);
                            for (pair, (_, position, weight)) in pairs[first..end].iter().enumerate() {
                                // SAFETY: `values` is this item's own; of `out`, an item
                                // owns its columns.
                                let (value, sum) = unsafe {
                                    (
                                        values.piece((first + pair) * width, width),
                                        sums.piece(*position as usize * hidden + start, width),
                                    )
                                };
                                sum.iter_mut().zip(value).for_each(|(sum, v)| *sum += weight * *v);
                            }
                        }
                    });
                });
            });
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

/// Output columns of one item.
const COLUMNS: usize = 32;

/// Appends one token's experts, given its sigmoid scores.
fn route_token(scores: &[f32], rule: &GateRule, routes: &mut ExpertRoutes) {
    let biased: Vec<f32> = match &rule.bias {
        Some(bias) => scores.iter().zip(bias).map(|(s, b)| s + b).collect(),
        None => scores.to_vec(),
    };
    let per_group = scores.len() / rule.n_group;
    let group_score = |group: usize| {
        let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for score in &biased[group * per_group..][..per_group] {
            if *score > best {
                (best, second) = (*score, best);
            } else if *score > second {
                second = *score;
            }
        }
        // Without a bias a group counts by its best alone, as in the authors' code.
        if rule.bias.is_some() { best + second } else { best }
    };
    let group_scores: Vec<f32> = (0..rule.n_group).map(group_score).collect();
    let mut kept = vec![false; rule.n_group];
    top_k_where(&group_scores, rule.topk_group, |_| true).for_each(|group| kept[group] = true);
    let mut chosen: Vec<usize> = top_k_where(&biased, rule.top_k, |expert| kept[expert / per_group]).collect();
    chosen.sort_unstable();
    let total: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
    for expert in chosen {
        let weight = if rule.norm_topk_prob { scores[expert] / (total + 1e-20) } else { scores[expert] };
        routes.ids.push(expert as u32);
        routes.weights.push(weight * rule.routed_scaling_factor);
    }
}

/// The `k` indices with the highest scores among those `allowed`; ties go to the lower index.
fn top_k_where(scores: &[f32], k: usize, allowed: impl Fn(usize) -> bool) -> impl Iterator<Item = usize> {
    let mut order: Vec<usize> = (0..scores.len()).filter(|i| allowed(*i)).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.truncate(k);
    order.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> GateRule {
        GateRule { n_group: 2, topk_group: 1, top_k: 1, norm_topk_prob: true, routed_scaling_factor: 2.5, bias: None }
    }

    #[test]
    fn a_group_wins_by_its_two_best_and_the_bias_never_weighs() {
        let mut routes = ExpertRoutes::default();
        // Group 0 has the best expert (0.9), group 1 the better pair.
        let scores = [0.9, 0.1, 0.6, 0.7];
        route_token(&scores, &GateRule { bias: Some(vec![0.0; 4]), ..rule() }, &mut routes);
        assert_eq!((routes.ids.as_slice(), routes.weights.as_slice()), (&[3][..], &[2.5][..]));
        routes = ExpertRoutes::default();
        route_token(&scores, &rule(), &mut routes);
        assert_eq!(routes.ids, [0], "without a bias the best expert decides");
        let biased = GateRule { bias: Some(vec![-3.0, -3.0, -2.0, -1.0]), top_k: 2, ..rule() };
        routes = ExpertRoutes::default();
        route_token(&[0.9, 0.1, 0.6, 0.2], &biased, &mut routes);
        assert_eq!(routes.ids, [2, 3]);
        assert!((routes.weights[0] - 2.5 * 0.75).abs() < 1e-6, "weights come from the unbiased scores");
    }

    #[test]
    fn ties_go_to_the_lower_expert() {
        let mut routes = ExpertRoutes::default();
        route_token(&[0.5; 4], &GateRule { top_k: 2, topk_group: 2, ..rule() }, &mut routes);
        assert_eq!(routes.ids, [0, 1]);
    }
}
