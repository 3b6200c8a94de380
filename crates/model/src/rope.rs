//! Rotary frequencies with YaRN scaling (`docs/model.md` section 4).

use std::f32::consts::PI;

use kernels::{Angles, CachePosition, Rows};

use crate::config::Config;

/// The `qk_rope_head_dim / 2` frequencies of a model.
pub(crate) struct Rope {
    frequencies: Vec<f32>,
}

impl Rope {
    /// The interpolated frequencies, used at every length.
    pub(crate) fn new(config: &Config) -> Self {
        let dim = config.qk_rope_head_dim as f32;
        let theta = config.rope_theta as f32;
        let base = |i: usize| theta.powf(-2.0 * i as f32 / dim);
        let Some(yarn) = &config.rope_scaling else {
            return Self { frequencies: (0..config.qk_rope_head_dim / 2).map(base).collect() };
        };
        let original = yarn.original_max_position_embeddings as f32;
        let correction = |beta: f32| dim * (original / (beta * 2.0 * PI)).ln() / (2.0 * theta.ln());
        let low = correction(yarn.beta_fast as f32).floor().max(0.0);
        let high = correction(yarn.beta_slow as f32).ceil().min(dim - 1.0);
        let high = if low == high { high + 0.001 } else { high };
        let frequency = |i: usize| {
            let ramp = ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
            base(i) / yarn.factor as f32 * ramp + base(i) * (1.0 - ramp)
        };
        Self { frequencies: (0..config.qk_rope_head_dim / 2).map(frequency).collect() }
    }

    /// Writes the angles of every position: `position * frequency` in f32, as the
    /// reference computes it.
    pub(crate) fn angles(&self, positions: &[CachePosition<'_>], out: &mut Angles) {
        out.cos.resize(positions.len());
        out.sin.resize(positions.len());
        for (i, at) in positions.iter().enumerate() {
            let (cos, sin) = (out.cos.row_mut(i), out.sin.row_mut(i));
            for ((cos, sin), f) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
                (*sin, *cos) = (at.position as f32 * f).sin_cos();
            }
        }
    }

    /// Working memory for [`Rope::angles`].
    pub(crate) fn new_angles(&self) -> Angles {
        Angles { cos: Rows::new(self.frequencies.len()), sin: Rows::new(self.frequencies.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_match_the_published_values() {
        let config = include_str!("../../../reference/configs/deepseek-v3.2.json");
        let config = Config::from_json(&serde_json::from_str(config).unwrap()).unwrap();
        let rope = Rope::new(&config);
        for (i, want) in [
            (0, 1.0),
            (1, 0.749_894_209_3),
            (10, 0.056_234_132_5),
            (11, 0.039_006_926_6),
            (16, 0.0055),
            (22, 1.778_279_410e-4),
            (23, 3.333_803_584e-5),
            (31, 3.333_803_581e-6),
        ] {
            let got = rope.frequencies[i] as f64;
            assert!(((got - want) / want).abs() < 2e-6, "f{i} = {got}, not {want}");
        }
    }
}
