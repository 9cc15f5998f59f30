//! Who may use what: the layers of `docs/architecture.md`, no cycles among the files of a module, and the names that
//! only some files may mention. The checks read the syntax of whole files, the tests in them included.

mod source;

use proc_macro2::{TokenStream, TokenTree};
use source::{Files, Module};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, MetaList, UseTree};

/// A layer, by the beginning of its files' paths under `src/`, and the parts of the crate that it may use besides
/// itself. If several layers match a file, the one with the longest path applies. Tests in a file follow the same rule.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain/", &[]),
    ("istio/", &["domain"]),
    ("cluster/", &["domain", "istio", "program", "progress", "sanitize::excerpt", "signal"]),
    ("curl_pod/", &["cluster", "domain", "istio", "progress", "sanitize::excerpt", "signal"]),
    ("http_client/", &["cluster", "domain", "istio", "sanitize::excerpt"]),
    ("sandbox/", &["domain", "env::program", "istio", "temporary_folder"]),
    ("report/", &["domain", "exit", "istio::yaml", "sanitize", "wrap"]),
    ("ui/", &["progress", "sanitize", "signal", "wrap"]),
    // Of `curl_pod` only the default that the help shows.
    (
        "cli/",
        &[
            "curl_pod::probe_pod::DEFAULT_IMAGE",
            "domain::address",
            "domain::evidence::Sources",
            "domain::expectation::Expectation",
            "domain::findings::Code",
            "domain::label",
            "domain::mesh::MtlsMode",
            "domain::placement",
            "domain::plan",
            "domain::mesh::PortRef",
            "domain::probe",
            "domain::selector",
            "istio::kinds",
        ],
    ),
    ("settings.rs", &["cli", "cluster", "curl_pod", "domain", "env", "istio::kinds", "ui::printer"]),
    ("error.rs", &["cluster::error", "domain::probe", "exit", "report", "signal"]),
    ("exit.rs", &["signal"]),
    ("signal.rs", &[]),
    ("sanitize.rs", &[]),
    ("wrap.rs", &[]),
    ("progress.rs", &[]),
    ("program.rs", &[]),
    ("temporary_folder.rs", &[]),
    ("env.rs", &["signal::Hangup"]),
    ("main.rs", &[]),
    (
        "commands/",
        &[
            "cli",
            "cluster",
            "curl_pod",
            "domain",
            "error",
            "exit",
            "http_client",
            "istio",
            "program",
            "progress",
            "report",
            "sanitize",
            "settings",
            "signal",
            "temporary_folder",
            "ui",
        ],
    ),
    (
        "commands/mod.rs",
        &[
            "cli",
            "cluster",
            "curl_pod",
            "domain::mesh",
            "error",
            "exit",
            "progress",
            "sandbox",
            "settings",
            "signal",
            "ui",
        ],
    ),
    ("commands/sandbox.rs", &["cli", "error", "exit", "program", "sandbox", "signal"]),
    (
        "commands/demo.rs",
        &["cli", "cluster", "curl_pod", "domain", "error", "exit", "report", "sandbox", "settings", "ui"],
    ),
];

/// Cycles that still exist: a module and those of its files that depend on each other, a file and the files in its
/// directory as one. The list only becomes shorter: an entry without a cycle fails the test.
const KNOWN_CYCLES: &[(&str, &[&str])] = &[];

/// Paths of other crates that only some files may mention.
const RESTRICTED_PATHS: &[(&str, &[&str])] = &[
    ("serde_yaml", &["istio/yaml.rs"]),
    ("indicatif", &["ui/"]),
    ("colored", &["ui/", "report/"]),
    ("kube", &["cluster/", "curl_pod/", "sandbox/"]),
    ("k8s_openapi", &["cluster/", "curl_pod/", "sandbox/"]),
    ("reqwest", &["http_client/"]),
    ("rcgen", &["domain/identity/tests.rs", "sandbox/"]),
    (
        "hyper",
        &["cluster/connect.rs", "cluster/deadline.rs", "cluster/error.rs", "curl_pod/port_forward.rs", "sandbox/"],
    ),
    ("std::process::exit", &["signal.rs"]),
    ("std::env", &["env.rs", "main.rs"]),
    ("std::fs", &["commands/", "env.rs", "program.rs", "sandbox/", "temporary_folder.rs", "ui/report_file.rs"]),
    ("std::time::SystemTime", &[]),
    ("std::io::stdout", &["ui/"]),
    ("std::io::stderr", &["ui/"]),
];

