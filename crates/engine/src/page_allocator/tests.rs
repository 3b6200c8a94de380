use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const P: usize = PAGE_ROWS;

/// `n` tokens of a sequence that depends on `seed`.
fn tokens(seed: u32, n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| seed * 1_000_000 + i).collect()
}

/// Allocates and publishes the pages of a sequence, as if all its tokens were computed.
fn publish_sequence(pages: &mut PageAllocator, cache_scope: Option<&str>, tokens: &[u32]) -> PageTable {
    let mut table = PageTable::new(cache_scope.map(Into::into));
    pages.match_prefix(&mut table, tokens, 0);
    assert!(pages.ensure_capacity(&mut table, tokens.len()));
    pages.publish(&mut table, tokens, tokens.len());
    table
}

fn matched_tokens(pages: &mut PageAllocator, cache_scope: Option<&str>, tokens: &[u32]) -> usize {
    let mut table = PageTable::new(cache_scope.map(Into::into));
    let found = pages.match_prefix(&mut table, tokens, 0);
    pages.release(&mut table);
    found
}

#[test]
fn a_prefix_is_found_in_whole_pages_and_one_token_is_always_left() {
    let mut pages = PageAllocator::new(8);
    let mut table = publish_sequence(&mut pages, None, &tokens(1, 3 * P + 5));
    assert_eq!((pages.used(), pages.cached()), (4, 0));
    pages.release(&mut table);
    assert_eq!((pages.used(), pages.cached(), pages.available()), (0, 3, 8));

    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 3 * P + 5)), 3 * P);
    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 3 * P)), 2 * P);
    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 3 * P + 1)), 3 * P);
    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 40)), 0);
    assert_eq!(matched_tokens(&mut pages, None, &tokens(2, 3 * P)), 0);
    assert_eq!(matched_tokens(&mut pages, None, &[]), 0);
}

#[test]
fn the_same_tokens_after_another_beginning_are_another_prefix() {
    let mut pages = PageAllocator::new(8);
    let mut table = publish_sequence(&mut pages, None, &tokens(1, 2 * P));
    pages.release(&mut table);
    let mut other = tokens(2, P);
    other.extend(&tokens(1, 2 * P)[P..]);
    other.push(0);
    assert_eq!(matched_tokens(&mut pages, None, &other), 0);
}

#[test]
fn callers_with_different_cache_scopes_share_nothing() {
    let mut pages = PageAllocator::new(8);
    let mut table = publish_sequence(&mut pages, Some("alice"), &tokens(1, 2 * P));
    pages.release(&mut table);
    assert_eq!(matched_tokens(&mut pages, Some("bob"), &tokens(1, 2 * P)), 0);
    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 2 * P)), 0);
    assert_eq!(matched_tokens(&mut pages, Some("alice"), &tokens(1, 2 * P)), P);
}

#[test]
fn two_sequences_with_one_beginning_end_up_on_the_same_pages() {
    let mut pages = PageAllocator::new(8);
    let text = tokens(1, 2 * P + 3);
    let (mut first, mut second) = (PageTable::default(), PageTable::default());
    for table in [&mut first, &mut second] {
        assert_eq!(pages.match_prefix(table, &text, 0), 0);
        assert!(pages.ensure_capacity(table, text.len()));
    }
    assert_eq!(pages.used(), 6);
    for table in [&mut first, &mut second] {
        pages.publish(table, &text, text.len());
    }
    assert_eq!(first.pages()[..2], second.pages()[..2]);
    assert_ne!(first.pages()[2], second.pages()[2]);
    assert_eq!(pages.used(), 4);
}

#[test]
fn what_somebody_else_publishes_meanwhile_is_taken_over_from_anywhere_in_a_page() {
    let mut pages = PageAllocator::new(16);
    let text = tokens(1, 4 * P + 3);
    let mut slow = PageTable::default();
    assert!(pages.ensure_capacity(&mut slow, text.len()));
    pages.publish(&mut slow, &text, P + 10);
    let mut fast = publish_sequence(&mut pages, None, &text);
    assert_eq!(pages.used(), 5 + 4);
    assert_eq!(pages.match_prefix(&mut slow, &text, P + 10), 4 * P);
    assert_eq!((slow.pages()[..4] == fast.pages()[..4], slow.pages().len(), pages.used()), (true, 5, 6));
    pages.release(&mut fast);
    pages.release(&mut slow);
    assert_eq!((pages.used(), pages.cached()), (0, 4));
}

