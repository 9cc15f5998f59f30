//! Arguments of `rehearse`.

use super::output::OutputArgs;
use super::probe::PodArgs;
use super::report::ReportArgs;
use super::values::rehearsal_duration;
use clap::Args;
use std::time::Duration;

/// Arguments of `rehearse`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic rehearse -n shop --for 1h          # who would be refused by STRICT?
  secure-traffic rehearse -n shop boards --for 10m  # at one Service
  secure-traffic rehearse -n shop --read-only       # write nothing, whatever the sidecars log
  secure-traffic rehearse -n shop --report junit=rehearsal.xml
  secure-traffic rehearse --sandbox --for 10s       # with no cluster at all

The calls are read from the access log that the sidecars write, and in ambient mode from that of ztunnel. Where sidecars
write none, one Telemetry object switches it on for the plaintext calls of the namespace and is removed at the end. Adding and
removing it each end the connections that are open to TCP ports within the pods' drain time (45 s), so the command asks first.

A caller that would be refused makes the exit code 1, and a port that was not observed throughout makes it 3.")]
pub struct RehearseArgs {
    /// Services; none: all of the namespace
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Time to observe (5s to 24h)
    ///
    /// --timeout does not count this time.
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = rehearsal_duration)]
    pub duration: Duration,
    /// Write the Telemetry object without asking
    ///
    /// It is written where the sidecars write no access log. Needed where there is no terminal.
    #[arg(short, long)]
    pub yes: bool,
    /// Write no Telemetry object
    ///
    /// Ports are observed only where the sidecars write an access log anyway.
    #[arg(long, conflicts_with = "yes")]
    pub read_only: bool,
    #[command(flatten)]
    pub format: OutputArgs,
    /// Leave out the head of the table
    #[arg(long, hide_short_help = true)]
    pub no_headers: bool,
    #[command(flatten)]
    pub pod: PodArgs,
    #[command(flatten)]
    pub report: ReportArgs,
}
