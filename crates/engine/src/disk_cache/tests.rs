use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::page_allocator::PAGE_ROWS;

const PAGE_BYTES: usize = 100;

fn options(folder: &Path, pages: u64) -> DiskCacheOptions {
    let file = page_file::encode(&[0; 32], &[0; 32], &[0; PAGE_BYTES]).len() as u64;
    DiskCacheOptions { folder: folder.join("prefix"), max_bytes: pages * file, fingerprint: [7; 32] }
}

fn open(folder: &Path, pages: u64) -> DiskCache {
    DiskCache::open(&options(folder, pages), PAGE_BYTES).expect("a folder of our own")
}

fn rows(seed: usize) -> Vec<u8> {
    (0..PAGE_BYTES).map(|at| (at * 31 + seed) as u8).collect()
}

/// Keys of `n` pages of a conversation.
fn keys(disk: &DiskCache, seed: u32, n: usize) -> Vec<(PageKey, PageKey)> {
    let tokens: Vec<u32> = (0..n * PAGE_ROWS).map(|at| at as u32 + seed).collect();
    let mut chain = PageKeyChain::new(disk.root_key(&None));
    (0..n).map(|index| chain.key(index, &tokens)).collect()
}

/// Writes a conversation and waits until it is on disk.
fn write(disk: &DiskCache, seed: u32, n: usize) -> Vec<PageKey> {
    let keys = keys(disk, seed, n);
    for (index, (key, parent)) in keys.iter().enumerate() {
        disk.store(*key, *parent, || rows(index));
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !disk.shared.index().contains(&keys[n - 1].0) {
        assert!(Instant::now() < deadline, "the page is never written");
        std::thread::sleep(Duration::from_millis(1));
    }
    keys.into_iter().map(|(key, _)| key).collect()
}

fn read(disk: &DiskCache, keys: &[PageKey]) -> Vec<Vec<u8>> {
    disk.fetch(keys.to_vec()).map(|pages| pages.iter().collect()).unwrap_or_default()
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("prefix")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names.retain(|name| name != "lock");
    names
}

#[test]
fn pages_survive_a_restart_and_are_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path(), 10);
    let keys = write(&disk, 0, 3);
    disk.store(keys[1], keys[0], || panic!("it is there already"));
    drop(disk);
    let disk = open(folder.path(), 10);
    assert_eq!(read(&disk, &keys), [rows(0), rows(1), rows(2)]);
    assert_eq!(files(folder.path()).len(), 3);
}

#[test]
fn another_cache_scope_fingerprint_or_prefix_is_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path(), 10);
    let roots = [None, Some("".into()), Some("a".into())].map(|salt: CacheScope| disk.root_key(&salt));
    assert!(roots[0] != roots[1] && roots[1] != roots[2]);
    assert_ne!(keys(&disk, 0, 2)[1].0, keys(&disk, 1, 2)[1].0);
    let mut other = open(&folder.path().join("other"), 10);
    other.fingerprint = [8; 32];
    assert_ne!(other.root_key(&None), disk.root_key(&None));
}

#[test]
fn the_bound_holds_and_chains_lose_their_end_first() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path(), 4);
    let first = write(&disk, 0, 3);
    let second = write(&disk, 1000, 3);
    assert_eq!(files(folder.path()).len(), 4);
    assert_eq!((read(&disk, &first).len(), read(&disk, &second).len()), (1, 3));
    drop(disk);
    let disk = open(folder.path(), 2);
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!((read(&disk, &first).len(), read(&disk, &second).len()), (0, 2));
}

#[test]
fn the_second_process_in_a_folder_runs_without_a_disk_cache() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path(), 4);
    assert!(DiskCache::open(&options(folder.path(), 4), PAGE_BYTES).is_none());
}

#[test]
fn a_folder_that_cannot_be_used_disables_the_disk_cache() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("prefix"), "a file").unwrap();
    assert!(DiskCache::open(&options(folder.path(), 4), PAGE_BYTES).is_none());
}

#[test]
fn temporary_files_are_removed_and_other_files_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let keys = write(&open(folder.path(), 4), 0, 1);
    let prefix = folder.path().join("prefix");
    fs::write(prefix.join(page_file::temporary_name(&[3; 32])), "half").unwrap();
    fs::write(prefix.join(page_file::file_name(&[4; 32])), "no page").unwrap();
    fs::write(prefix.join("notes.txt"), "mine").unwrap();
    fs::write(prefix.join("abc.page"), "mine too").unwrap();
    let disk = open(folder.path(), 4);
    let mut left = [page_file::file_name(&keys[0]), "abc.page".into(), "notes.txt".into()];
    left.sort();
    assert_eq!(files(folder.path()), left);
    assert_eq!(read(&disk, &keys).len(), 1);
}

#[test]
fn a_page_under_another_pages_name_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path(), 4);
    let keys = write(&disk, 0, 2);
    fs::copy(disk.shared.path(&keys[1]), disk.shared.path(&keys[0])).unwrap();
    assert!(read(&disk, &keys).is_empty());
    assert_eq!(files(folder.path()), [page_file::file_name(&keys[1])]);
}

proptest! {
    #[test]
    fn every_damage_is_detected(cut in 0usize..300, flip in 0usize..300, bit in 0u8..8) {
        let (key, parent) = ([1; 32], [2; 32]);
        let whole = page_file::encode(&key, &parent, &rows(0));
        prop_assert_eq!(page_file::decode(whole.clone(), &key, PAGE_BYTES), Some(rows(0)));
        if cut < whole.len() {
            prop_assert_eq!(page_file::decode(whole[..cut].to_vec(), &key, PAGE_BYTES), None);
        }
        let mut flipped = whole.clone();
        let at = flip % whole.len();
        flipped[at] ^= 1 << bit;
        prop_assert_eq!(page_file::decode(flipped, &key, PAGE_BYTES), None);
        let longer = [whole.as_slice(), &[0]].concat();
        prop_assert_eq!(page_file::decode(longer, &key, PAGE_BYTES), None);
        prop_assert_eq!(page_file::decode(whole, &parent, PAGE_BYTES), None);
    }
}

#[cfg(unix)]
#[test]
fn files_are_private_to_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let disk = open(folder.path(), 4);
    let keys = write(&disk, 0, 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.path().join("prefix")), mode(&disk.shared.path(&keys[0]))), (0o700, 0o600));
}
