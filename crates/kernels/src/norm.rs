//! RMSNorm and LayerNorm, always in f32.

use crate::rows::Rows;

/// `out = weight * x * rsqrt(mean(x^2) + eps)` over the first `weight.len()` values of every row of
/// `x`; `out` takes that width.
///
/// Source: `docs/model.md` section 3. Only the first `kv_lora_rank` outputs of `kv_a_proj_with_mqa`
/// are normalised.
pub fn rms_norm(x: &Rows, weight: &[f32], eps: f32, out: &mut Rows) {
    assert_eq!(out.width(), weight.len(), "the norm's width");
    out.resize(x.len());
    for i in 0..x.len() {
        let row = &x.row(i)[..weight.len()];
        let scale = (lane_sum(row, |v| v * v) / weight.len() as f32 + eps).sqrt().recip();
        out.row_mut(i).iter_mut().zip(row).zip(weight).for_each(|((out, v), w)| *out = w * (v * scale));
    }
}

/// `x = weight * (x - mean) / sqrt(variance + eps) + bias` over every row, in place.
pub fn layer_norm(x: &mut Rows, weight: &[f32], bias: &[f32], eps: f32) {
    assert_eq!(x.width(), weight.len(), "the norm's width");
    let n = weight.len() as f32;
    for i in 0..x.len() {
        let row = x.row_mut(i);
        let mean = lane_sum(row, |v| v) / n;
        let scale = (lane_sum(row, |v| (v - mean) * (v - mean)) / n + eps).sqrt().recip();
        row.iter_mut().zip(weight).zip(bias).for_each(|((v, w), b)| *v = w * ((*v - mean) * scale) + b);
    }
}

/// The sum of `f` over a row in 16 lanes, a fixed order that the compiler can vectorise.
fn lane_sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 16];
    for chunk in row.chunks(16) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, v)| *lane += f(*v));
    }
    crate::product::sum_lanes(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_match_their_formulas() {
        let x = Rows::from_vec(4, vec![1.0, 2.0, 3.0, 100.0]);
        let mut out = Rows::new(3);
        rms_norm(&x, &[1.0, 1.0, 2.0], 0.0, &mut out);
        let rms = (14.0f32 / 3.0).sqrt();
        for (got, want) in out.row(0).iter().zip([1.0 / rms, 2.0 / rms, 6.0 / rms]) {
            assert!((got - want).abs() < 1e-6, "the fourth value takes no part");
        }
        let mut x = Rows::from_vec(2, vec![1.0, 3.0]);
        layer_norm(&mut x, &[2.0, 2.0], &[1.0, 0.0], 0.0);
        assert!((x.row(0)[0] + 1.0).abs() < 1e-6 && (x.row(0)[1] - 2.0).abs() < 1e-6);
    }
}
