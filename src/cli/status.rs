//! Arguments of `status`.

use super::values::{duration, http_url};
use crate::domain::findings::Code;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// `-o` of `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// One line a port, like lines put together where there are many.
    Table,
    /// Every line, with more columns and every object.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// What is asked of findings; `status` and the check before a switch share it.
#[derive(Debug, Clone, Default, Args)]
pub struct FindingArgs {
    /// Leave findings with this code out; can be repeated
    #[arg(long, value_name = "CODE", help_heading = "Findings")]
    pub ignore: Vec<Code>,
    /// Prometheus to ask who has really sent plaintext
    #[arg(long, value_name = "URL", value_parser = http_url(), help_heading = "Findings")]
    pub prometheus: Option<Url>,
    /// How far back to ask it
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = duration, help_heading = "Findings")]
    pub since: Duration,
    /// JSON document of a rehearsal (rehearse -o json), whose callers become findings
    #[arg(long, value_name = "FILE", help_heading = "Findings")]
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

A finding that is an error makes the exit code 1; docs/findings.md explains the codes.")]
pub struct StatusArgs {
    /// Services to look at; none: all of the namespace, and the workloads without a service
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Every namespace that has to do with the mesh
    #[arg(short = 'A', long, conflicts_with = "services")]
    pub all_namespaces: bool,
    /// Format of the result
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = StatusFormat::Table)]
    pub output: StatusFormat,
    /// Look again every two seconds, and print what has changed
    #[arg(short, long)]
    pub watch: bool,
    #[command(flatten)]
    pub findings: FindingArgs,
}
