//! Sampling: penalties, bias, temperature, top-p, and a draw whose randomness is a function of seed
//! and position, so that other requests in the batch never change an answer.

use std::collections::HashMap;

use chat::Sampling;

/// The lower bound of the reference; smaller temperatures are greedy anyway (`docs/model.md`
/// section 9).
const MIN_TEMPERATURE: f32 = 1e-5;

/// The sampling parameters and the state of one answer.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f64,
    presence_penalty: f32,
    frequency_penalty: f32,
    seed: u64,
    /// Added to logits if [`TokenFilter::apply_bias`].
    bias: Vec<(u32, f32)>,
    /// Number of token ids of the tokenizer; the logits may be wider.
    vocab: usize,
    /// Number of times each token was sampled.
    counts: HashMap<u32, u32>,
    /// Number of sampled tokens.
    sampled: u64,
    /// Adjusted logits, then weights.
    scratch: Vec<f32>,
    /// Candidates of top-p, likeliest first.
    nucleus: Vec<u32>,
}

/// The tokens from which the next one is chosen.
#[derive(Clone, Copy, Default)]
pub(crate) struct TokenFilter<'a> {
    /// Whether the request's `logit_bias` applies.
    pub(crate) apply_bias: bool,
    /// Forbidden tokens.
    pub(crate) banned: &'a [u32],
    /// One bit per token, set if it is allowed; `None`: every token is.
    pub(crate) mask: Option<&'a [u32]>,
}

impl Sampler {
    /// `seed` is used if the request has none. `vocab` is the number of ids of the tokenizer.
    pub(crate) fn new(sampling: &Sampling, seed: u64, vocab: usize) -> Self {
        Self {
            temperature: sampling.temperature.unwrap_or(1.0) as f32,
            top_p: sampling.top_p.unwrap_or(1.0),
            presence_penalty: sampling.presence_penalty.unwrap_or(0.0) as f32,
            frequency_penalty: sampling.frequency_penalty.unwrap_or(0.0) as f32,
            seed: sampling.seed.map_or(seed, |seed| seed as u64),
            bias: sampling.logit_bias.iter().map(|&(token, bias)| (token, bias as f32)).collect(),
            vocab,
            counts: HashMap::new(),
            sampled: 0,
            scratch: Vec::new(),
            nucleus: Vec::new(),
        }
    }

    /// Samples the next token of the answer. `None` when no allowed token has a finite logit,
    /// because the output of the model is invalid.
    pub(crate) fn sample(&mut self, logits: &[f32], filter: TokenFilter<'_>) -> Option<u32> {
        self.adjust_logits(logits, filter);
        let best = argmax(&self.scratch)?;
        let token = if self.temperature == 0.0 { best } else { self.sample_top_p(best) };
        *self.counts.entry(token).or_default() += 1;
        self.sampled += 1;
        Some(token)
    }

