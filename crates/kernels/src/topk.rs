//! Deterministic top-k: higher score first, then lower position.

use std::cell::RefCell;

thread_local! {
    /// Keys of all scores, then of the candidates; kept between calls.
    static KEYS: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// Writes the `k` positions with the highest scores into `out`, ascending. Ties go to the lower
/// position; NaN counts as the lowest score. With at most `k` scores, all positions are written.
pub(crate) fn top_k(scores: &[f32], k: usize, out: &mut Vec<u32>) {
    out.clear();
    if scores.len() <= k {
        out.extend(0..scores.len() as u32);
        return;
    }
    if k == 0 {
        return;
    }
    KEYS.with_borrow_mut(|(keys, candidates)| {
        keys.clear();
        keys.extend(scores.iter().map(|score| sortable_key(*score)));
        let threshold = kth_largest(keys, k, candidates);
        let mut wanted = k - keys.iter().filter(|key| **key > threshold).count();
        // `wanted` of the positions that tie with the k-th are taken, the lowest first.
        for (position, key) in keys.iter().enumerate() {
            if *key >= threshold && (*key > threshold || wanted > 0) {
                wanted -= usize::from(*key == threshold);
                out.push(position as u32);
            }
        }
    });
}

/// The `k`th largest key. Counting finds its first 11 bits, a selection among the few keys that
/// share them finds the rest.
fn kth_largest(keys: &[u32], k: usize, candidates: &mut Vec<u32>) -> u32 {
    const SHIFT: u32 = 21;
    // Neighbouring keys are often equal: with two tables an increment does not wait for
    // the previous one.
    let mut counts = [[0u32; 1 << (32 - SHIFT)]; 2];
    for keys in keys.chunks(2) {
        keys.iter().zip(&mut counts).for_each(|(key, counts)| counts[(key >> SHIFT) as usize] += 1);
    }
    let count = |digit: usize| (counts[0][digit] + counts[1][digit]) as usize;
    let mut digit = counts[0].len() - 1;
    let mut wanted = k;
    while count(digit) < wanted {
        wanted -= count(digit);
        digit -= 1;
    }
    // A branch would be mispredicted for many keys, so each key is written, and the next one
    // overwrites it unless it is a candidate.
    candidates.resize(count(digit) + 1, 0);
    let mut kept = 0;
    for key in keys {
        candidates[kept] = *key;
        kept += usize::from((key >> SHIFT) as usize == digit);
    }
    *candidates[..kept].select_nth_unstable_by(wanted - 1, |a, b| b.cmp(a)).1
}

/// A key whose unsigned order is that of the floats; +0 and -0 are equal, NaN is lowest.
fn sortable_key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    let key = bits ^ ((bits as i32 >> 31) as u32 | 0x8000_0000);
    if score.is_nan() { 0 } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lowest_position() {
        let mut out = Vec::new();
        top_k(&[1.0, 0.0, -0.0, 2.0, 0.0, f32::NAN, -1.0], 4, &mut out);
        assert_eq!(out, [0, 1, 2, 3]);
        top_k(&[f32::NAN; 5], 2, &mut out);
        assert_eq!(out, [0, 1]);
    }

    proptest! {
        #[test]
        fn it_equals_a_sort(scores in proptest::collection::vec(
            prop_oneof![(-4i8..4).prop_map(|v| v as f32 / 2.0), proptest::num::f32::NORMAL], 0..200), k in 0usize..64) {
            let mut order: Vec<u32> = (0..scores.len() as u32).collect();
            order.sort_by(|a, b| scores[*b as usize].partial_cmp(&scores[*a as usize]).unwrap().then(a.cmp(b)));
            order.truncate(k);
            order.sort_unstable();
            let mut out = Vec::new();
            top_k(&scores, k, &mut out);
            prop_assert_eq!(out, order);
        }
    }
}