/// Macros that no file may call.
const FORBIDDEN_MACROS: &[&str] = &["println", "print", "eprintln", "eprint", "dbg"];

/// Paths of other crates that `domain` must not mention: it is pure.
const NOT_IN_DOMAIN: &[&str] =
    &["tokio", "futures", "serde", "serde_json", "std::io", "std::net::TcpStream", "std::net::TcpListener"];

/// The only file of `domain` that may mention `serde_json`: former objects pass through `domain` as JSON, in a type that
/// compares them and does not look into them.
const JSON_IN_DOMAIN: &str = "domain/object.rs";

/// One place where a module names a path.
#[derive(Debug, Clone)]
struct Reference {
    /// The names as written.
    path: Vec<String>,
    line: usize,
    is_test: bool,
}

/// One name that a `use` brings into scope, or all names of a module (`name` is `None`).
#[derive(Debug, Clone)]
struct Import {
    name: Option<String>,
    reference: Reference,
}

/// The paths and imports of one module, without those of the modules in it.
#[derive(Default)]
struct Collector {
    is_test: bool,
    references: Vec<Reference>,
    imports: Vec<Import>,
}

impl Collector {
    fn of(module: &Module) -> Self {
        let mut collector = Self { is_test: module.is_test, ..Self::default() };
        for attribute in &module.attributes {
            collector.visit_attribute(attribute);
        }
        for item in &module.items {
            collector.visit_item(item);
        }
        collector
    }

    fn add(&mut self, path: Vec<String>, line: usize) {
        if path.len() > 1 {
            self.references.push(Reference { path, line, is_test: self.is_test });
        }
    }

