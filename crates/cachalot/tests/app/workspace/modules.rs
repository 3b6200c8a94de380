//! The module tree of a crate, read with `syn`, and name resolution: which file defines an item
//! that another file uses. Code of tests (`#[cfg(test)]`) is left out.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// File names below a crate's `src` and their text.
pub(crate) type Sources = BTreeMap<String, String>;

/// Segments of a path: `["crate", "routing", "Router"]`.
type Path = Vec<String>;

/// One name that a `use` brings into a module; `*` for a glob.
struct Import {
    name: String,
    path: Path,
    /// `pub use`: a re-export, which is an import only if the file itself uses the name.
    exported: bool,
}

#[derive(Default)]
struct Module {
    file: String,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths in code.
    mentions: Vec<Path>,
}

/// One file uses what another file defines.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) name: String,
}

enum Definition {
    Item { file: String, name: String },
    Module(Path),
}

#[derive(Default)]
pub(crate) struct Modules(BTreeMap<Path, Module>);

impl Modules {
    /// Reads the module tree that begins at `lib.rs`.
    pub(crate) fn read(sources: &Sources) -> Self {
        let mut modules = Self::default();
        let root = if sources.contains_key("lib.rs") { "lib.rs" } else { "main.rs" };
        modules.add_file(sources, root, Vec::new());
        modules
    }

    fn add_file(&mut self, sources: &Sources, file: &str, path: Path) {
        let text = sources.get(file).unwrap_or_else(|| panic!("`{file}` is declared and does not exist"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let stem = file.strip_suffix(".rs").unwrap_or(file);
        let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let children = if ["lib", "main", "mod"].contains(&name) { folder } else { stem };
        self.add_items(sources, file, children, path, &parsed.items);
    }

    fn add_items(&mut self, sources: &Sources, file: &str, children: &str, path: Path, items: &[syn::Item]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            module.items.extend(declared_name(item));
            if let syn::Item::Mod(child) = item {
                let name = child.ident.to_string();
                let inside = [&path[..], std::slice::from_ref(&name)].concat();
                match &child.content {
                    Some((_, items)) => self.add_items(sources, file, &join(children, &name), inside, items),
                    None => self.add_file(sources, &child_file(sources, file, children, child), inside),
                }
            } else {
                module.visit_item(item);
            }
        }
        self.0.insert(path, module);
    }

    /// The files that the tree is read from.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        self.0.values().map(|module| module.file.clone()).collect()
    }

