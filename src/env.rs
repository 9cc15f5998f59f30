//! The environment variables that are read, all in one place. (`SECURE_TRAFFIC_IMAGE` is read by the parser,
//! `KUBECONFIG` by the client.)

use std::path::PathBuf;

/// What the environment says about output.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    /// `NO_COLOR` is set and not empty: <https://no-color.org>.
    pub no_color: bool,
    /// `TERM=dumb`.
    pub dumb: bool,
    /// `CI` is set: no progress bars, whatever the terminal says.
    pub ci: bool,
}

/// Where a program of the host is, by `PATH`.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Reads it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn read() -> Environment {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    Environment {
        no_color: set("NO_COLOR"),
        dumb: std::env::var_os("TERM").is_some_and(|term| term == "dumb"),
        ci: set("CI"),
    }
}
