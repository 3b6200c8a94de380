//! Deterministic top-k: higher score first, then lower position.

/// Writes the `k` positions with the highest scores into `out`, ascending. Ties go to the lower position; NaN counts as the
/// lowest score. All positions when there are at most `k`.
pub(crate) fn top_k(scores: &[f32], k: usize, out: &mut Vec<u32>) {
    out.clear();
    if scores.len() <= k {
        out.extend(0..scores.len() as u32);
        return;
    }
    if k == 0 {
        return;
    }
    // Radix selection of the k-th largest key, 11 bits at a time: three passes, whatever the values.
    let (mut prefix, mut mask, mut wanted) = (0u32, 0u32, k);
    for (shift, bits) in [(21, 11), (10, 11), (0, 10)] {
        let mut counts = [0usize; 2048];
        for key in scores.iter().map(|s| key(*s)).filter(|key| key & mask == prefix) {
            counts[(key >> shift & ((1 << bits) - 1)) as usize] += 1;
        }
        let mut digit = (1usize << bits) - 1;
        while counts[digit] < wanted {
            wanted -= counts[digit];
            digit -= 1;
        }
        prefix |= (digit as u32) << shift;
        mask |= ((1 << bits) - 1) << shift;
    }
    // `wanted` of the positions that tie with the k-th are taken, the lowest first.
    for (position, score) in scores.iter().enumerate() {
        let key = key(*score);
        if key > prefix || (key == prefix && wanted > 0) {
            wanted -= usize::from(key == prefix);
            out.push(position as u32);
        }
    }
}

/// A key whose unsigned order is the order of the floats; +0 and -0 are equal, NaN is lowest.
fn key(score: f32) -> u32 {
    if score.is_nan() {
        return 0;
    }
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
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