    fn add_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let extended = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (name, path, token) = match tree {
            UseTree::Path(tree) => return self.add_use(&tree.tree, &extended(&tree.ident)),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.add_use(tree, prefix)),
            UseTree::Glob(glob) => (None, prefix.to_vec(), glob.star_token.spans[0]),
            UseTree::Name(tree) if tree.ident == "self" => (prefix.last().cloned(), prefix.to_vec(), tree.ident.span()),
            UseTree::Name(tree) => (Some(tree.ident.to_string()), extended(&tree.ident), tree.ident.span()),
            UseTree::Rename(tree) if tree.ident == "self" => {
                (Some(tree.rename.to_string()), prefix.to_vec(), tree.ident.span())
            }
            UseTree::Rename(tree) => (Some(tree.rename.to_string()), extended(&tree.ident), tree.ident.span()),
        };
        let reference = Reference { path, line: token.start().line, is_test: self.is_test };
        self.references.push(reference.clone());
        self.imports.push(Import { name, reference });
    }

    /// Adds the paths in tokens that are not parsed, as in the arguments of a macro.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        let is_separator = |at: usize| is_colon(at) && is_colon(at + 1);
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while is_separator(at + 1)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    self.add(path, first.span().start().line);
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Runs `visit` for a node with these attributes.
    fn within(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let outside = self.is_test;
        self.is_test |= source::has_cfg_test(attributes);
        visit(self);
        self.is_test = outside;
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        self.within(source::attributes(item), |this| visit::visit_item(this, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = if let ImplItem::Fn(function) = item { &function.attrs } else { &[] };
        self.within(attributes, |this| visit::visit_impl_item(this, item));
    }

    /// A module in braces is a module of its own.
    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.add(names, path.segments[0].ident.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }

    fn visit_meta_list(&mut self, list: &'ast MetaList) {
        self.visit_path(&list.path);
        self.add_tokens(list.tokens.clone());
    }
}

/// The modules of a crate, by path, with what each of them names.
struct Crate {
    modules: BTreeMap<Vec<String>, (Module, Collector)>,
}

/// What a path in the sources names.
#[derive(Debug, PartialEq, Eq)]
enum Referent {
    /// A path from the root of this crate, without `crate`.
    Own(Vec<String>),
    /// A path that begins with another crate, or with a type in scope.
    Other(Vec<String>),
}

/// The number of imports that are followed from one name; more would be a cycle of re-exports.
const MAX_IMPORTS: usize = 16;

impl Crate {
    fn parse(files: &Files) -> Self {
        let modules = source::modules(files).into_iter().map(|module| {
            let collector = Collector::of(&module);
            (module.path.clone(), (module, collector))
        });
        Self { modules: modules.collect() }
    }

    fn module(&self, path: &[String]) -> Option<&(Module, Collector)> {
        self.modules.get(path)
    }

    /// What `path` means in the module `from`.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Referent {
        let (first, rest) = path.split_first().expect("a path has a name");
        let own = |base: &[String]| Referent::Own([base, rest].concat());
        match first.as_str() {
            "crate" => return own(&[]),
            "self" => return own(from),
            "super" => {
                let parent = &from[..from.len().saturating_sub(1)];
                return if rest.is_empty() { own(parent) } else { self.resolve_after_super(parent, rest, depth) };
            }
            _ => {}
        }
        if depth < MAX_IMPORTS
            && let Some((module, imported)) = self.import(from, first, depth)
            && imported.len() > 1
        {
            return self.resolve(&module, &[&imported, rest].concat(), depth + 1);
        }
        let child = [from, std::slice::from_ref(first)].concat();
        if self.module(&child).is_some() { own(&child) } else { Referent::Other(path.to_vec()) }
    }

    fn resolve_after_super(&self, parent: &[String], rest: &[String], depth: usize) -> Referent {
        if rest[0] == "super" {
            return self.resolve(parent, rest, depth);
        }
        Referent::Own([parent, rest].concat())
    }

    /// The path that `name` stands for in the module `from`, and the module whose `use` says so: `from`, or one whose
    /// names `from` imports with `*`.
    fn import(&self, from: &[String], name: &str, depth: usize) -> Option<(Vec<String>, Vec<String>)> {
        let (_, collector) = self.module(from)?;
        let imports = &collector.imports;
        if let Some(import) = imports.iter().find(|import| import.name.as_deref() == Some(name)) {
            return Some((from.to_vec(), import.reference.path.clone()));
        }
        if depth >= MAX_IMPORTS {
            return None;
        }
        imports.iter().filter(|import| import.name.is_none()).find_map(|glob| {
            match self.resolve(from, &glob.reference.path, MAX_IMPORTS) {
                Referent::Own(module) if module != from => self.import(&module, name, depth + 1),
                _ => None,
            }
        })
    }

    /// The module that defines what a path from the root names, after re-exports.
    fn definition(&self, path: &[String], depth: usize) -> Vec<String> {
        let known = (0..=path.len()).rev().find(|length| self.module(&path[..*length]).is_some()).unwrap_or_default();
        let (module, rest) = path.split_at(known);
        let Some(name) = rest.first().filter(|_| depth < MAX_IMPORTS) else { return module.to_vec() };
        let defines = |path: &[String]| {
            self.module(path)
                .is_some_and(|(module, _)| module.items.iter().any(|item| source::name(item).as_ref() == Some(name)))
        };
        if !defines(module)
            && let Some((importer, imported)) = self.import(module, name, 0)
            && let Referent::Own(target) = self.resolve(&importer, &imported, 0)
        {
            return self.definition(&[&target, &rest[1..]].concat(), depth + 1);
        }
        module.to_vec()
    }

    /// Each reference with the file that holds it.
    fn references(&self) -> impl Iterator<Item = (&Module, &Reference, Referent)> {
        self.modules.values().flat_map(move |(module, collector)| {
            collector
                .references
                .iter()
                .map(move |reference| (module, reference, self.resolve(&module.path, &reference.path, 0)))
        })
    }

    /// The dependencies between the children of each module: parent, user and used, with the places. Code in
    /// `#[cfg(test)]` does not count: a test may use the fixtures of a file that uses the tested one.
    fn dependencies(&self) -> BTreeMap<Vec<String>, Dependencies> {
        let mut found: BTreeMap<Vec<String>, Dependencies> = BTreeMap::new();
        for (module, reference, target) in self.references().filter(|(_, reference, _)| !reference.is_test) {
            let Referent::Own(path) = target else { continue };
            let definition = self.definition(&path, 0);
            let user = &module.path;
            let common = user.iter().zip(&definition).take_while(|(left, right)| left == right).count();
            if let (Some(from), Some(to)) = (user.get(common), definition.get(common)) {
                let places = found.entry(user[..common].to_vec()).or_default();
                let place = format!("{}:{}", module.file, reference.line);
                places.entry((from.clone(), to.clone())).or_default().insert(place);
            }
        }
        found
    }
}

