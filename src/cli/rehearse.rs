//! Arguments of `rehearse`.

use super::probe::PodArgs;
use super::report::ReportArgs;
use super::values::{OutputFormat, document_format, rehearsal_duration};
use clap::Args;
use std::time::Duration;

/// Arguments of `rehearse`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic rehearse -n shop --for 1h          # who would be refused by STRICT?
  secure-traffic rehearse -n shop boards --for 10m  # at one Service
  secure-traffic rehearse -n shop --report junit=rehearsal.xml
  secure-traffic rehearse --sandbox --for 10s       # with no cluster at all

A caller that would be refused makes the exit code 1, and a port that was not observed throughout makes it 3.")]
pub struct RehearseArgs {
    /// Services whose ports are observed; none: all of the namespace
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// How long the ports are observed, from 5s to 24h; --timeout does not count this time
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = rehearsal_duration)]
    pub duration: Duration,
    /// Format of the result
    #[arg(short, long, value_parser = document_format(), value_name = "FORMAT")]
    pub output: Option<OutputFormat>,
    #[command(flatten)]
    pub pod: PodArgs,
    #[command(flatten)]
    pub report: ReportArgs,
}