#[test]
fn the_end_of_the_least_recently_used_prefix_is_forgotten_first() {
    let mut pages = PageAllocator::new(4);
    for seed in [1, 2] {
        let mut table = publish_sequence(&mut pages, None, &tokens(seed, 2 * P));
        pages.release(&mut table);
    }
    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 2 * P + 1)), 2 * P);
    let mut table = publish_sequence(&mut pages, None, &tokens(3, 1));
    assert_eq!(matched_tokens(&mut pages, None, &tokens(2, 2 * P + 1)), P);
    assert_eq!(matched_tokens(&mut pages, None, &tokens(1, 2 * P + 1)), 2 * P);
    pages.release(&mut table);
}

#[test]
fn a_table_that_cannot_grow_says_so_and_keeps_what_it_has() {
    let mut pages = PageAllocator::new(3);
    let mut first = publish_sequence(&mut pages, None, &tokens(1, 2 * P));
    let mut second = PageTable::default();
    assert!(!pages.ensure_capacity(&mut second, 2 * P));
    assert_eq!((second.capacity(), pages.available()), (P, 0));
    pages.release(&mut second);
    pages.release(&mut first);
    assert_eq!(pages.available(), 3);
}

#[derive(Clone, Debug)]
enum Op {
    Begin { seed: u32, len: usize, scoped: bool },
    Compute { at: usize, by: usize },
    Extend { at: usize, by: usize },
    Match { at: usize },
    End { at: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..3u32, 1..5 * P, any::<bool>()).prop_map(|(seed, len, scoped)| Op::Begin { seed, len, scoped }),
        (any::<usize>(), 1..3 * P).prop_map(|(at, by)| Op::Compute { at, by }),
        (any::<usize>(), 1..P).prop_map(|(at, by)| Op::Extend { at, by }),
        any::<usize>().prop_map(|at| Op::Match { at }),
        any::<usize>().prop_map(|at| Op::End { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// After any operations every page is allocated, cached or free, an unpublished page has at
    /// most one holder, and pages do not leak.
    #[test]
    fn every_page_is_somewhere(ops in prop::collection::vec(op(), 1..60)) {
        let mut pages = PageAllocator::new(12);
        let mut running: Vec<(Vec<u32>, usize, PageTable)> = Vec::new();
        for op in ops {
            match op {
                Op::Begin { seed, len, scoped } => {
                    let mut table = PageTable::new(scoped.then(|| "scope".into()));
                    let computed = pages.match_prefix(&mut table, &tokens(seed, len), 0);
                    prop_assert!(computed < len && computed.is_multiple_of(P));
                    running.push((tokens(seed, len), computed, table));
                }
                Op::Compute { at, by } if !running.is_empty() => {
                    let at = at % running.len();
                    let (tokens, computed, table) = &mut running[at];
                    pages.ensure_capacity(table, (*computed + by).min(tokens.len()));
                    *computed = (*computed + by).min(tokens.len()).min(table.capacity());
                    pages.publish(table, tokens, *computed);
                }
                Op::Extend { at, by } if !running.is_empty() => {
                    let at = at % running.len();
                    running[at].0.extend(tokens(9, by));
                }
                Op::Match { at } if !running.is_empty() => {
                    let at = at % running.len();
                    let (tokens, computed, table) = &mut running[at];
                    let found = pages.match_prefix(table, tokens, *computed);
                    prop_assert!(found >= *computed && found < tokens.len().max(*computed + 1));
                    *computed = found;
                }
                Op::End { at } if !running.is_empty() => {
                    let at = at % running.len();
                    pages.release(&mut running.swap_remove(at).2);
                }
                _ => {}
            }
            let held: Vec<u32> = running.iter().flat_map(|(_, _, table)| table.pages()).copied().collect();
            let distinct: HashSet<u32> = held.iter().copied().collect();
            prop_assert_eq!(pages.used(), distinct.len());
            prop_assert_eq!(pages.used() + pages.cached() + pages.free.len(), pages.total());
            prop_assert_eq!(held.len() as u32, pages.pages.iter().map(|page| page.ref_count).sum::<u32>());
            prop_assert_eq!(pages.index.len(), pages.pages.iter().filter(|page| page.prefix.is_some()).count());
            for (tokens, computed, table) in &running {
                prop_assert_eq!(table.published, computed / P);
                for &page in &table.pages()[table.published..] {
                    prop_assert_eq!(pages.pages[page as usize].ref_count, 1);
                }
                for (index, &page) in table.pages()[..table.published].iter().enumerate() {
                    let held = &pages.pages[page as usize].prefix.as_ref().unwrap().tokens;
                    prop_assert_eq!(&held[..], &tokens[index * P..][..P]);
                }
            }
        }
        for (_, _, mut table) in running {
            pages.release(&mut table);
        }
        prop_assert_eq!(pages.used(), 0);
        prop_assert_eq!(pages.available(), pages.total());
    }
}