    /// Each use of an item that another file defines. A `use` that names a module is not an edge;
    /// the paths that go through the module are.
    pub(crate) fn edges(&self) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (path, module) in &self.0 {
            let imports = module.imports.iter().filter(|import| !import.exported).map(|import| &import.path);
            for used in imports.chain(&module.mentions) {
                if let Some(Definition::Item { file, name }) = self.resolve(path, used, &mut BTreeSet::new())
                    && file != module.file
                {
                    edges.insert(Edge { from: module.file.clone(), to: file, name });
                }
            }
        }
        edges
    }

    /// Follows `path`, as written in the module `from`, through imports and re-exports to the
    /// definition. `seen` stops at globs that import each other.
    fn resolve(&self, from: &[String], path: &[String], seen: &mut BTreeSet<(Path, String)>) -> Option<Definition> {
        let mut module = from.to_vec();
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" | "$crate" => module.clear(),
                "self" => {}
                "super" => drop(module.pop()?),
                _ => break,
            }
            rest = after;
        }
        while let Some((name, after)) = rest.split_first() {
            match self.lookup(&module, name, after.is_empty(), seen)? {
                Definition::Module(inside) => module = inside,
                item => return Some(item),
            }
            rest = after;
        }
        Some(Definition::Module(module))
    }

    fn lookup(
        &self,
        path: &[String],
        name: &str,
        last: bool,
        seen: &mut BTreeSet<(Path, String)>,
    ) -> Option<Definition> {
        if name == "*" {
            return Some(Definition::Module(path.to_vec()));
        }
        let module = self.0.get(path)?;
        let child = [path, &[name.to_owned()]].concat();
        let is_child = self.0.contains_key(&child);
        // A module and a function may share a name: only the last segment can be the function.
        if module.items.contains(name) && (last || !is_child) {
            return Some(Definition::Item { file: module.file.clone(), name: name.to_owned() });
        }
        if is_child && !last {
            return Some(Definition::Module(child));
        }
        if !seen.insert((path.to_vec(), name.to_owned())) {
            return None;
        }
        let named = module.imports.iter().filter(|import| import.name == name);
        let found = named.map(|import| import.path.clone()).find_map(|target| self.resolve(path, &target, seen));
        let through_globs = || {
            let globs: Vec<Path> = module.imports.iter().filter(|i| i.name == "*").map(|i| i.path.clone()).collect();
            globs.into_iter().find_map(|mut target| {
                *target.last_mut()? = name.to_owned();
                self.resolve(path, &target, seen)
            })
        };
        found.or_else(through_globs).or_else(|| is_child.then_some(Definition::Module(child)))
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exported = !matches!(item.vis, syn::Visibility::Inherited);
        if item.leading_colon.is_none() {
            collect_imports(&item.tree, &mut Vec::new(), exported, &mut self.imports);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.mentions.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    /// Arguments of macros are tokens, in which paths are searched.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        collect_paths(call.tokens.clone(), &mut self.mentions);
    }

    fn visit_meta_list(&mut self, list: &'ast syn::MetaList) {
        collect_paths(list.tokens.clone(), &mut self.mentions);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn collect_imports(tree: &syn::UseTree, prefix: &mut Path, exported: bool, imports: &mut Vec<Import>) {
    let import = |name: String, last: Option<String>, prefix: &Path| {
        let path = prefix.iter().cloned().chain(last).collect();
        Import { name, path, exported }
    };
    match tree {
        syn::UseTree::Path(branch) => {
            prefix.push(branch.ident.to_string());
            collect_imports(&branch.tree, prefix, exported, imports);
            prefix.pop();
        }
        syn::UseTree::Group(group) => {
            group.items.iter().for_each(|item| collect_imports(item, prefix, exported, imports));
        }
        syn::UseTree::Name(name) if name.ident == "self" => {
            imports.push(import(prefix.last().cloned().unwrap_or_default(), None, prefix));
        }
        syn::UseTree::Name(name) => {
            imports.push(import(name.ident.to_string(), Some(name.ident.to_string()), prefix));
        }
        syn::UseTree::Rename(rename) => {
            let last = (rename.ident != "self").then(|| rename.ident.to_string());
            imports.push(import(rename.rename.to_string(), last, prefix));
        }
        syn::UseTree::Glob(_) => imports.push(import("*".to_owned(), Some("*".to_owned()), prefix)),
    }
}

/// Paths of two segments and more among a macro's arguments.
fn collect_paths(tokens: TokenStream, mentions: &mut Vec<Path>) {
    let (mut path, mut colons) = (Path::new(), 0);
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                if colons != 2 {
                    mentions.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                }
                path.push(name.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            other => {
                mentions.extend(Some(std::mem::take(&mut path)).filter(|path| path.len() > 1));
                colons = 0;
                if let TokenTree::Group(group) = other {
                    collect_paths(group.stream(), mentions);
                }
            }
        }
    }
    mentions.extend(Some(path).filter(|path| path.len() > 1));
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let is_test = |attribute: &syn::Attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string();
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all (test"))
    };
    attributes.iter().any(is_test)
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn declared_name(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn child_file(sources: &Sources, file: &str, children: &str, child: &syn::ItemMod) -> String {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    for attribute in child.attrs.iter().filter(|attribute| attribute.path().is_ident("path")) {
        if let syn::Meta::NameValue(pair) = &attribute.meta
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value
        {
            return join(folder, &path.value());
        }
    }
    let beside = join(children, &format!("{}.rs", child.ident));
    if sources.contains_key(&beside) { beside } else { join(children, &format!("{}/mod.rs", child.ident)) }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
