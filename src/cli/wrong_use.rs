//! Parses the command line, and adds to clap's errors what a user who confuses options has to know.

use super::switch::DryRun;
use super::values::{OutputFormat, SandboxState};
use super::{Cli, Command};
use clap::builder::{StyledStr, UnknownArgumentValueParser};
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, ColorChoice, FromArgMatches, ValueEnum};
use std::ffi::OsString;

/// Parses the arguments, of which the first is the name of the program. An error has the colour that `--color` asks for.
pub fn parse(arguments: &[OsString]) -> Result<Cli, Error> {
    let mut command = super::command(arguments.first())
        .color(color(arguments))
        .mut_subcommand("enable-mtls", |enable| enable.arg(no_restore()));
    let matches = command.try_get_matches_from_mut(arguments).map_err(with_tip)?;
    let cli = Cli::from_arg_matches(&matches).map_err(with_tip)?;
    match without_effect(&cli) {
        Some(message) => Err(command.error(ErrorKind::ArgumentConflict, message)),
        None => Ok(cli),
    }
}

/// Why options of a switch would have no effect, if some would. clap's own rules compare no values of other options.
fn without_effect(cli: &Cli) -> Option<&'static str> {
    let args = match &cli.command {
        Command::EnableMtls(args) => &args.switch,
        Command::DisableMtls(args) => &args.switch,
        _ => return None,
    };
    let is_versioned = args.policy_api.is_some() || args.destination_rule_api.is_some();
    if is_versioned && args.dry_run != DryRun::Client {
        Some(
            "--policy-api and --destination-rule-api go only with --dry-run=client; elsewhere the versions that the cluster \
             serves are used",
        )
    } else if args.diff && args.format.output != OutputFormat::Table {
        Some("--diff has one format: leave -o out, or take --dry-run=server -o yaml for the objects")
    } else {
        None
    }
}

/// The hint for a target that does not exist and is the state of a sandbox: `--sandbox strict` in place of
/// `--sandbox=strict`.
pub fn separated_state(arguments: &[OsString], message: &str) -> Option<String> {
    arguments.windows(2).filter(|pair| pair[0] == "--sandbox").find_map(|pair| {
        let state = pair[1].to_str().filter(|state| SandboxState::from_str(state, false).is_ok())?;
        let is_the_target = message.contains(&format!("{state:?} not found"));
        is_the_target.then(|| format!("the state of the sandbox follows a `=`: --sandbox={state}"))
    })
}

/// The last `--color`. clap itself knows it only when every argument is right.
fn color(arguments: &[OsString]) -> ColorChoice {
    let options = || arguments.iter().take_while(|argument| *argument != "--").filter_map(|argument| argument.to_str());
    let joined = options().filter_map(|option| option.strip_prefix("--color="));
    let separate =
        options().zip(options().skip(1)).filter_map(|(option, value)| (option == "--color").then_some(value));
    match joined.chain(separate).last() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// `enable-mtls --restore` is an error that names the command with this option.
fn no_restore() -> Arg {
    let tip = "`disable-mtls --restore` puts back the former state";
    Arg::new("no-restore")
        .long("restore")
        .hide(true)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("")
        .value_parser(UnknownArgumentValueParser::suggest(tip))
}

/// Adds a tip where a run follows `--restore` without the `=`.
fn with_tip(mut error: Error) -> Error {
    let is = |kind, text: &str| match error.get(kind) {
        Some(ContextValue::String(argument)) => argument.contains(text),
        Some(ContextValue::Strings(arguments)) => arguments.iter().any(|argument| argument.contains(text)),
        _ => false,
    };
    let (first, second) = (ContextKind::InvalidArg, ContextKind::PriorArg);
    let is_restore = is(first, "--restore") && is(second, "SERVICE") || is(first, "SERVICE") && is(second, "--restore");
    if error.kind() == ErrorKind::ArgumentConflict && is_restore {
        let tip = "a run follows a `=`: --restore=RUN (`secure-traffic history` lists the runs)";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_colour_of_errors_is_that_of_the_last_option() {
        let rows: [(&[&str], ColorChoice); 6] = [
            (&["--color", "never", "prb"], ColorChoice::Never),
            (&["--color=always", "prb"], ColorChoice::Always),
            (&["prb", "--color=never"], ColorChoice::Never),
            (&["prb", "--color"], ColorChoice::Auto),
            (&["sandbox", "--", "ls", "--color=never"], ColorChoice::Auto),
            (&["prb"], ColorChoice::Auto),
        ];
        for (arguments, expected) in rows {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(color(&arguments), expected, "{arguments:?}");
        }
    }
}