    /// Leaves the adjusted logits in `scratch`. Penalties as OpenAI defines them: `presence` once
    /// per token, `frequency` per occurrence.
    fn adjust_logits(&mut self, logits: &[f32], filter: TokenFilter<'_>) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&logits[..self.vocab.min(logits.len())]);
        if self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 {
            for (&token, &count) in &self.counts {
                self.scratch[token as usize] -= self.presence_penalty + self.frequency_penalty * count as f32;
            }
        }
        for &(token, bias) in self.bias.iter().filter(|_| filter.apply_bias) {
            if let Some(logit) = self.scratch.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for &token in filter.banned {
            if let Some(logit) = self.scratch.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        if let Some(mask) = filter.mask {
            apply_mask(&mut self.scratch, mask);
        }
    }

    /// Samples from the smallest set of likeliest tokens whose probability reaches `top_p`.
    fn sample_top_p(&mut self, best: u32) -> u32 {
        let temperature = self.temperature.max(MIN_TEMPERATURE);
        let max = self.scratch[best as usize];
        let mut sum = 0.0;
        for logit in &mut self.scratch {
            // With a mask this is the case of nearly all tokens, and the exponential of infinity is
            // slow.
            if *logit == f32::NEG_INFINITY {
                *logit = 0.0;
                continue;
            }
            let weight = ((*logit - max) / temperature).exp();
            *logit = if weight.is_finite() { weight } else { 0.0 };
            sum += f64::from(*logit);
        }
        let uniform = uniform(self.seed, self.sampled);
        if self.top_p >= 1.0 {
            let ids = 0..self.scratch.len() as u32;
            return inverse_cdf(ids, &self.scratch, uniform * sum).unwrap_or(best);
        }
        // All tokens below this weight together have less than `1 - top_p`, so none of them is in
        // the set, and only the others are sorted.
        let min_weight = sum * (1.0 - self.top_p) / self.scratch.len() as f64;
        let weights = &self.scratch;
        self.nucleus.clear();
        self.nucleus.extend((0..weights.len() as u32).filter(|&id| f64::from(weights[id as usize]) >= min_weight));
        self.nucleus.sort_unstable_by(|&a, &b| weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b)));
        let mut kept = 0.0;
        let mut n = 0;
        while n < self.nucleus.len() && (n == 0 || kept < self.top_p * sum) {
            kept += f64::from(weights[self.nucleus[n] as usize]);
            n += 1;
        }
        inverse_cdf(self.nucleus[..n].iter().copied(), weights, uniform * kept).unwrap_or(best)
    }
}

/// Sets the logits whose bit is not set to negative infinity.
fn apply_mask(logits: &mut [f32], mask: &[u32]) {
    for (index, logits) in logits.chunks_mut(32).enumerate() {
        let bits = mask.get(index).copied().unwrap_or(0);
        if bits == u32::MAX {
            continue;
        }
        for (_, logit) in logits.iter_mut().enumerate().filter(|(bit, _)| bits >> bit & 1 == 0) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Inverse transform sampling: the first token at which the cumulative weight exceeds `target`.
fn inverse_cdf(ids: impl Iterator<Item = u32>, weights: &[f32], target: f64) -> Option<u32> {
    let mut last = None;
    let mut sum = 0.0;
    for id in ids.filter(|&id| weights[id as usize] > 0.0) {
        sum += f64::from(weights[id as usize]);
        last = Some(id);
        if sum > target {
            break;
        }
    }
    last
}

/// The token with the greatest finite logit; the lowest id wins a tie.
fn argmax(logits: &[f32]) -> Option<u32> {
    let mut best: Option<usize> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|best| logit > logits[best]) {
            best = Some(id);
        }
    }
    best.map(|id| id as u32)
}

