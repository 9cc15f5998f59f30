//! The modules of the crate, parsed with `syn`, for the tests that check the code itself.
#![allow(dead_code, reason = "each test that includes this file uses another part of it")]

use std::collections::BTreeMap;
use std::path::Path;
use syn::{Attribute, Expr, Item, Lit, Meta};

/// The texts of Rust files by their path below a directory, for example `domain/plan.rs`.
pub(crate) type Files = BTreeMap<String, String>;

/// One module of the crate. A module in braces has its own entry.
pub(crate) struct Module {
    /// The names from the root of the crate, without `crate`: `["domain", "plan"]`. Empty for `lib.rs`.
    pub(crate) path: Vec<String>,
    /// The file that holds the module, for example `domain/plan.rs`.
    pub(crate) file: String,
    /// Whether the module or one of its parents has `#[cfg(test)]`.
    pub(crate) is_test: bool,
    /// Whether the module is declared with `pub`.
    pub(crate) is_public: bool,
    /// The line on which the items start: 1 for a file, the line of `mod` for a module in braces.
    pub(crate) line: usize,
    /// The attributes of the declaration and of the file.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) items: Vec<Item>,
}

/// Reads all Rust files below `directory`, which is relative to the root of the package.
pub(crate) fn read_files(directory: &str) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files = Files::new();
    let mut pending = vec![root.clone()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("a path below the root").to_string_lossy().into_owned();
                files.insert(name, std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    files
}

/// Parses the files of a crate into its modules: `lib.rs` and what it declares, then `main.rs` as the module `main`.
///
/// # Panics
/// When a file does not parse, when a declared module has no file, and when no module declares a file.
pub(crate) fn modules(files: &Files) -> Vec<Module> {
    let mut modules = Vec::new();
    for (root, path) in [("lib.rs", Vec::new()), ("main.rs", vec!["main".to_owned()])] {
        if files.contains_key(root) {
            add_file(files, root, Declaration { path, is_test: false, is_public: true, attributes: &[] }, &mut modules);
        }
    }
    for file in files.keys() {
        assert!(modules.iter().any(|module| module.file == *file), "no module declares {file}");
    }
    modules
}

/// What the `mod` item says about a module.
struct Declaration<'a> {
    path: Vec<String>,
    is_test: bool,
    is_public: bool,
    attributes: &'a [Attribute],
}

fn add_file(files: &Files, name: &str, declaration: Declaration, modules: &mut Vec<Module>) {
    let text = files.get(name).unwrap_or_else(|| panic!("{name} is declared and does not exist"));
    let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}:{}: {error}", error.span().start().line));
    let attributes = [declaration.attributes, &file.attrs].concat();
    add_module(files, name, 1, Declaration { attributes: &attributes, ..declaration }, file.items, modules);
}

fn add_module(
    files: &Files,
    file: &str,
    line: usize,
    declaration: Declaration,
    items: Vec<Item>,
    modules: &mut Vec<Module>,
) {
    let Declaration { path, is_test, is_public, attributes } = declaration;
    let is_test = is_test || has_cfg_test(attributes);
    for item in &items {
        let Item::Mod(child) = item else { continue };
        let name = child.ident.to_string();
        let declaration = Declaration {
            path: path.iter().cloned().chain([name.clone()]).collect(),
            is_test: is_test || has_cfg_test(&child.attrs),
            is_public: matches!(child.vis, syn::Visibility::Public(_)),
            attributes: &child.attrs,
        };
        if let Some((_, items)) = &child.content {
            let line = child.ident.span().start().line;
            add_module(files, file, line, declaration, items.clone(), modules);
        } else {
            add_file(files, &file_of_child(files, file, &name, &child.attrs), declaration, modules);
        }
    }
    let attributes = attributes.to_vec();
    modules.push(Module { path, file: file.to_owned(), is_test, is_public, line, attributes, items });
}

/// The file of `mod name;` in `file`: the one of `#[path]`, `name.rs` or `name/mod.rs`.
fn file_of_child(files: &Files, file: &str, name: &str, attributes: &[Attribute]) -> String {
    let (directory, base) = file.rsplit_once('/').map_or(("", file), |(directory, base)| (directory, base));
    let join = |directory: &str, name: &str| match directory {
        "" => name.to_owned(),
        directory => format!("{directory}/{name}"),
    };
    if let Some(path) = path_attribute(attributes) {
        return join(directory, &path);
    }
    let directory = match base {
        "lib.rs" | "main.rs" | "mod.rs" => directory.to_owned(),
        base => join(directory, base.trim_end_matches(".rs")),
    };
    let flat = join(&directory, &format!("{name}.rs"));
    if files.contains_key(&flat) { flat } else { join(&directory, &format!("{name}/mod.rs")) }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(literal) = &pair.value else { return None };
        let Lit::Str(text) = &literal.lit else { return None };
        pair.path.is_ident("path").then(|| text.value())
    })
}

/// Whether one of the attributes is `#[cfg(test)]`.
pub(crate) fn has_cfg_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

/// Whether one of the attributes is a doc comment.
pub(crate) fn has_doc_comment(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc"))
}

/// The attributes of an item of any kind.
pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines, if it defines one.
pub(crate) fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
