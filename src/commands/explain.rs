//! `explain` and `options`: print texts about the tool. They contact no cluster.

use super::Context;
use crate::cli;
use crate::domain::findings::Code;
use crate::domain::near_names::near_names;
use crate::domain::reason::Reason;
use crate::error::{self, UsageError};
use crate::exit::ExitStatus;
use crate::report::page;

/// Prints the page of a finding or of a reason, or the names of all.
pub fn explain(context: &Context, name: Option<&str>) -> error::Result<ExitStatus> {
    let text = match name {
        None => page::names(),
        Some(name) => page::pages(name).ok_or_else(|| unknown(name))?,
    };
    context.printer.result(&text)?;
    Ok(ExitStatus::Success)
}

/// Prints the global options.
pub fn options(context: &Context) -> error::Result<ExitStatus> {
    context.printer.result(&format!("{}\n", cli::global_options().to_string().trim_end()))?;
    Ok(ExitStatus::Success)
}

fn unknown(name: &str) -> UsageError {
    let near = near(name);
    let hint = if near.is_empty() {
        "`secure-traffic explain` lists all".to_owned()
    } else {
        format!("similar: {}", near.join(", "))
    };
    UsageError { message: format!("no finding and no reason is called {name:?}"), hint: Some(hint) }
}

/// The findings and reasons that the user may have meant.
fn near(name: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Code::all().map(Code::as_str).chain(Reason::all().map(Reason::as_str)).collect();
    names.sort_unstable();
    names.dedup();
    near_names(&name.to_lowercase().replace('_', "-"), &names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        for (name, expected) in [
            ("plaintext-strict", vec!["plaintext-to-strict", "plaintext-seen"]),
            ("Envoy_Filter", vec!["envoy-filter"]),
            ("rewritten", vec!["probe-not-rewritten"]),
            ("xyzzy", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(near(name), expected, "{name}");
        }
    }
}
