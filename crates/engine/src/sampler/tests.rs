//! Draws, penalties and filters over six logits.

use super::*;

const LOGITS: [f32; 6] = [0.0, 2.0, 1.0, 3.0, -1.0, 9.0];

const UNFILTERED: TokenFilter<'static> =
    TokenFilter { apply_bias: true, redirect: None, banned: &[], allowed: &[], mask: None };

/// The last of the six logits has no token.
fn sampler(sampling: Sampling) -> Sampler {
    Sampler::new(&sampling, &SamplingDefaults::default(), 7, 5)
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
fn a_redirected_token_gives_its_weight_to_another() {
    let filter = TokenFilter { redirect: Some((3, 0)), banned: &[3], ..UNFILTERED };
    // 0 has the weight of 3 besides its own, so that it wins over 1.
    assert_eq!(sampler(greedy()).sample(&LOGITS, filter), Some(0));
    let mut sampler = sampler(Sampling::default());
    let n = 20_000;
    let share = (0..n).filter(|_| sampler.sample(&LOGITS, filter) == Some(0)).count() as f64 / f64::from(n);
    assert!((share - (0.634 + 0.032)).abs() < 0.02, "{share}");
    assert_eq!(log_add_exp(f32::NEG_INFINITY, f32::NEG_INFINITY), f32::NEG_INFINITY);
    assert_eq!(log_add_exp(f32::NEG_INFINITY, 2.0), 2.0);
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
fn min_p_keeps_what_is_likely_beside_the_best_and_top_k_may_be_named() {
    let drawn = |sampling| {
        let mut ids = samples(sampling, 2000);
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    // Relative to the likeliest one: 3 has 1, 1 has 0.368, 2 has 0.135, 0 has 0.0498, 4 has 0.018.
    let min_p = |min_p| drawn(Sampling { min_p: Some(min_p), ..Sampling::default() });
    assert_eq!(min_p(0.0), [0, 1, 2, 3, 4]);
    assert_eq!(min_p(0.04), [0, 1, 2, 3]);
    assert_eq!(min_p(0.3), [1, 3]);
    assert_eq!(min_p(1.0), [3]);
    let top_k = |top_k| drawn(Sampling { top_k: Some(top_k), ..Sampling::default() });
    assert_eq!(top_k(2), [1, 3]);
    assert_eq!((top_k(0), top_k(-1)), (vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4]));
    let mut defaults = SamplingDefaults { top_k: Some(1), ..SamplingDefaults::default() };
    let mut all = Sampler::new(&Sampling { top_k: Some(0), ..Sampling::default() }, &defaults, 7, 5);
    assert!((0..100).any(|_| all.sample(&LOGITS, UNFILTERED) != Some(3)));
    defaults.top_k = None;
    let mut one = Sampler::new(&Sampling { top_k: Some(1), ..Sampling::default() }, &defaults, 7, 5);
    assert!((0..100).all(|_| one.sample(&LOGITS, UNFILTERED) == Some(3)));
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
    let banned = TokenFilter { banned: &[1, 3, 99], ..UNFILTERED };
    assert_eq!(sampler(greedy()).sample(&LOGITS, banned), Some(2));
    assert_eq!(sampler(greedy()).sample(&LOGITS, TokenFilter { allowed: &[1], ..banned }), Some(1));
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

fn with_defaults(sampling: Sampling, defaults: SamplingDefaults, n: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(&sampling, &defaults, 7, 5);
    (0..n).map(|_| sampler.sample(&LOGITS, UNFILTERED).unwrap()).collect()
}

fn distinct(mut ids: Vec<u32>) -> Vec<u32> {
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[test]
fn the_defaults_of_the_model_apply_to_what_a_request_does_not_name() {
    let cold = SamplingDefaults { temperature: Some(0.0), ..SamplingDefaults::default() };
    assert_eq!(with_defaults(Sampling::default(), cold, 3), [3, 3, 3]);
    let hot = Sampling { temperature: Some(2.0), ..Sampling::default() };
    assert_eq!(with_defaults(hot.clone(), cold, 50), samples(hot, 50));
    let narrow = SamplingDefaults { top_p: Some(0.7), ..SamplingDefaults::default() };
    assert_eq!(distinct(with_defaults(Sampling::default(), narrow, 2000)), [1, 3]);
    let wide = Sampling { top_p: Some(1.0), ..Sampling::default() };
    assert_eq!(with_defaults(wide.clone(), narrow, 50), samples(wide, 50));
}

#[test]
fn top_k_keeps_the_likeliest_and_top_p_counts_within_them() {
    let drawn = |top_k, top_p| {
        let defaults = SamplingDefaults { top_k: Some(top_k), top_p, ..SamplingDefaults::default() };
        distinct(with_defaults(Sampling::default(), defaults, 4000))
    };
    assert_eq!(drawn(1, None), [3]);
    assert_eq!(drawn(2, None), [1, 3]);
    assert_eq!(drawn(3, Some(1.0)), [1, 2, 3]);
    assert_eq!(drawn(9, None), [0, 1, 2, 3, 4]);
    // Of the two likeliest, 3 has 0.731.
    assert_eq!((drawn(2, Some(0.72)), drawn(2, Some(0.74))), (vec![3], vec![1, 3]));
    // The greatest logit has no token.
    let greedy = Sampler::new(&greedy(), &SamplingDefaults { top_k: Some(1), ..SamplingDefaults::default() }, 7, 5)
        .sample(&LOGITS, UNFILTERED);
    assert_eq!(greedy, Some(3));
}

#[test]
fn the_greatest_weights_are_those_of_a_whole_sort() {
    let weights: Vec<f32> = (0..3000_u64).map(|id| (uniform(3, id) * 50.0).floor() as f32).collect();
    let mut sorted: Vec<u32> = (0..3000).filter(|&id| weights[id as usize] > 0.0).collect();
    sorted.sort_by(|&a, &b| likelier_first(&weights, a, b));
    for k in [1, 2, 40, 64, 1000, 2900, 3000, usize::MAX / 4] {
        let mut ids = Vec::new();
        keep_greatest(&weights, k, &mut ids);
        ids.sort_by(|&a, &b| likelier_first(&weights, a, b));
        assert_eq!(ids, sorted[..k.min(sorted.len())], "{k}");
    }
}
