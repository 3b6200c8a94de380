//! Sampling: penalties, bias, temperature, min-p, top-k, top-p, and a draw whose randomness is a
//! function of seed and position, so that other requests in the batch never change an answer.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::HashMap;

use chat::Sampling;

use crate::repetition_penalty::RepetitionPenalty;
use crate::sampling_defaults::SamplingDefaults;

/// The lower bound of the reference; smaller temperatures are greedy anyway (`docs/model.md`
/// section 9).
const MIN_TEMPERATURE: f32 = 1e-5;

/// The sampling parameters and the state of one answer.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f64,
    /// Number of likeliest tokens to draw from; `None`: all.
    top_k: Option<usize>,
    /// Least weight of a token to draw, relative to that of the likeliest one.
    min_p: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    repetition_penalty: Option<RepetitionPenalty>,
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
    /// Candidates of top-k and top-p.
    candidates: Vec<u32>,
}

/// The tokens from which the next one is chosen.
#[derive(Clone, Copy, Default)]
pub(crate) struct TokenFilter<'a> {
    /// Whether the request's `logit_bias` applies.
    pub(crate) apply_bias: bool,
    /// A token whose weight is added to that of the second one.
    pub(crate) redirect: Option<(u32, u32)>,
    /// Forbidden tokens, unless they are in `allowed`.
    pub(crate) banned: &'a [u32],
    /// Exceptions from `banned`; a few.
    pub(crate) allowed: &'a [u32],
    /// One bit per token, set if it is allowed; `None`: every token is.
    pub(crate) mask: Option<&'a [u32]>,
}

impl Sampler {
    /// `defaults` and `seed` apply where the request names no value. `vocab` is the number of ids
    /// of the tokenizer.
    pub(crate) fn new(sampling: &Sampling, defaults: &SamplingDefaults, seed: u64, vocab: usize) -> Self {
        Self {
            temperature: sampling.temperature.or(defaults.temperature).unwrap_or(1.0) as f32,
            top_p: sampling.top_p.or(defaults.top_p).unwrap_or(1.0),
            top_k: match sampling.top_k {
                Some(top_k) => usize::try_from(top_k).ok().filter(|&top_k| top_k > 0),
                None => defaults.top_k,
            },
            min_p: sampling.min_p.unwrap_or(0.0) as f32,
            presence_penalty: sampling.presence_penalty.unwrap_or(0.0) as f32,
            frequency_penalty: sampling.frequency_penalty.unwrap_or(0.0) as f32,
            repetition_penalty: None,
            seed: sampling.seed.map_or(seed, |seed| seed as u64),
            bias: sampling.logit_bias.iter().map(|&(token, bias)| (token, bias as f32)).collect(),
            vocab,
            counts: HashMap::new(),
            sampled: 0,
            scratch: Vec::new(),
            candidates: Vec::new(),
        }
    }

    /// Penalizes repetitions as well: of the tokens of the prompt, and of those sampled.
    pub(crate) fn with_repetition_penalty(mut self, penalty: Option<RepetitionPenalty>) -> Self {
        self.repetition_penalty = penalty;
        self
    }

    /// Samples the next token of the answer. `None` when no allowed token has a finite logit,
    /// because the output of the model is invalid.
    pub(crate) fn sample(&mut self, logits: &[f32], filter: TokenFilter<'_>) -> Option<u32> {
        self.adjust_logits(logits, filter);
        let best = argmax(&self.scratch)?;
        let token = if self.temperature == 0.0 { best } else { self.draw(best) };
        *self.counts.entry(token).or_default() += 1;
        if let Some(penalty) = &mut self.repetition_penalty {
            penalty.record(token);
        }
        self.sampled += 1;
        Some(token)
    }