/// A number in `[0, 1)` that depends only on `seed` and `position`: the SplitMix64 generator,
/// started at a mix of both.
fn uniform(seed: u64, position: u64) -> f64 {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let bits = mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(position.wrapping_add(1).wrapping_mul(GOLDEN)));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [0.0, 2.0, 1.0, 3.0, -1.0, 9.0];

    const UNFILTERED: TokenFilter<'static> = TokenFilter { apply_bias: true, banned: &[], mask: None };

    /// The last of the six logits has no token.
    fn sampler(sampling: Sampling) -> Sampler {
        Sampler::new(&sampling, 7, 5)
    }

    fn samples(sampling: Sampling, n: usize) -> Vec<u32> {
        let mut sampler = sampler(sampling);
        (0..n).map(|_| sampler.sample(&LOGITS, UNFILTERED).unwrap()).collect()
    }

    fn greedy() -> Sampling {
        Sampling { temperature: Some(0.0), ..Sampling::default() }
    }

    #[test]
    fn greedy_takes_the_likeliest_token_that_exists_and_the_lowest_of_equals() {
        assert_eq!(samples(greedy(), 2), [3, 3]);
        assert_eq!(sampler(greedy()).sample(&[1.0; 6], UNFILTERED), Some(0));
    }

    #[test]
    fn draws_follow_the_probabilities_and_ids_without_a_token_are_never_drawn() {
        let n = 20_000;
        let picks = samples(Sampling::default(), n);
        let sum: f64 = LOGITS[..5].iter().map(|&logit| f64::from(logit).exp()).sum();
        for id in 0..5 {
            let share = picks.iter().filter(|&&pick| pick == id).count() as f64 / n as f64;
            let want = f64::from(LOGITS[id as usize]).exp() / sum;
            assert!((share - want).abs() < 0.02, "{id}: {share} instead of {want}");
        }
        assert!(picks.iter().all(|&pick| pick < 5));
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_is_likely_enough() {
        // Probabilities: 3 has 0.634, 1 has 0.233, 2 has 0.086, 0 has 0.032.
        let drawn = |top_p| {
            let mut ids = samples(Sampling { top_p: Some(top_p), ..Sampling::default() }, 2000);
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        assert_eq!(drawn(1e-9), [3]);
        assert_eq!(drawn(0.63), [3]);
        assert_eq!(drawn(0.7), [1, 3]);
        assert_eq!(drawn(0.9), [1, 2, 3]);
        assert_eq!(drawn(1.0), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_draw_depends_on_seed_and_position_alone() {
        let seeded = |seed| Sampling { seed: Some(seed), ..Sampling::default() };
        assert_eq!(samples(seeded(1), 50), samples(seeded(1), 50));
        assert_ne!(samples(seeded(1), 50), samples(seeded(2), 50));
        assert_ne!(samples(seeded(-1), 50), samples(seeded(1), 50));
        // Other logits in between change nothing later.
        let mut other = sampler(seeded(1));
        other.sample(&[0.0; 6], UNFILTERED);
        let rest: Vec<u32> = (1..50).map(|_| other.sample(&LOGITS, UNFILTERED).unwrap()).collect();
        assert_eq!(rest, samples(seeded(1), 50)[1..]);
    }

    #[test]
    fn a_seed_means_the_same_for_ever() {
        assert_eq!(uniform(0, 0), 0.6524484863740322);
        assert_eq!(uniform(42, 1000), 0.6952598398323256);
    }

    #[test]
    fn penalties_count_what_was_drawn_before() {
        let presence = Sampling { presence_penalty: Some(1.5), ..greedy() };
        // 3 falls to 1.5, then 1 to 0.5, then nothing changes any more.
        assert_eq!(samples(presence, 4), [3, 1, 3, 3]);
        let frequency = Sampling { frequency_penalty: Some(0.6), ..greedy() };
        // 3 falls to 2.4, then to 1.8; then 1 to 1.4.
        assert_eq!(samples(frequency, 4), [3, 3, 1, 3]);
    }

    #[test]
    fn bias_and_ban_move_single_tokens() {
        let biased = Sampling { logit_bias: vec![(4, 100.0), (3, -100.0)], ..greedy() };
        assert_eq!(samples(biased.clone(), 1), [4]);
        assert_eq!(sampler(biased).sample(&LOGITS, TokenFilter::default()), Some(3));
        assert_eq!(sampler(greedy()).sample(&LOGITS, TokenFilter { banned: &[3, 99], ..UNFILTERED }), Some(1));
    }

    #[test]
    fn only_tokens_of_the_mask_are_drawn() {
        let picked = |bits: u32| sampler(greedy()).sample(&LOGITS, TokenFilter { mask: Some(&[bits]), ..UNFILTERED });
        assert_eq!((picked(0b10111), picked(0b10000), picked(u32::MAX), picked(0)), (Some(1), Some(4), Some(3), None));
        let mut long = vec![0.0; 70];
        apply_mask(&mut long, &[0, 1 << 31]);
        let kept: Vec<usize> = (0..70).filter(|&id| long[id].is_finite()).collect();
        assert_eq!(kept, [63]);
    }

    #[test]
    fn nonsense_of_the_model_is_noticed_and_single_bad_logits_are_passed_over() {
        assert_eq!(sampler(Sampling::default()).sample(&[f32::NAN; 6], UNFILTERED), None);
        for sampling in [greedy(), Sampling::default()] {
            let logits = [f32::NAN, f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, f32::NAN, 0.0];
            assert_eq!(sampler(sampling).sample(&logits, UNFILTERED), Some(2));
        }
    }
}
