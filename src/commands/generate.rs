//! `completions` and `man`: generate completion scripts and manual pages from the definition of the command line.

use super::{Context, completion, manual};
use crate::cli;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use clap_complete::Shell;
use clap_complete::aot::{Elvish, PowerShell};
use std::path::Path;

/// The completion script of a shell. Those of bash, zsh and fish ask this tool; others contain the commands and options.
pub fn completion_script(shell: Shell) -> Vec<u8> {
    if let Some(script) = completion::script(shell) {
        return script.as_bytes().to_vec();
    }
    let (mut command, name, mut script) = (cli::command(None), "secure-traffic", Vec::new());
    // By their types, so that the release contains no generator that is not used.
    match shell {
        Shell::Elvish => clap_complete::generate(Elvish, &mut command, name, &mut script),
        _ => clap_complete::generate(PowerShell, &mut command, name, &mut script),
    }
    script
}

/// Prints the completion script of a shell.
pub fn completions(context: &Context, shell: Shell) -> error::Result<ExitStatus> {
    context.printer.result(&String::from_utf8_lossy(&completion_script(shell)))?;
    Ok(ExitStatus::Success)
}

/// The manual pages: file name and content, one per command.
pub fn manual_pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    // `help` has no page.
    let mut command = cli::command(None).disable_help_subcommand(true);
    command.build();
    let mut pages = vec![("secure-traffic.1".to_owned(), manual::first_page(&command)?)];
    for sub in command.get_subcommands() {
        pages.push((format!("{}.1", manual::page_name(sub.get_name())), manual::page_of(sub)?));
    }
    Ok(pages)
}

/// Prints the first manual page, or writes all of them into a directory.
pub fn man(context: &Context, directory: Option<&Path>) -> error::Result<ExitStatus> {
    let pages = manual_pages()?;
    match directory {
        None => {
            let text = pages.first().map(|(_, text)| String::from_utf8_lossy(text)).unwrap_or_default();
            context.printer.result(&text)?;
        }
        Some(directory) => {
            for (name, text) in &pages {
                let path = directory.join(name);
                std::fs::write(&path, text)
                    .map_err(|error| Error::local_io(format!("could not write {}", path.display()), error))?;
            }
        }
    }
    Ok(ExitStatus::Success)
}
