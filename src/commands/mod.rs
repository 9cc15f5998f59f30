//! One file a command: the story of that command. Formatting is `report`'s, decisions are `domain`'s.

pub mod cleanup;
pub mod generate;
pub mod offline;
pub mod probe;
pub mod switch;

use crate::cli::values::SandboxState;
use crate::cluster::connect::{Cluster, connect};
use crate::exit::ExitStatus;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::ui::printer::Printer;

/// What a command is given.
pub struct Context {
    /// Resolved options.
    pub settings: Settings,
    /// The streams.
    pub printer: Printer,
    /// Progress on a terminal.
    pub progress: Box<dyn Progress>,
    /// Interruption.
    pub shutdown: Shutdown,
}

impl Context {
    /// Connects to the cluster of the kubeconfig, or starts a sandbox in the state that the command needs.
    pub async fn cluster(&self, _needs: SandboxState) -> anyhow::Result<Cluster> {
        Ok(connect(&self.settings.connection).await?)
    }

    /// Says which pods are left, and how to remove them.
    pub fn report_left_behind(&self, left: &[String]) -> ExitStatus {
        for pod in left {
            self.printer
                .warn(&format!("a probe pod could not be removed: {pod}; remove it with: kubectl delete {pod}"));
        }
        if left.is_empty() { ExitStatus::Success } else { ExitStatus::LeftBehind }
    }
}
