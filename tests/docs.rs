//! What the documentation repeats of the tool must be what the tool says.

mod source;

use clap::CommandFactory;
use secure_traffic::cli::{Cli, command};
use secure_traffic::domain::findings::Code;
use secure_traffic::domain::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::{ImplItem, Item, Type};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn verdicts_explain_every_reason_and_no_other() {
    let page = text("docs/verdicts.md");
    let table = page.split_once("## Reasons").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the table").0;
    let documented: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word)).collect();
    let known: Vec<&str> = Reason::all().map(Reason::as_str).collect();
    assert_eq!(documented, known);
}

/// A trap whose test was renamed or taken out is no longer known to be staged.
#[test]
fn every_trap_of_the_table_is_staged_by_a_test_that_exists() {
    let page = text("docs/verdicts.md");
    let table = page.split_once("## Traps").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the table").0;
    let sources: String =
        ["src", "tests"].into_iter().flat_map(|room| source::read_files(room).into_values()).collect();
    let names: Vec<&str> =
        table.split('`').skip(1).step_by(2).filter(|word| word.contains('_') && word.contains('…')).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let is_there = match name.strip_prefix('…') {
            Some(end) => sources.contains(&format!("{end}(")),
            None => sources.contains(&format!("fn {}", name.trim_end_matches('…'))),
        };
        assert!(is_there, "no test is called {name}");
    }
}

#[test]
fn findings_explain_every_code_and_no_other() {
    let page = text("docs/findings.md");
    let table = page.split_once("## Codes").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the table").0;
    let documented: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word)).collect();
    let known: Vec<&str> = Code::all().map(Code::as_str).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_readme_has_the_exit_codes_of_the_help() {
    let help = command(None).get_after_long_help().expect("exit codes").to_string();
    assert!(text("README.md").contains(help.trim()), "README.md lacks:\n{help}");
}

#[test]
fn every_command_is_in_the_guide() {
    let pages = text("README.md") + &text("docs/guide.md");
    for command in Cli::command().get_subcommands() {
        assert!(pages.contains(&format!("secure-traffic {}", command.get_name())), "{}", command.get_name());
    }
}

/// The codes of rules in a text, such as `PA-4`, with the line of each. A range such as `DR-3..DR-6` stands for all codes
/// in it.
fn rule_codes(text: &str) -> Vec<(String, usize)> {
    let mut codes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let is_part_of_code = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        for word in line.split(|c: char| !is_part_of_code(c)) {
            let ends: Vec<(&str, u32)> = word.split("..").filter_map(rule_code).collect();
            match ends[..] {
                [(family, first), (other, last)] if family == other => {
                    codes.extend((first..=last).map(|code| (format!("{family}-{code}"), number + 1)));
                }
                _ => codes.extend(ends.iter().map(|(family, code)| (format!("{family}-{code}"), number + 1))),
            }
        }
    }
    codes
}

/// The family and the number of a code: two capital letters and up to two digits.
fn rule_code(word: &str) -> Option<(&str, u32)> {
    let (family, number) = word.split('.').next()?.split_once('-')?;
    let is_code = family.len() == 2 && family.chars().all(|c| c.is_ascii_uppercase()) && number.len() <= 2;
    is_code.then(|| number.parse().ok().map(|number| (family, number))).flatten()
}

#[test]
fn codes_of_rules_are_found() {
    let codes = |text: &str| rule_codes(text).into_iter().map(|(code, _)| code).collect::<Vec<_>>().join(" ");
    let [first, last, other] = [5, 7, 3].map(|number| format!("ZZ-{number}"));
    assert_eq!(codes(&format!("// {first}, ({last}): `{other}`.")), "ZZ-5 ZZ-7 ZZ-3");
    assert_eq!(codes(&format!("{first}..{last}.")), "ZZ-5 ZZ-6 ZZ-7");
    assert_eq!(codes(&format!("{first}.2")), "ZZ-5");
    assert_eq!(codes("UTF-8, SHA-256, AB-123, ab-1, x-1, A-1, AB-"), "");
}

#[test]
fn every_cited_rule_of_istio_is_listed_and_every_listed_one_is_cited() {
    let page = text("docs/istio-semantics.md");
    let mut listed = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [code, rule, versions, source] = cells[..] else { panic!("not four cells: {line}") };
        assert!(!rule.is_empty() && !versions.is_empty() && source.contains("](https://"), "{line}");
        assert!(listed.insert(code.trim_matches('`').to_owned()), "{code} is listed twice");
    }
    let mut cited = BTreeMap::new();
    for directory in ["src", "tests"] {
        for (file, text) in source::read_files(directory).iter().filter(|(file, _)| *file != "docs.rs") {
            for (code, line) in rule_codes(text) {
                cited.entry(code).or_insert_with(|| format!("{directory}/{file}:{line}"));
            }
        }
    }
    let missing: Vec<_> = cited.iter().filter(|(code, _)| !listed.contains(*code)).collect();
    let superfluous: Vec<_> = listed.iter().filter(|code| !cited.contains_key(*code)).collect();
    assert!(missing.is_empty(), "not in docs/istio-semantics.md: {missing:?}");
    assert!(superfluous.is_empty(), "listed in docs/istio-semantics.md and not cited: {superfluous:?}");
}

