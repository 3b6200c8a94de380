//! The gate of a mixture of experts: picks the experts of every position.

use crate::cpu::Cpu;
use crate::linear::Linear;
use crate::mat::Mat;
use crate::rows::Rows;
use crate::softmax::sigmoid;

/// The parameters of the gate (`docs/model.md` section 8).
#[derive(Clone, Debug)]
pub struct GateRule {
    pub n_group: usize,
    pub topk_group: usize,
    /// Experts per token.
    pub top_k: usize,
    pub norm_topk_prob: bool,
    pub routed_scaling_factor: f32,
    /// `e_score_correction_bias`, `[n_experts]`: affects the selection, not the weights.
    pub bias: Option<Vec<f32>>,
}

/// The experts of every position: `top_k` ids in ascending order, and their weights.
#[derive(Clone, Debug, Default)]
pub struct ExpertRoutes {
    pub top_k: usize,
    pub ids: Vec<u32>,
    pub weights: Vec<f32>,
}

impl Cpu {
    /// Picks the experts of every row. `x` is `[n, hidden]`, `weight` `[n_experts, hidden]`;
    /// `scores` is working memory of width `n_experts`.
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
}

/// Appends the experts of one token, given its sigmoid scores.
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
        // Without a bias the score of a group is its best expert's, as in the authors' code.
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