    /// Leaves the adjusted logits in `scratch`. Penalties as OpenAI defines them: `presence` once
    /// per token, `frequency` per occurrence.
    fn adjust_logits(&mut self, logits: &[f32], filter: TokenFilter<'_>) {
        self.scratch.clear();
        self.scratch.extend_from_slice(&logits[..self.vocab.min(logits.len())]);
        if let Some(penalty) = &self.repetition_penalty {
            penalty.apply(&mut self.scratch);
        }
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
        if let Some((from, to)) = filter.redirect {
            let taken = self.scratch.get(from as usize).copied().unwrap_or(f32::NEG_INFINITY);
            if let Some(logit) = self.scratch.get_mut(to as usize) {
                *logit = log_add_exp(*logit, taken);
            }
        }
        for &token in filter.banned.iter().filter(|token| !filter.allowed.contains(token)) {
            if let Some(logit) = self.scratch.get_mut(token as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        if let Some(mask) = filter.mask {
            apply_mask(&mut self.scratch, mask);
        }
    }

    /// Draws one of the `top_k` likeliest tokens, and of these from the smallest set of likeliest
    /// ones whose probability reaches `top_p`.
    fn draw(&mut self, best: u32) -> u32 {
        let mut sum = self.weigh(best);
        let uniform = uniform(self.seed, self.sampled);
        let weights = &self.scratch;
        match self.top_k {
            Some(top_k) => keep_greatest(weights, top_k, &mut self.candidates),
            None if self.top_p >= 1.0 => {
                let ids = 0..weights.len() as u32;
                return inverse_cdf(ids, weights, uniform * sum).unwrap_or(best);
            }
            None => {
                // All tokens below this weight together have less than `1 - top_p`, so none of them
                // is in the set, and only the others are sorted.
                let min_weight = sum * (1.0 - self.top_p) / weights.len() as f64;
                self.candidates.clear();
                self.candidates
                    .extend((0..weights.len() as u32).filter(|&id| f64::from(weights[id as usize]) >= min_weight));
            }
        }
        self.candidates.sort_unstable_by(|&a, &b| likelier_first(weights, a, b));
        if self.top_k.is_some() {
            sum = self.candidates.iter().map(|&id| f64::from(weights[id as usize])).sum();
        }
        let mut kept = 0.0;
        let mut n = 0;
        while n < self.candidates.len() && (n == 0 || kept < self.top_p * sum) {
            kept += f64::from(weights[self.candidates[n] as usize]);
            n += 1;
        }
        inverse_cdf(self.candidates[..n].iter().copied(), weights, uniform * kept).unwrap_or(best)
    }

    /// Replaces the adjusted logits by weights, relative to the weight 1 of `best`. Returns their
    /// sum.
    fn weigh(&mut self, best: u32) -> f64 {
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
            *logit = if weight.is_finite() && weight >= self.min_p { weight } else { 0.0 };
            sum += f64::from(*logit);
        }
        sum
    }
}

/// The logarithm of the sum of the exponentials.
fn log_add_exp(a: f32, b: f32) -> f32 {
    let greater = a.max(b);
    if greater.is_finite() { greater + ((a - greater).exp() + (b - greater).exp()).ln() } else { greater }
}

/// The order of likelihood; the lower id comes first among equals.
fn likelier_first(weights: &[f32], a: u32, b: u32) -> Ordering {
    weights[b as usize].total_cmp(&weights[a as usize]).then(a.cmp(&b))
}

/// Collects the ids of the `k` greatest weights, unordered; of equal ones the lower ids. Weights of
/// 0 are left out.
fn keep_greatest(weights: &[f32], k: usize, ids: &mut Vec<u32>) {
    ids.clear();
    // The weight that an id must exceed to be among the `k` greatest.
    let mut floor = 0.0;
    let capacity = 2 * k + 64;
    for (id, &weight) in weights.iter().enumerate() {
        if weight > floor {
            ids.push(id as u32);
            if ids.len() == capacity {
                ids.select_nth_unstable_by(k - 1, |&a, &b| likelier_first(weights, a, b));
                floor = weights[ids[k - 1] as usize];
                ids.truncate(k);
            }
        }
    }
    if ids.len() > k {
        ids.select_nth_unstable_by(k - 1, |&a, &b| likelier_first(weights, a, b));
        ids.truncate(k);
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
