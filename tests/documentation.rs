//! Public types, functions and modules have a doc comment. rustc's `missing_docs` would also ask for comments on
//! fields and variants, whose name is often sufficient.

mod source;

use source::{Files, Module, has_cfg_test, has_doc_comment};
use syn::{Attribute, ImplItem, Item, TraitItem, Visibility};

/// The public modules, types and functions without a doc comment, as `FILE:LINE: KIND NAME`.
fn undocumented(files: &Files) -> Vec<String> {
    let modules = source::modules(files);
    let mut found: Vec<String> = modules.iter().filter(|module| !module.is_test).flat_map(undocumented_in).collect();
    found.sort();
    found
}

fn undocumented_in(module: &Module) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |kind: &str, name: &str, line: usize, attributes: &[Attribute]| {
        if !has_doc_comment(attributes) && !has_cfg_test(attributes) {
            found.push(format!("{}:{line}: {kind} {name}", module.file));
        }
    };
    if module.is_public {
        check("module", &module.path.join("::"), module.line, &module.attributes);
    }
    for item in &module.items {
        let attributes = source::attributes(item);
        let (kind, visibility, name) = match item {
            Item::Enum(item) => ("enum", &item.vis, &item.ident),
            Item::Fn(item) => ("function", &item.vis, &item.sig.ident),
            Item::Struct(item) => ("struct", &item.vis, &item.ident),
            Item::Trait(item) => ("trait", &item.vis, &item.ident),
            Item::Type(item) => ("type", &item.vis, &item.ident),
            Item::Union(item) => ("union", &item.vis, &item.ident),
            Item::Impl(block) if block.trait_.is_none() && !has_cfg_test(&block.attrs) => {
                for item in &block.items {
                    if let ImplItem::Fn(function) = item
                        && is_public(&function.vis)
                    {
                        let name = &function.sig.ident;
                        check("function", &name.to_string(), name.span().start().line, &function.attrs);
                    }
                }
                continue;
            }
            _ => continue,
        };
        if is_public(visibility) {
            check(kind, &name.to_string(), name.span().start().line, attributes);
            if let Item::Trait(item) = item {
                for item in &item.items {
                    if let TraitItem::Fn(function) = item {
                        let name = &function.sig.ident;
                        check("function", &name.to_string(), name.span().start().line, &function.attrs);
                    }
                }
            }
        }
    }
    found
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

#[test]
fn public_items_have_doc_comments() {
    let found = undocumented(&source::read_files("src"));
    assert!(found.is_empty(), "without a doc comment:\n{}", found.join("\n"));
}

#[test]
fn an_item_without_a_doc_comment_is_found() {
    let library = "
        //! The crate.
        pub mod a;
        mod private;
        /// Documented.
        pub struct Documented { pub field: u8 }
        pub struct Plain;
        pub(crate) struct Internal;
        impl Documented {
            pub fn method(&self) {}
            /// Documented.
            pub fn documented(&self) {}
            fn private(&self) {}
        }
        impl Clone for Documented { fn clone(&self) -> Self { Self } }
        /// Documented.
        pub trait Shape { fn area(&self) -> f64; }
        pub enum Colour { Red }
        pub type Alias = u8;
        #[cfg(test)] pub fn only_in_tests() {}
        #[cfg(test)] mod tests { pub fn helper() {} }
        pub mod braces { pub fn inside() {} }
    ";
    let files = [("lib.rs", library), ("a.rs", "pub fn f() {}"), ("private.rs", "fn g() {}")];
    let files = files.map(|(file, text)| (file.to_owned(), text.to_owned())).into();
    assert_eq!(
        undocumented(&files),
        [
            "a.rs:1: function f",
            "a.rs:1: module a",
            "lib.rs:10: function method",
            "lib.rs:17: function area",
            "lib.rs:18: enum Colour",
            "lib.rs:19: type Alias",
            "lib.rs:22: function inside",
            "lib.rs:22: module braces",
            "lib.rs:7: struct Plain",
        ]
    );
}
