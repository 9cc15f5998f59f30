//! Renders a manual page from the definition of a command: what clap knows, then its examples, exit codes, variables, files
//! and related pages.

use clap_mangen::Man;
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Variables of every command that contacts a cluster, and what each does.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("KUBECONFIG", "The kubeconfig files, in place of ~/.kube/config."),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "The proxies to servers, and the servers that none is used for."),
    ("NO_COLOR, TERM", "Not empty, or \"dumb\": no colour."),
    ("LC_ALL, LC_CTYPE, LANG", "Without UTF-8, terminals show ASCII signs."),
    ("CI", "Set: no progress bars."),
    ("KUBECTL_EXTERNAL_DIFF", "The program that --diff runs, in place of the built-in one."),
    ("GITHUB_STEP_SUMMARY", "The file of the summary of --report github."),
];

/// Variables of single commands, by the name of the page.
const ENVIRONMENT_OF: &[(&str, &str, &str)] = &[
    ("secure-traffic-sandbox", "SHELL", "The shell of --shell."),
    (
        "secure-traffic-completions",
        "SECURE_TRAFFIC_COMPLETE_TIMEOUT",
        "How long a shell waits for candidates, 0.4 s by default.",
    ),
];

/// Files of every command that contacts a cluster.
const FILES: &[(&str, &str)] = &[
    ("~/.kube/config", "The kubeconfig, unless --kubeconfig or KUBECONFIG names others."),
    ("/var/run/secrets/kubernetes.io/serviceaccount", "In a pod without a kubeconfig: its own account."),
];

/// The examples of the first page.
const EXAMPLES: &str = "\
  secure-traffic demo                       # no cluster needed
  secure-traffic status -n shop             # which mode holds where, and who would break
  secure-traffic probe -n shop              # who answers plaintext?
  secure-traffic enable-mtls -n shop        # show the plan, ask, apply, wait, prove
  secure-traffic history -n shop            # what can be undone
  secure-traffic disable-mtls -n shop --restore";

/// The page of the tool itself.
pub fn first_page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let help = format!("Examples:\n{EXAMPLES}\n\n{}", text_after(command));
    let related: Vec<String> = command.get_subcommands().map(|sub| page_name(sub.get_name())).collect();
    page(command, &help, &related, true)
}

/// The page of a command. The global options are on the first page.
pub fn page_of(sub: &clap::Command) -> io::Result<Vec<u8>> {
    let name = sub.get_name().to_owned();
    let related = related(&name).iter().map(|name| page_name(name));
    let related: Vec<String> = ["secure-traffic".to_owned()].into_iter().chain(related).collect();
    let help = text_after(sub);
    let sub = sub.clone().name(page_name(&name)).bin_name(format!("secure-traffic {name}"));
    let sub = sub.mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    page(&sub, &help, &related, !matches!(name.as_str(), "completions" | "man" | "explain" | "options"))
}

/// The file name of a page, without its section.
pub fn page_name(command: &str) -> String {
    format!("secure-traffic-{command}")
}

fn related(command: &str) -> &'static [&'static str] {
    match command {
        "enable-mtls" => &["disable-mtls", "rehearse", "status", "history", "probe"],
        "disable-mtls" => &["enable-mtls", "history", "probe"],
        "probe" => &["status", "explain", "cleanup"],
        "status" => &["explain", "probe", "rehearse"],
        "rehearse" => &["enable-mtls", "status"],
        "history" => &["disable-mtls"],
        "explain" => &["status", "probe"],
        "demo" => &["sandbox"],
        "sandbox" => &["demo"],
        _ => &[],
    }
}

fn text_after(command: &clap::Command) -> String {
    command.get_after_long_help().map(ToString::to_string).unwrap_or_default()
}

