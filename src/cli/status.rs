//! Arguments of `status`.

use super::output::{OutputArgs, with_long_help};
use super::values::{duration, http_url};
use crate::domain::findings::Code;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// What is asked of findings; `status` and the check before a switch share it.
#[derive(Debug, Clone, Default, Args)]
pub struct FindingArgs {
    /// Leave out findings with this code
    ///
    /// Can be repeated; `secure-traffic explain` lists the codes.
    #[arg(long, value_name = "CODE", help_heading = "Findings")]
    pub ignore: Vec<Code>,
    /// Prometheus to ask who sent plaintext
    #[arg(long, value_name = "URL", value_parser = http_url(), help_heading = "Findings")]
    pub prometheus: Option<Url>,
    /// How far back to ask it
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = duration, requires = "prometheus", hide_short_help = true, help_heading = "Findings")]
    pub since: Duration,
    /// JSON document of a rehearsal (rehearse -o json), whose callers become findings
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = "Findings")]
    pub rehearsal: Option<PathBuf>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic status -n shop                   # every port: mode, why, what clients send, findings
  secure-traffic status -n shop boards            # one service
  secure-traffic status -A -o json | jq '.namespaces[].findings[].code'
  secure-traffic status -n shop --prometheus http://127.0.0.1:9090
  secure-traffic status -n shop --rehearsal rehearsal.json
  secure-traffic status --sandbox=strict          # with no cluster at all

A finding that is an error makes the exit code 1; `secure-traffic explain CODE` explains it.")]
#[command(mut_arg(
    "output",
    with_long_help(
        "The format of the result: table puts like lines together where there are many, wide has every line and more columns."
    )
))]
pub struct StatusArgs {
    /// Services; none: all of the namespace
    ///
    /// Without one, the workloads without a Service are reported, too.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Every namespace that is part of the mesh
    #[arg(short = 'A', long, conflicts_with = "services")]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub format: OutputArgs,
    /// Leave out the head of the table
    #[arg(long, hide_short_help = true, conflicts_with_all = ["watch"])]
    pub no_headers: bool,
    /// Repeat every 2 s, and print changes
    ///
    /// On a terminal the table is drawn again in its place, with the last changes below it. Elsewhere it is printed once,
    /// and then each change is a line with its time. With -o json or yaml, a document is written again when it has changed.
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub findings: FindingArgs,
}