/// The places at which one child of a module uses another.
type Dependencies = BTreeMap<(String, String), BTreeSet<String>>;

/// Children of one module that depend on each other.
#[derive(Debug)]
struct Cycle {
    parent: String,
    members: BTreeSet<String>,
    /// One line for each dependency among the members.
    edges: Vec<String>,
}

/// The cycles among the children of each module: sets in which each member reaches each other one.
fn cycles(code: &Crate) -> Vec<Cycle> {
    let mut cycles = Vec::new();
    for (parent, dependencies) in code.dependencies() {
        let mut pending: BTreeSet<&String> = dependencies.keys().flat_map(|(from, to)| [from, to]).collect();
        while let Some(first) = pending.pop_first() {
            let reached = reachable(&dependencies, first);
            let members: BTreeSet<String> =
                reached.iter().filter(|other| reachable(&dependencies, other).contains(first)).cloned().collect();
            pending.retain(|name| !members.contains(*name));
            if members.len() < 2 {
                continue;
            }
            let inside = dependencies.iter().filter(|((from, to), _)| members.contains(from) && members.contains(to));
            let edges = inside
                .map(|((from, to), places)| {
                    let places: Vec<&str> = places.iter().map(String::as_str).collect();
                    format!("{from} uses {to}: {}", places.join(", "))
                })
                .collect();
            cycles.push(Cycle { parent: parent.join("::"), members, edges });
        }
    }
    cycles
}

/// All children that `from` uses, directly or through others; `from` itself only if it is in a cycle.
fn reachable(dependencies: &Dependencies, from: &String) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut pending = vec![from];
    while let Some(current) = pending.pop() {
        for (_, to) in dependencies.keys().filter(|(user, used)| user == current && used != user) {
            if reached.insert(to.clone()) {
                pending.push(to);
            }
        }
    }
    reached
}

/// Compares the cycles with the known ones: one line for each that is not known, and for each known one that is gone.
fn cycle_faults(cycles: &[Cycle], known: &[(&str, &[&str])]) -> Vec<String> {
    let is_known = |cycle: &Cycle, (parent, members): &(&str, &[&str])| {
        cycle.parent == *parent && cycle.members.iter().all(|member| members.contains(&member.as_str()))
    };
    let new = cycles.iter().filter(|cycle| !known.iter().any(|entry| is_known(cycle, entry))).map(|cycle| {
        let members: Vec<&str> = cycle.members.iter().map(String::as_str).collect();
        format!("{} has a cycle of {}:\n    {}", cycle.parent, members.join(", "), cycle.edges.join("\n    "))
    });
    let gone = known.iter().filter(|entry| !cycles.iter().any(|cycle| is_known(cycle, entry)));
    let gone = gone.map(|(parent, members)| {
        format!("{parent} has no cycle of {} any more: remove it from KNOWN_CYCLES", members.join(", "))
    });
    new.chain(gone).collect()
}

/// Whether `path` is `allowed` or lies below it.
fn is_below(path: &[String], allowed: &str) -> bool {
    let allowed: Vec<&str> = allowed.split("::").collect();
    path.len() >= allowed.len() && path.iter().zip(allowed).all(|(name, allowed)| name == allowed)
}

/// Uses of a layer that must not be used, and names that only other files may mention.
fn layer_faults(code: &Crate) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    for (module, reference, target) in code.references() {
        let file = module.file.as_str();
        let mut fault = |text: String| faults.insert(format!("{file}:{}: {text}", reference.line));
        match target {
            Referent::Own(path) => {
                if let Some((layer, allowed)) = layer(file)
                    && !may_use(layer, allowed, module, &path)
                {
                    fault(format!("{layer} must not use crate::{}", path.join("::")));
                }
            }
            Referent::Other(path) => {
                for (restricted, files) in RESTRICTED_PATHS {
                    if is_below(&path, restricted) && !files.iter().any(|prefix| file.starts_with(prefix)) {
                        fault(format!("only {files:?} may mention {restricted}"));
                    }
                }
                for path in NOT_IN_DOMAIN.iter().filter(|forbidden| is_below(&path, forbidden)) {
                    if file.starts_with("domain/") && (*path, file) != ("serde_json", JSON_IN_DOMAIN) {
                        fault(format!("domain/ must not mention {path}"));
                    }
                }
            }
        }
    }
    faults
}

