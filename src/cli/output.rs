//! The format of a result, which every command that reports takes.

use super::values::OutputFormat;
use clap::{Arg, Args};

/// `-o`.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// table, wide, json, yaml or name
    ///
    /// The format of the result.
    #[arg(
        id = "output",
        short,
        long,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub output: OutputFormat,
}

/// The option of a command whose long help says more than that of the others.
pub(super) fn with_long_help(text: &'static str) -> impl FnOnce(Arg) -> Arg {
    move |arg| {
        let short = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.long_help(format!("{short}\n\n{text}"))
    }
}
