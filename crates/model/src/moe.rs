//! The feed-forward half of a block: a dense MLP in the first layers, a mixture of experts in the
//! others (`docs/model.md` section 8).

use kernels::{Cpu, GateRule, Mat, Mlp, Rows};
use weights::Checkpoint;

use crate::config::Config;
use crate::scratch::FeedForwardScratch;
use crate::tap::Tap;

/// The feed-forward part of one layer.
pub(crate) enum FeedForward {
    Dense(Box<Mlp>),
    Moe(Box<Moe>),
}

/// A mixture of experts.
pub(crate) struct Moe {
    /// `[n_routed_experts, hidden_size]`
    gate: Mat,
    rule: GateRule,
    experts: Vec<Mlp>,
    /// All shared experts as one MLP; `None` when `n_shared_experts` is 0.
    shared: Option<Mlp>,
}

impl FeedForward {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        prefix: &str,
        config: &Config,
        moe: bool,
    ) -> Result<Self, weights::Error> {
        let mlp = |prefix: &str, width| load_mlp(checkpoint, prefix, config.hidden_size, width);
        if !moe {
            return Ok(Self::Dense(Box::new(mlp(prefix, config.intermediate_size)?)));
        }
        // The bias is used if the checkpoint has it, independent of the config.
        let bias = format!("{prefix}.gate.e_score_correction_bias");
        let bias = checkpoint.contains(&bias).then(|| checkpoint.vector(&bias, config.n_routed_experts)).transpose()?;
        let expert = |i| mlp(&format!("{prefix}.experts.{i}"), config.moe_intermediate_size);
        let shared = config.n_shared_experts * config.moe_intermediate_size;
        Ok(Self::Moe(Box::new(Moe {
            gate: checkpoint.mat(&format!("{prefix}.gate.weight"), config.n_routed_experts, config.hidden_size)?,
            rule: GateRule {
                n_group: config.n_group,
                topk_group: config.topk_group,
                top_k: config.num_experts_per_tok,
                norm_topk_prob: config.norm_topk_prob,
                routed_scaling_factor: config.routed_scaling_factor as f32,
                bias,
            },
            experts: (0..config.n_routed_experts).map(expert).collect::<Result<_, _>>()?,
            shared: (shared > 0).then(|| mlp(&format!("{prefix}.shared_experts"), shared)).transpose()?,
        })))
    }

    /// `out = mlp(x)` or `out = moe(x)`.
    pub(crate) fn forward(
        &self,
        cpu: &Cpu,
        x: &Rows,
        s: &mut FeedForwardScratch,
        layer: usize,
        tap: &mut dyn Tap,
        out: &mut Rows,
    ) {
        let moe = match self {
            Self::Dense(mlp) => {
                let [gate, up] = &mut s.dense;
                return cpu.mlp(x, mlp, gate, up, out);
            }
            Self::Moe(moe) => moe,
        };
        cpu.gate(x, &moe.gate, &moe.rule, &mut s.scores, &mut s.routes);
        tap.routes(layer, &s.routes);
        cpu.experts(x, &moe.experts, &s.routes, out);
        if let Some(shared) = &moe.shared {
            let [gate, up] = &mut s.shared;
            cpu.mlp(x, shared, gate, up, &mut s.shared_output);
            cpu.add(out, &s.shared_output);
        }
    }
}

fn load_mlp(checkpoint: &Checkpoint, prefix: &str, hidden: usize, width: usize) -> Result<Mlp, weights::Error> {
    let mat = |name: &str, rows, cols| checkpoint.mat(&format!("{prefix}.{name}.weight"), rows, cols);
    Ok(Mlp {
        gate: mat("gate_proj", width, hidden)?,
        up: mat("up_proj", width, hidden)?,
        down: mat("down_proj", hidden, width)?,
    })
}
