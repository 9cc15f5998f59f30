//! Reads the environment variables, how the process was started, and a limit of the process. (The parser reads
//! those that begin with `SECURE_TRAFFIC_`.)

use crate::signal::Hangup;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Files that every command must be able to open at the same time: the runtime's own, and a few connections.
const OPEN_FILES: usize = 32;

/// The values of the environment variables that concern output, identity and connection.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact about the environment")]
pub struct Environment {
    /// `NO_COLOR` is set and not empty: <https://no-color.org>.
    pub no_color: bool,
    /// `TERM=dumb`.
    pub dumb: bool,
    /// The locale has Unicode, and `TERM` names no terminal without it.
    pub unicode: bool,
    /// `CI` is set: no progress bars, even on a terminal.
    pub ci: bool,
    /// User, host and process that run the command, for other users: `ann@laptop, pid 4711`.
    pub holder: String,
    /// `KUBECTL_EXTERNAL_DIFF`: the program that shows differences, with its options.
    pub external_diff: Option<String>,
    /// The files of `KUBECONFIG`.
    pub kubeconfig: Vec<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// `HTTPS_PROXY`, else `https_proxy`.
    pub https_proxy: Option<String>,
    /// `HTTP_PROXY`, else `http_proxy`.
    pub http_proxy: Option<String>,
    /// `NO_PROXY`, else `no_proxy`.
    pub no_proxy: Option<String>,
}

/// The file of a program of the host, from `PATH`.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The user's shell: `SHELL`, else `/bin/sh`.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn shell() -> OsString {
    std::env::var_os("SHELL").filter(|shell| !shell.is_empty()).unwrap_or_else(|| "/bin/sh".into())
}

/// `SECURE_TRAFFIC_COMPLETE_TIMEOUT`: how long an answer to a shell that completes may take.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn completion_timeout() -> Option<String> {
    std::env::var("SECURE_TRAFFIC_COMPLETE_TIMEOUT").ok()
}

/// Fails where the process may open too few files: the runtime would panic.
pub fn check_open_files() -> io::Result<()> {
    let opened: io::Result<Vec<File>> = (0..OPEN_FILES).map(|_| File::open("/dev/null")).collect();
    let message = |error| format!("this process cannot open {OPEN_FILES} files, raise the limit (ulimit -n): {error}");
    opened.map(|_| ()).map_err(|error| io::Error::new(error.kind(), message(error)))
}

/// Reads the environment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn read() -> Environment {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let first =
        |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let locale = first(&["LC_ALL", "LC_CTYPE", "LANG"]);
    let term = std::env::var("TERM").ok();
    let paths = std::env::var_os("KUBECONFIG").unwrap_or_default();
    Environment {
        no_color: set("NO_COLOR"),
        dumb: term.as_deref() == Some("dumb"),
        unicode: has_unicode(locale.as_deref(), term.as_deref()),
        ci: set("CI"),
        holder: holder(),
        external_diff: std::env::var("KUBECTL_EXTERNAL_DIFF").ok().filter(|command| !command.trim().is_empty()),
        kubeconfig: std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty()).collect(),
        home: std::env::home_dir(),
        https_proxy: first(&["HTTPS_PROXY", "https_proxy"]),
        http_proxy: first(&["HTTP_PROXY", "http_proxy"]),
        no_proxy: first(&["NO_PROXY", "no_proxy"]),
    }
}

/// Whether a terminal shows Unicode, by its locale (POSIX: the first of `LC_ALL`, `LC_CTYPE` and `LANG` that is not empty)
/// and its type.
fn has_unicode(locale: Option<&str>, term: Option<&str>) -> bool {
    const WITHOUT: [&str; 8] = ["ansi", "cons25", "dumb", "linux", "vt52", "vt100", "vt102", "vt220"];
    let locale = locale.unwrap_or("C").to_ascii_lowercase();
    (locale.ends_with("utf-8") || locale.ends_with("utf8")) && !term.is_some_and(|term| WITHOUT.contains(&term))
}

/// The file of a job's summary in GitHub Actions.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn github_step_summary() -> Option<PathBuf> {
    std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// User, host and process, with `unknown` for what the environment does not contain.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn holder() -> String {
    let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = text("USER").or_else(|| text("LOGNAME")).or_else(|| text("USERNAME"));
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = kernel().or_else(|| text("HOSTNAME")).or_else(|| text("COMPUTERNAME"));
    let name = |known: Option<String>| known.map_or_else(|| "unknown".to_owned(), |known| known.trim().to_owned());
    format!("{}@{}, pid {}", name(user), name(host), std::process::id())
}

/// Whether the process was started with SIGHUP ignored. Systems without `/proc` have no safe way to ask.
pub fn hangup() -> Hangup {
    match std::fs::read_to_string("/proc/self/status") {
        Ok(status) if ignores_hangup(&status) => Hangup::StaysIgnored,
        _ => Hangup::Ends,
    }
}

/// The lowest bit of the mask `SigIgn` is signal 1, SIGHUP (man 5 `proc_pid_status`).
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unicode_needs_a_locale_and_a_terminal_that_have_it() {
        for (locale, term, expected) in [
            (Some("en_US.UTF-8"), Some("xterm-256color"), true),
            (Some("C.utf8"), None, true),
            (Some("C"), Some("xterm"), false),
            (Some("de_DE.ISO-8859-1"), Some("xterm"), false),
            (None, Some("xterm"), false),
            (Some("en_US.UTF-8"), Some("linux"), false),
            (Some("en_US.UTF-8"), Some("dumb"), false),
        ] {
            assert_eq!(has_unicode(locale, term), expected, "{locale:?} {term:?}");
        }
    }

    #[test]
    fn an_ignored_hangup_is_seen() {
        for (status, is_ignored) in [
            ("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000000000\n", true),
            ("SigIgn:\t0000000000001003\n", true),
            ("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n", false),
            ("SigIgn:\tnonsense\n", false),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), is_ignored, "{status:?}");
        }
    }
}
