//! Arguments of `probe`, and the arguments that all commands with a probe pod have.

use super::output::OutputArgs;
use super::report::ReportArgs;
use super::values::{awaited_answer, duration, without_path};
use crate::domain::evidence::Sources;
use crate::domain::expectation::Expectation;
use crate::domain::placement::{self, Toleration};
use crate::domain::probe::Target;
use crate::domain::selector::Selector;
use clap::Args;
use std::time::Duration;

/// Arguments of `probe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic probe boards:8080/shareditems                  # the walk-through's question
  secure-traffic probe --expect rejected boards                 # for a CI job: exit 0, 1 or 3
  secure-traffic probe -n shop                                  # every TCP port of every Service
  secure-traffic probe -n shop -l tier=backend --exclude legacy # only these, and not that one
  secure-traffic probe -n shop --explain web:8080               # why the answer is what it is
  secure-traffic probe -n shop --expect rejected --report junit=probe.xml
  secure-traffic probe -n shop -o json | jq '.namespaces[].results[].verdict'
  secure-traffic probe --sandbox=strict boards:8080/shareditems # with no cluster at all")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ProbeArgs {
    /// SERVICE, SERVICE:PORT, SERVICE:PORT/PATH or an http:// URL
    ///
    /// Without one, every TCP port of every Service is probed.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
    /// Label selector for the Services
    ///
    /// In kubectl's words: app=boards, tier!=test, 'release in (a,b)', !legacy
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "targets")]
    pub selector: Option<Selector>,
    /// SERVICE or SERVICE:PORT to leave out
    ///
    /// Can be repeated.
    #[arg(long, value_name = "TARGET", value_parser = without_path)]
    pub exclude: Vec<Target>,
    /// Also ask ports that no Service names
    ///
    /// These are the ports that pods in the mesh declare. They are asked at the pods' own addresses.
    #[arg(long, conflicts_with_all = ["targets", "selector", "control", "watch", "until"])]
    pub all_ports: bool,
    /// Expected: rejected, accepted or policy
    ///
    /// The answer that is expected: any other makes the exit code 1. With "policy" each port is to answer as the policies
    /// ask for: rejected under STRICT, accepted otherwise.
    #[arg(long, value_enum, value_name = "ANSWER", hide_possible_values = true)]
    pub expect: Option<Expectation>,
    /// Stream samples, and report changes
    ///
    /// The command runs until it is interrupted. On a terminal it shows one table, whose rows change in their place.
    /// Elsewhere each change is a line, with -o json an object on a line, and with -o yaml a document.
    #[arg(short, long, conflicts_with_all = ["dry_run", "control", "per_endpoint", "expect", "explain"])]
    pub watch: bool,
    /// Wait for it: rejected or accepted
    ///
    /// Waits until every target is proven to answer so, at most --timeout. With -o json or yaml, stdout has the report of
    /// that proof alone, and stderr the changes before it.
    #[arg(long, value_parser = awaited_answer(), value_name = "ANSWER", hide_possible_values = true, conflicts_with_all = ["dry_run", "expect"])]
    pub until: Option<Expectation>,
    /// Namespace to ask from; default: that of the targets
    #[arg(long, hide_short_help = true, value_name = "NAMESPACE", value_parser = super::values::namespace)]
    pub from_namespace: Option<String>,
    /// Also call from a client in the mesh
    ///
    /// Where it does not get through either, the answer is no proof of security.
    #[arg(long)]
    pub control: bool,
    /// A row for every endpoint
    ///
    /// Without it a target has one row.
    #[arg(long)]
    pub per_endpoint: bool,
    #[command(flatten)]
    pub format: OutputArgs,
    /// Leave out the head of the table
    ///
    /// A few targets have a row each as well, in place of a paragraph.
    #[arg(long, hide_short_help = true, conflicts_with_all = ["watch", "explain", "dry_run"])]
    pub no_headers: bool,
    /// Explain each answer in sentences
    #[arg(long)]
    pub explain: bool,
    /// Print the probe pod, do not run it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub pod: PodArgs,
    #[command(flatten)]
    pub report: ReportArgs,
}

/// How the probe pod is made and how it asks.
#[derive(Debug, Clone, Args)]
pub struct PodArgs {
    /// Image with curl in it
    #[arg(long, value_name = "IMAGE", env = "SECURE_TRAFFIC_IMAGE", default_value = crate::curl_pod::probe_pod::DEFAULT_IMAGE, help_heading = "Probe pod", hide_short_help = true)]
    pub image: String,
    /// Secret with the credentials for the image; can be repeated
    #[arg(long, value_name = "SECRET", help_heading = "Probe pod", hide_short_help = true)]
    pub image_pull_secret: Vec<String>,
    /// Taint of nodes on which the pods may run; can be repeated
    #[arg(long, value_name = "KEY[=VALUE][:EFFECT]", env = "SECURE_TRAFFIC_TOLERATIONS", value_delimiter = ',', value_parser = placement::toleration, help_heading = "Probe pod", hide_short_help = true)]
    pub toleration: Vec<Toleration>,
    /// Label of the nodes on which the pods run; can be repeated
    #[arg(long, value_name = "KEY=VALUE", env = "SECURE_TRAFFIC_NODE_SELECTOR", value_delimiter = ',', value_parser = placement::node_label, help_heading = "Probe pod", hide_short_help = true)]
    pub node_selector: Vec<(String, String)>,
    /// Label of the pods, for example for a NetworkPolicy; can be repeated
    #[arg(long, value_name = "KEY=VALUE", env = "SECURE_TRAFFIC_POD_LABELS", value_delimiter = ',', value_parser = placement::pod_label, help_heading = "Probe pod", hide_short_help = true)]
    pub pod_label: Vec<(String, String)>,
    /// Annotation of the pods; can be repeated
    #[arg(long, value_name = "KEY=VALUE", env = "SECURE_TRAFFIC_POD_ANNOTATIONS", value_delimiter = ',', value_parser = placement::pod_annotation, help_heading = "Probe pod", hide_short_help = true)]
    pub pod_annotation: Vec<(String, String)>,
    /// Priority class of the pods
    #[arg(long, value_name = "NAME", env = "SECURE_TRAFFIC_PRIORITY_CLASS", value_parser = placement::priority_class, help_heading = "Probe pod", hide_short_help = true)]
    pub priority_class: Option<String>,
    /// Plaintext samples for each endpoint, each on a fresh connection
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Probe pod", hide_short_help = true)]
    pub attempts: u32,
    /// Time for one TCP connection
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, help_heading = "Probe pod", hide_short_help = true)]
    pub connect_timeout: Duration,
    /// Time for one request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Probe pod", hide_short_help = true)]
    pub max_time: Duration,
    /// What proves that it was the mesh which refused
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = Sources::Auto, help_heading = "Probe pod", hide_short_help = true)]
    pub evidence: Sources,
    /// Time for the probe pod to start
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, help_heading = "Probe pod", hide_short_help = true)]
    pub pod_timeout: Duration,
}
