//! One file a command: the story of that command. Formatting is `report`'s, decisions are `domain`'s.

pub mod cleanup;
pub mod demo;
pub mod generate;
pub mod manifests;
pub mod offline;
pub mod preflight;
pub mod probe;
pub mod rbac;
pub mod reports;
pub mod sandbox;
pub mod status;
pub mod switch;
pub mod watch;

use crate::cli::values::SandboxState;
use crate::cluster::connect::{Cluster, connect};
use crate::cluster::discover::ApiVersions;
use crate::cluster::error::ClusterError;
use crate::curl_pod::runner::{PodOptions, ProbeRunner};
use crate::domain::mesh::MeshSettings;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::progress::Progress;
use crate::sandbox::Sandbox;
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::ui::printer::Printer;
use reports::Reports;
use tokio::sync::OnceCell;

/// The state in which a sandbox starts; what a command needs of it is all that most of them know of the sandbox.
pub use crate::sandbox::State;

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
    /// Reports for CI systems.
    pub reports: Reports,
    /// The sandbox of this run, kept until its end.
    pub sandbox: OnceCell<Sandbox>,
}

impl Context {
    /// Connects to the cluster of the kubeconfig, or starts a sandbox in the state that the command needs.
    pub async fn cluster(&self, needs: State) -> error::Result<Cluster> {
        let Some(wanted) = self.settings.sandbox else {
            return Ok(connect(&self.settings.connection, &self.shutdown).await?);
        };
        let state = match wanted {
            SandboxState::Auto => needs,
            SandboxState::Permissive => State::Permissive,
            SandboxState::Strict => State::Strict,
            SandboxState::Legacy => State::Legacy,
        };
        let sandbox = self.sandbox.get_or_try_init(|| Sandbox::start(state)).await.map_err(Error::Sandbox)?;
        let namespace = self.settings.connection.namespace.clone();
        Ok(Cluster {
            client: sandbox.client(),
            namespace: namespace.unwrap_or_else(|| sandbox.namespace().to_owned()),
            name: "the sandbox".to_owned(),
        })
    }

    /// Waits for reads, which a signal may cut short: nothing has been made yet.
    pub async fn read<T>(&self, work: impl Future<Output = Result<T, ClusterError>>) -> error::Result<T> {
        Ok(self.shutdown.race(work).await??)
    }

    /// Says that the mesh's settings are taken for granted, where they cannot be read.
    pub fn warn_of_unread(&self, mesh: &MeshSettings) {
        if !mesh.readable {
            self.printer.warn(&format!(
                "the mesh's settings (ConfigMap in {}) cannot be read: Istio's defaults are assumed",
                mesh.istio_namespace
            ));
        }
    }

    /// What makes the pods of this run.
    pub fn probe_runner<'a>(
        &'a self,
        cluster: &'a Cluster,
        generation: ApiVersions,
        options: &'a PodOptions,
    ) -> ProbeRunner<'a> {
        ProbeRunner {
            cluster,
            openshift: generation.openshift,
            options,
            shutdown: &self.shutdown,
            progress: &*self.progress,
        }
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
