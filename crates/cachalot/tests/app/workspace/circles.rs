//! No import circle inside a crate: of two files, at most one needs the other.
//!
//! An import is a `use` of another file's item, or a path to it in code. A file that only declares
//! modules and re-exports their items imports nothing. A child that uses `super::Type` while its
//! parent uses the child's items is a circle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::modules::{Edge, Modules, Sources};
use super::source;

/// The one exception: imports of these files of kernels may close a circle. They are the dispatch
/// table, which names each kernel and its argument types, and kernels call other
/// kernels through it.
const DISPATCH_TABLE: [(&str, &str); 3] = [
    ("cpu.rs", "the table's type: functions over the argument types that the kernels define"),
    ("x86.rs", "chooses the table of the processor that the program runs on"),
    ("x86/avx512.rs", "the table's functions for AVX-512, which share small parts"),
];

#[test]
fn no_import_circle_inside_a_crate() {
    let mut found = Vec::new();
    for (name, sources) in source::crates() {
        let mut edges = Modules::read(&sources).edges();
        if name == "kernels" {
            edges.retain(|edge| DISPATCH_TABLE.iter().all(|(file, _)| edge.from != *file));
        }
        found.extend(circles(&name, &edges));
    }
    assert!(found.is_empty(), "{} import circles:\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_file_of_the_dispatch_table_still_closes_a_circle() {
    let kernels = &source::crates()["kernels"];
    for (exception, reason) in DISPATCH_TABLE {
        let mut edges = Modules::read(kernels).edges();
        edges.retain(|edge| DISPATCH_TABLE.iter().all(|(file, _)| edge.from != *file || *file == exception));
        assert!(!circles("kernels", &edges).is_empty(), "`{exception}` does not need an exception any more: {reason}");
    }
}

/// The items that each file uses of each other file.
struct Graph<'a>(BTreeMap<&'a str, BTreeMap<&'a str, Vec<&'a str>>>);

/// Describes each group of files that reach one another by imports: its shortest circle, then all
/// imports inside the group.
fn circles(crate_name: &str, edges: &BTreeSet<Edge>) -> Vec<String> {
    let mut graph = Graph(BTreeMap::new());
    for edge in edges {
        graph.0.entry(&edge.from).or_default().entry(&edge.to).or_default().push(&edge.name);
    }
    let groups: BTreeSet<BTreeSet<&str>> = graph.0.keys().map(|file| graph.group(file)).collect();
    let describe = |group: &BTreeSet<&str>| {
        let shortest = group.iter().filter_map(|file| graph.circle(file)).min_by_key(Vec::len)?;
        let mut text = format!("{crate_name}: {} ({} files)", shortest.join(" -> "), group.len());
        for from in group {
            for (to, names) in graph.0[from].iter().filter(|(to, _)| group.contains(*to)) {
                text += &format!("\n    {from} uses {} of {to}", names.join(", "));
            }
        }
        Some(text)
    };
    groups.iter().filter_map(describe).collect()
}

impl<'a> Graph<'a> {
    fn imports_of(&self, file: &str) -> impl Iterator<Item = &'a str> {
        self.0.get(file).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// The files that `file` reaches and that reach `file`, including itself; empty
    /// without a circle.
    fn group(&self, file: &str) -> BTreeSet<&'a str> {
        let mut group = self.reached(file);
        group.retain(|other| self.reached(other).contains(file));
        group
    }

    fn reached(&self, file: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = self.imports_of(file).collect();
        while let Some(next) = open.pop() {
            if reached.insert(next) {
                open.extend(self.imports_of(next));
            }
        }
        reached
    }

    /// The shortest circle through `file`, which is its first and its last element.
    fn circle(&self, file: &'a str) -> Option<Vec<&'a str>> {
        let mut paths = VecDeque::from([vec![file]]);
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop_front() {
            for next in self.imports_of(path[path.len() - 1]) {
                let longer = [&path[..], &[next]].concat();
                if next == file {
                    return Some(longer);
                }
                if seen.insert(next) {
                    paths.push_back(longer);
                }
            }
        }
        None
    }
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Sources = files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    circles("fixture", &Modules::read(&sources).edges())
}

#[test]
fn files_that_import_each_other_are_found() {
    let circles_with = |size: &str| {
        let a = "use crate::{\n    b::{self, B},\n    c::C as Other,\n};\npub struct A(B, Other);";
        circles_of(&[
            ("lib.rs", "mod a; mod b; mod c; pub use a::A;"),
            ("a.rs", &format!("{a} {size}")),
            ("b.rs", "pub struct B; impl B { fn new() { super::c::count() } }"),
            ("c.rs", "pub struct C; pub fn count() { println!(\"{}\", crate::a::SIZE) }"),
        ])
    };
    assert_eq!(circles_with(""), [""; 0]);
    let expected = "fixture: a.rs -> c.rs -> a.rs (3 files)\n    a.rs uses B of b.rs\n    a.rs uses C of c.rs\n    \
                    b.rs uses count of c.rs\n    c.rs uses SIZE of a.rs";
    assert_eq!(circles_with("pub const SIZE: u8 = 1;"), [expected]);
}

#[test]
fn re_exports_are_followed_to_the_file_that_defines_the_item() {
    let routing = "mod policy; mod router; pub use router::Router;";
    let found = circles_of(&[
        ("lib.rs", "mod limits; mod routing; pub use routing::*;"),
        ("limits.rs", "use crate::Router; pub struct Limits; fn apply(_: Router) {}"),
        ("routing.rs", routing),
        ("routing/router.rs", "use super::policy::Policy; pub struct Router(Policy, crate::limits::Limits);"),
        ("routing/policy.rs", "pub struct Policy;"),
    ]);
    let expected = "fixture: limits.rs -> routing/router.rs -> limits.rs (2 files)\n    \
                    limits.rs uses Router of routing/router.rs\n    routing/router.rs uses Limits of limits.rs";
    assert_eq!(found, [expected]);
    // A parent that only re-exports its child: the child may use the parent's items.
    // A parent that uses the child's items: the child may not.
    let child = ("routing/router.rs", "use super::Id; pub struct Router(Id);");
    let parent = "mod router; pub use router::Router; pub struct Id;";
    assert!(circles_of(&[("lib.rs", "mod routing;"), ("routing.rs", parent), child]).is_empty());
    let parent = format!("{parent} pub struct Table(Vec<Router>);");
    let found = circles_of(&[("lib.rs", "mod routing;"), ("routing.rs", &parent), child]);
    assert!(
        found.len() == 1 && found[0].starts_with("fixture: routing.rs -> routing/router.rs -> routing.rs"),
        "{found:?}"
    );
}

#[test]
fn imports_of_tests_do_not_count() {
    let found = circles_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; } #[cfg(test)] fn of(_: crate::b::B) {}"),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
