//! The exponential, sigmoid, SiLU and online softmax. All use one polynomial, so that every
//! instruction set gives the same value.

/// Below, [`exp`] is zero.
pub(crate) const EXP_MIN: f32 = -87.3;
/// Larger arguments of [`exp`] are clamped to it.
pub(crate) const EXP_MAX: f32 = 88.7;
/// The upper part of ln 2, of which small multiples are exact.
pub(crate) const LN2_HIGH: f32 = 0.693_359_4;
/// The rest of ln 2.
pub(crate) const LN2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
pub(crate) const ROUND: f32 = 12_582_912.0;
/// The Taylor coefficients 1/6! to 1/0!.
pub(crate) const EXP_TERMS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// `e^x` to about 1e-7 relative; 0 below -87, infinite above 88.
///
/// Splits `x = n ln 2 + r` and evaluates a degree-6 polynomial on `|r| <= ln 2 / 2`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // NaN stays NaN through the polynomial.
    let clamped = x.clamp(EXP_MIN, EXP_MAX);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let p = EXP_TERMS.into_iter().reduce(|p, term| p * r + term).unwrap_or_default();
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < EXP_MIN { 0.0 } else { p * scale }
}

#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `gate = silu(gate) * up`.
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    gate.iter_mut().zip(up).for_each(|(g, u)| *g = *g * sigmoid(*g) * u);
}

/// The online softmax of one attention head: the maximum so far, and the sum of
/// weights relative to it.
#[derive(Clone, Copy)]
pub(crate) struct OnlineSoftmax {
    max: f32,
    sum: f32,
}

impl OnlineSoftmax {
    pub(crate) const EMPTY: Self = Self { max: f32::NEG_INFINITY, sum: 0.0 };

    /// Replaces the next scores by their weights. Returns the factor that rescales values
    /// accumulated under the old maximum to the new one.
    pub(crate) fn update(&mut self, scores: &mut [f32]) -> f32 {
        let max = scores.iter().fold(self.max, |max, s| max.max(*s));
        let factor = exp(self.max - max);
        scores.iter_mut().for_each(|s| *s = exp(*s - max));
        let mut lanes = [0.0; 16];
        for chunk in scores.chunks(16) {
            lanes.iter_mut().zip(chunk).for_each(|(lane, s)| *lane += s);
        }
        self.sum = self.sum * factor + crate::product::sum_lanes(lanes);
        self.max = max;
        factor
    }

    pub(crate) fn max(&self) -> f32 {
        self.max
    }

    /// The sum of weights, by which the accumulated values are divided.
    pub(crate) fn sum(&self) -> f32 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_over_its_whole_range() {
        let mut x = -87.0f64;
        while x < 88.0 {
            let (got, want) = (exp(x as f32) as f64, (x as f32 as f64).exp());
            assert!(((got - want) / want).abs() < 3e-7, "exp({x}) = {got}, not {want}");
            x += 0.013;
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn a_running_softmax_equals_a_whole_one() {
        let scores: Vec<f32> = (0..40).map(|i| (i as f32 * 1.7).sin() * 5.0).collect();
        let (mut running, mut value) = (OnlineSoftmax::EMPTY, 0.0f32);
        for chunk in scores.chunks(7) {
            let mut weights = chunk.to_vec();
            value *= running.update(&mut weights);
            value += weights.iter().zip(chunk).map(|(w, s)| w * s).sum::<f32>();
        }
        let total: f64 = scores.iter().map(|s| (*s as f64).exp()).sum();
        let want: f64 = scores.iter().map(|s| (*s as f64).exp() * *s as f64).sum::<f64>() / total;
        assert!(((value / running.sum()) as f64 - want).abs() < 1e-5);
    }
}