/// Links between the pages, and from them to files of the project.
#[test]
fn links_lead_somewhere() {
    let pages = std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let pages: Vec<PathBuf> =
        pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    for path in pages.into_iter().chain(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)))
    {
        let page = std::fs::read_to_string(&path).expect("text");
        for link in page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                let there = path.parent().is_some_and(|directory| directory.join(target).exists());
                assert!(there, "{}: {link}", path.display());
            }
        }
    }
}

/// What a page puts in backquotes, without its blocks of code.
fn code_spans(page: &str) -> Vec<&str> {
    let text = page.split("```").step_by(2);
    text.flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

/// Every module, item, method and variant of the crate, as a path without `crate`.
fn names_of_crate(files: &source::Files) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for module in source::modules(files) {
        let at = |name: &str| [&module.path[..], &[name.to_owned()]].concat().join("::");
        names.insert(module.path.join("::"));
        for item in &module.items {
            names.extend(source::name(item).map(|name| at(&name)));
            match item {
                Item::Enum(item) => {
                    names.extend(item.variants.iter().map(|variant| at(&format!("{}::{}", item.ident, variant.ident))));
                }
                Item::Impl(block) => {
                    let Type::Path(of) = &*block.self_ty else { continue };
                    let Some(of) = of.path.segments.last() else { continue };
                    names.extend(block.items.iter().filter_map(|item| match item {
                        ImplItem::Fn(function) => Some(at(&format!("{}::{}", of.ident, function.sig.ident))),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
    }
    names
}

/// What a page names and the project does not have: a path of a file, a path of an item, or a type.
fn unknown_names<'a>(page: &'a str, names: &BTreeSet<String>, manifest: &str) -> Vec<&'a str> {
    let is_identifier = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_known = |span: &str| {
        let path = span.trim_end_matches("()");
        if span.split_once('/').is_some_and(|(first, _)| root().join(first).is_dir()) {
            return root().join(span).exists();
        }
        if !path.split("::").all(is_identifier) {
            return true;
        }
        match path.split_once("::") {
            Some((first, _)) if names.contains(first) => names.contains(path),
            Some((other, _)) => {
                manifest.lines().any(|line| line.starts_with(&format!("{} = ", other.replace('_', "-"))))
            }
            // A type has a small letter after its capital; STRICT and the like are values of Istio.
            None if path.starts_with(char::is_uppercase) && path.contains(char::is_lowercase) => {
                names.iter().any(|name| name.ends_with(&format!("::{path}")))
            }
            None => !span.ends_with("()") || names.iter().any(|name| name.ends_with(&format!("::{path}"))),
        }
    };
    code_spans(page).into_iter().filter(|span| !is_known(span)).collect()
}

#[test]
fn every_path_and_name_in_the_architecture_exists() {
    let page = text("docs/architecture.md");
    let names = names_of_crate(&source::read_files("src"));
    let functions = code_spans(&page).into_iter().filter(|span| span.contains("::")).count();
    assert!(functions > 30, "only {functions} names: the walk through the code is missing");
    assert_eq!(unknown_names(&page, &names, &text("Cargo.toml")), Vec::<&str>::new());
}

#[test]
fn names_that_do_not_exist_are_found() {
    let library = "pub mod a; pub mod b { pub enum Shape { Round } impl Shape { pub fn area(&self) {} } }";
    let files = [("lib.rs", library), ("a.rs", "pub fn f() {} pub struct Plan;")];
    let names = names_of_crate(&files.map(|(file, text)| (file.to_owned(), text.to_owned())).into());
    let unknown = |page: &str| unknown_names(page, &names, "kube = \"5\"\n").join(" ");
    assert_eq!(unknown("`a::f` `a::f()` `b::Shape::area` `b::Shape::Round` `b` `Plan` `Round` `f()` `kube::Api`"), "");
    assert_eq!(unknown("`src/lib.rs` `tests/` `STRICT` `--flag` `GET /x`\n```text\n`a::gone`\n```\n"), "");
    assert_eq!(unknown("`a::gone` `b::Shape::gone` `Gone` `gone()`"), "a::gone b::Shape::gone Gone gone()");
    assert_eq!(unknown("`src/gone.rs` `tests/gone/` `other::Api`"), "src/gone.rs tests/gone/ other::Api");
}
