//! `completions` and `man`: generate completion scripts and manual pages from the definition of the command line.

use super::Context;
use crate::cli;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use clap_complete::Shell;
use std::path::Path;

/// The completion script of a shell.
pub fn completion_script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(None), "secure-traffic", &mut script);
    script
}

/// Prints the completion script of a shell.
pub fn completions(context: &Context, shell: Shell) -> error::Result<ExitStatus> {
    context.printer.result(&String::from_utf8_lossy(&completion_script(shell)))?;
    Ok(ExitStatus::Success)
}

/// The manual pages: file name and content, one per command.
pub fn manual_pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = cli::command(None);
    command.build();
    let mut pages = vec![("secure-traffic.1".to_owned(), page(command.clone())?)];
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let name = format!("secure-traffic-{}", sub.get_name());
        let sub = sub.clone().name(name.clone()).bin_name(name.replacen('-', " ", 2).replacen(
            "secure traffic",
            "secure-traffic",
            1,
        ));
        pages.push((format!("{name}.1"), page(sub)?));
    }
    Ok(pages)
}

fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(text)
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