fn layer(file: &str) -> Option<(&'static str, &'static [&'static str])> {
    let matching = LAYERS.iter().filter(|(layer, _)| file.starts_with(layer));
    matching.max_by_key(|(layer, _)| layer.len()).copied()
}

fn may_use(layer: &str, allowed: &[&str], module: &Module, path: &[String]) -> bool {
    let is_own = match layer.strip_suffix('/') {
        Some(layer) => is_below(path, layer),
        // A layer of one file: the file itself, and the files beside it in its directory.
        None => path.first() == module.path.first(),
    };
    is_own || allowed.iter().any(|allowed| is_below(path, allowed))
}

/// Faults that the tokens of a file show: macros and keywords, and a file that is in no layer.
fn token_faults(file: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    // lib.rs ties the layers together.
    if layer(file).is_none() && file != "lib.rs" {
        faults.push(format!("{file}:1: is in no layer: add it to LAYERS"));
    }
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{file}: {error}"));
    scan_tokens(file, tokens, &mut faults);
    faults
}

fn scan_tokens(file: &str, tokens: TokenStream, faults: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => scan_tokens(file, group.stream(), faults),
            TokenTree::Ident(name) => {
                let line = name.span().start().line;
                let is_call = matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '!');
                if is_call && FORBIDDEN_MACROS.iter().any(|forbidden| name == forbidden) {
                    faults.push(format!("{file}:{line}: must not call {name}!"));
                }
                if file.starts_with("domain/") && (name == "async" || name == "await") {
                    faults.push(format!("{file}:{line}: domain/ must not mention {name}"));
                }
            }
            _ => {}
        }
    }
}

/// All faults of the layers in the given files.
fn faults(files: &Files) -> Vec<String> {
    let tokens = files.iter().flat_map(|(file, text)| token_faults(file, text));
    layer_faults(&Crate::parse(files)).into_iter().chain(tokens).collect()
}