fn page(command: &clap::Command, help: &str, related: &[String], uses_cluster: bool) -> io::Result<Vec<u8>> {
    // `clap_mangen` leaves out the text of an option that is hidden in the short help and has no longer text.
    let man = Man::new(command.clone().mut_args(|arg| arg.hide_short_help(false)));
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    // No hyphens that are not typed.
    text.extend_from_slice(b".nh\n.ad l\n");
    man.render_name_section(&mut text)?;
    let usage = command.clone().render_usage().to_string();
    write!(text, ".SH SYNOPSIS\n{}\n", escaped(usage.trim_start_matches("Usage: ")))?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    } else {
        write!(text, ".SH \"GLOBAL OPTIONS\"\nThey are listed in {}.\n", reference("secure-traffic"))?;
    }
    text.extend(sections(help).into_bytes());
    let own = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| {
        let name = arg.get_env()?.to_str()?.to_owned();
        Some((name, format!("The value of --{} without the option.", arg.get_long()?)))
    });
    let common = ENVIRONMENT.iter().filter(|(name, _)| uses_cluster || name.contains("NO_COLOR"));
    let common = common.map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned()));
    let single = ENVIRONMENT_OF.iter().filter(|(page, _, _)| *page == command.get_name());
    let single = single.map(|(_, name, meaning)| ((*name).to_owned(), (*meaning).to_owned()));
    text.extend(definitions("ENVIRONMENT", own.chain(single).chain(common)).into_bytes());
    if uses_cluster {
        let files = FILES.iter().map(|(file, meaning)| ((*file).to_owned(), (*meaning).to_owned()));
        text.extend(definitions("FILES", files).into_bytes());
    }
    let related: Vec<String> = related.iter().map(|name| reference(name)).collect();
    write!(text, ".SH \"SEE ALSO\"\n{}\n", related.join(", "))?;
    Ok(text)
}

/// The sections of the text after a long help: examples as they are typed, notes, and the exit codes.
fn sections(help: &str) -> String {
    let (text, codes) = help.split_once("Exit codes:\n").unwrap_or((help, ""));
    let mut page = String::new();
    for paragraph in text.split("\n\n").map(str::trim_end).filter(|paragraph| !paragraph.trim().is_empty()) {
        match paragraph.strip_prefix("Examples:\n") {
            // Filled text would break lines, and print quotation marks and hyphens that no shell understands.
            Some(examples) => {
                page.push_str(".SH EXAMPLES\n.nf\n");
                for line in examples.lines() {
                    let _ = writeln!(page, "{}", escaped(line.strip_prefix("  ").unwrap_or(line)));
                }
                page.push_str(".fi\n");
            }
            None => {
                let _ = writeln!(page, ".PP\n{}", paragraph.lines().map(escaped).collect::<Vec<_>>().join("\n"));
            }
        }
    }
    let codes = codes.lines().filter_map(|line| {
        let (code, meaning) = line.trim_start().split_once("  ")?;
        Some((code.to_owned(), meaning.trim_start().to_owned()))
    });
    page + &definitions("EXIT STATUS", codes)
}

/// A section with a list of terms.
fn definitions(heading: &str, terms: impl Iterator<Item = (String, String)>) -> String {
    let mut text = format!(".SH \"{heading}\"\n");
    for (term, meaning) in terms {
        let _ = write!(text, ".TP\n\\fB{}\\fR\n{}\n", escaped(&term), escaped(&meaning));
    }
    text
}

fn reference(page: &str) -> String {
    format!("\\fB{}\\fR(1)", escaped(page))
}

/// A line of text in which every character is printed as it is, so that it can be copied into a shell.
fn escaped(line: &str) -> String {
    let mut text = if line.starts_with(['.', '\'']) { "\\&".to_owned() } else { String::new() };
    for character in line.chars() {
        match character {
            '\\' => text.push_str("\\e"),
            '-' => text.push_str("\\-"),
            '\'' => text.push_str("\\(aq"),
            '`' => text.push_str("\\(ga"),
            '~' => text.push_str("\\(ti"),
            '^' => text.push_str("\\(ha"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines_and_characters() {
        let page =
            sections("Examples:\n  a --b 'c' > ~/d  # e\n\nA note.\n\nExit codes:\n  0  done\n  129, 130  stopped");
        let expected = ".SH EXAMPLES\n.nf\na \\-\\-b \\(aqc\\(aq > \\(ti/d  # e\n.fi\n.PP\nA note.\n.SH \"EXIT STATUS\"\n\
                        .TP\n\\fB0\\fR\ndone\n.TP\n\\fB129, 130\\fR\nstopped\n";
        assert_eq!(page, expected);
        assert_eq!(escaped(".x\\"), "\\&.x\\e");
    }
}