#[test]
fn each_file_uses_only_what_its_layer_may_use() {
    let faults = faults(&source::read_files("src"));
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_files_of_a_module_depend_on_each_other_without_cycles() {
    let code = Crate::parse(&source::read_files("src"));
    let faults = cycle_faults(&cycles(&code), KNOWN_CYCLES);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_layer_has_files() {
    let files = source::read_files("src");
    for (layer, _) in LAYERS {
        assert!(files.keys().any(|file| file.starts_with(layer)), "{layer} is in the table only");
    }
    for (path, restricted) in RESTRICTED_PATHS {
        for prefix in *restricted {
            assert!(files.keys().any(|file| file.starts_with(prefix)), "{path} may be mentioned in {prefix} only");
        }
    }
}

/// A crate of the given files; `lib.rs` and each `mod.rs` that is not given declare what lies beside them.
fn files(given: &[(&str, &str)]) -> Files {
    let mut files: Files = given.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    let mut children: BTreeMap<String, BTreeSet<String>> = BTreeMap::from([("lib.rs".to_owned(), BTreeSet::new())]);
    for (file, _) in given.iter().filter(|(file, _)| !matches!(*file, "lib.rs" | "main.rs")) {
        let mut directory = String::new();
        let mut names: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
        names.retain(|name| *name != "mod");
        for name in names {
            let parent = if directory.is_empty() { "lib.rs".to_owned() } else { format!("{directory}mod.rs") };
            children.entry(parent).or_default().insert(name.to_owned());
            let _ = write!(directory, "{name}/");
        }
    }
    for (parent, children) in children {
        let as_file = parent.replace("/mod.rs", ".rs");
        if !files.contains_key(&parent) && !files.contains_key(&as_file) {
            let declarations: Vec<String> = children.iter().map(|child| format!("pub mod {child};\n")).collect();
            files.insert(parent, declarations.concat());
        }
    }
    files
}

#[test]
fn a_use_of_a_higher_layer_is_found_in_every_form() {
    for (file, text, fault) in [
        ("domain/plan.rs", "use crate::istio::read;", "domain/ must not use crate::istio::read"),
        ("domain/plan.rs", "use super::super::istio::read;", "domain/ must not use crate::istio::read"),
        ("domain/plan.rs", "fn f() -> crate::report::X {}", "must not use crate::report::X"),
        ("domain/plan.rs", "fn f() { g::<crate::report::X>(); }", "must not use crate::report::X"),
        ("domain/plan.rs", "fn f() { h!(a, [crate::report::X]); }", "must not use crate::report::X"),
        ("domain/plan.rs", "#[derive(crate::report::X)] struct A;", "must not use crate::report::X"),
        ("domain/plan.rs", "mod inner { use super::super::super::ui::x; }", "must not use crate::ui::x"),
        ("domain/plan.rs", "#[cfg(test)] mod tests { use crate::istio::x; }", "must not use crate::istio::x"),
        ("domain/plan.rs", "#[cfg(test)] mod tests {} use crate::istio::x;", "must not use crate::istio::x"),
        ("istio/read.rs", "use crate::cluster::error;", "istio/ must not use crate::cluster::error"),
        ("cluster/list.rs", "use crate::{domain::mesh, ui::printer};", "must not use crate::ui::printer"),
        ("cluster/list.rs", "use crate::curl_pod::{curl as x};", "must not use crate::curl_pod::curl"),
        ("report/model.rs", "use crate::istio::{yaml, render};", "must not use crate::istio::render"),
        ("ui/printer.rs", "use crate::domain::mesh;", "ui/ must not use crate::domain::mesh"),
        ("commands/probe.rs", "use crate::sandbox::State;", "commands/ must not use crate::sandbox::State"),
        ("commands/sandbox.rs", "use crate::curl_pod::x;", "commands/sandbox.rs must not use crate::curl_pod::x"),
        ("cli/probe.rs", "use crate::curl_pod::probe_pod::x;", "must not use crate::curl_pod::probe_pod::x"),
        ("sandbox/api.rs", "use crate::cluster::apply;", "sandbox/ must not use crate::cluster::apply"),
        ("signal.rs", "use crate::exit;", "signal.rs must not use crate::exit"),
    ] {
        let found = faults(&files(&[(file, text)]));
        let is_found = found.iter().any(|line| line.starts_with(&format!("{file}:1: ")) && line.contains(fault));
        assert!(is_found, "{file}: {text}\n{found:?}");
    }
}

#[test]
fn a_name_in_the_wrong_file_is_found_in_every_form() {
    for (file, text, fault) in [
        ("domain/plan.rs", "async fn f() {}", "domain/ must not mention async"),
        ("domain/plan.rs", "fn f() { h!(x.await) }", "domain/ must not mention await"),
        ("domain/probe.rs", "use serde::Serialize;", "domain/ must not mention serde"),
        ("domain/probe.rs", "#[derive(serde::Serialize)] struct A;", "domain/ must not mention serde"),
        ("domain/plan.rs", "use serde_json::Value;", "domain/ must not mention serde_json"),
        ("sandbox/api.rs", "fn f() { serde_yaml::from_str(y); }", "only [\"istio/yaml.rs\"] may mention serde_yaml"),
        ("report/human.rs", "use indicatif::ProgressBar;", "may mention indicatif"),
        ("cluster/list.rs", "use colored::Colorize;", "may mention colored"),
        ("commands/probe.rs", "fn f() { println!(\"x\"); }", "must not call println!"),
        ("commands/probe.rs", "fn f() { vec![{ eprintln!() }]; }", "must not call eprintln!"),
        ("commands/probe.rs", "fn f() { std::process::exit(1); }", "may mention std::process::exit"),
        ("commands/probe.rs", "use std::process; fn f() { process::exit(1); }", "may mention std::process::exit"),
        ("commands/probe.rs", "use std::{io::{self}}; fn f() { io::stdout(); }", "may mention std::io::stdout"),
        (
            "commands/probe.rs",
            "use std::io; #[cfg(test)] mod tests { use super::*; fn f() { io::stdout(); } }",
            "may mention std::io::stdout",
        ),
        ("settings.rs", "use std::env as e; fn f() { e::var(x); }", "may mention std::env"),
        ("new.rs", "", "is in no layer"),
    ] {
        let found = faults(&files(&[(file, text)]));
        let is_found = found.iter().any(|line| line.starts_with(&format!("{file}:1: ")) && line.contains(fault));
        assert!(is_found, "{file}: {text}\n{found:?}");
    }
}

#[test]
fn what_a_layer_may_use_is_no_fault() {
    for (file, text) in [
        ("domain/plan.rs", "use super::mesh::Snapshot; use crate::domain::rule;"),
        ("cluster/list.rs", "use crate::{domain::mesh, istio::read}; use kube::Api;"),
        ("ui/progress.rs", "use indicatif::ProgressBar; use crate::sanitize;"),
        ("signal.rs", "fn f() { std::process::exit(1); }"),
        ("report/human.rs", "// println!(\"x\") would be wrong\nconst KUBE: &str = \"kube::Api\";"),
        ("report/human.rs", "/// Not `crate::ui`, see [`std::env::var`].\nfn f() {}"),
        ("lib.rs", "use crate::sandbox;"),
    ] {
        assert_eq!(faults(&files(&[(file, text)])), Vec::<String>::new(), "{file}");
    }
}

/// The members of each cycle in a crate of these files.
fn found_cycles(given: &[(&str, &str)]) -> Vec<String> {
    let cycles = cycles(&Crate::parse(&files(given)));
    let joined = |members: &BTreeSet<String>| members.iter().cloned().collect::<Vec<_>>().join(" ");
    cycles.iter().map(|cycle| format!("{}: {}", cycle.parent, joined(&cycle.members))).collect()
}

#[test]
fn a_cycle_is_found_whatever_leads_around_it() {
    let b = ("domain/b.rs", "pub fn g() { super::a::f() }");
    for (name, a) in [
        ("use", "use crate::domain::b; pub fn f() {}"),
        ("path", "pub fn f() { super::b::g() }"),
        ("module in braces", "mod inner { fn h() { super::super::b::g() } } pub fn f() {}"),
        ("macro", "pub fn f() { assert!(matches!(x, crate::domain::b::G)) }"),
        ("alias", "use crate::domain as d; pub fn f() { d::b::g() }"),
        ("re-export", "use super::g; pub fn f() {}"),
        ("behind tests", "#[cfg(test)] mod tests {} pub fn f() { super::b::g() }"),
    ] {
        let parent = ("domain/mod.rs", "pub mod a; pub mod b; pub use b::g;");
        let found = found_cycles(&[("domain/a.rs", a), b, parent]);
        assert_eq!(found, ["domain: a b"], "{name}");
    }
    let found = found_cycles(&[
        ("domain/a.rs", "use super::b::B;"),
        ("domain/b.rs", "pub mod deep;"),
        ("domain/b/deep.rs", "use crate::domain::c::C;"),
        ("domain/c.rs", "use super::a::A;"),
        ("domain/d.rs", "use super::{a::A, c::C};"),
        ("istio/a.rs", "use super::b;"),
        ("istio/b.rs", "use super::a;"),
    ]);
    assert_eq!(found, ["domain: a b c", "istio: a b"]);
}

#[test]
fn a_parent_with_its_children_and_tests_with_fixtures_are_no_cycle() {
    let found = found_cycles(&[
        ("domain/a.rs", "pub mod child; use child::C; pub struct A; #[cfg(test)] mod tests { use super::super::b; }"),
        ("domain/a/child.rs", "use super::A; pub struct C;"),
        ("domain/b.rs", "use super::a::A; #[cfg(test)] fn f() {}"),
    ]);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_list_of_known_cycles_must_be_exact() {
    let two = [("domain/a.rs", "use super::b;"), ("domain/b.rs", "use super::a;")];
    let cycles = cycles(&Crate::parse(&files(&two)));
    assert_eq!(cycle_faults(&cycles, &[("domain", &["a", "b", "c"])]), Vec::<String>::new());
    let new = cycle_faults(&cycles, &[]);
    assert!(new[0].contains("domain has a cycle of a, b:\n    a uses b: domain/a.rs:1"), "{new:?}");
    let gone = cycle_faults(&cycles, &[("domain", &["a", "b"]), ("domain", &["c", "d"])]);
    assert_eq!(gone, ["domain has no cycle of c, d any more: remove it from KNOWN_CYCLES"]);
}
