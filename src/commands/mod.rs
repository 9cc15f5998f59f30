//! Runs the commands: one file per command, which reads as the command's phases. `domain` decides, `report` formats, and
//! `cluster`, `curl_pod` and `http_client` send requests.

pub mod cleanup;
pub mod completion;
pub mod demo;
pub mod explain;
pub mod generate;
pub mod history;
pub mod leftovers;
pub mod manifests;
pub mod manual;
pub mod offline;
mod output;
pub mod preflight;
pub mod probe;
pub mod probe_run;
pub mod rbac;
pub mod rehearse;
pub mod reports;
pub mod sandbox;
pub mod status;
pub mod switch;
pub mod version;
pub mod watch;

use crate::cli::values::SandboxState;
use crate::cluster::connect::{self, Cluster, connect};
use crate::cluster::deadline::Deadline;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::error::ClusterError;
use crate::cluster::lease::{self, Lease, LeaseError, ReleaseError};
use crate::cluster::trace::Trace;
use crate::curl_pod::runner::{PodOptions, ProbeRunner};
use crate::domain::mesh::MeshSettings;
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::progress::Progress;
use crate::sandbox::{Sandbox, State};
use crate::settings::Settings;
use crate::signal::Shutdown;
use crate::ui::printer::Printer;
use reports::Reports;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;
use tower::layer::util::Stack;

/// Temporary files and folders that are removed when a second signal ends the process without unwinding.
#[derive(Debug, Clone, Default)]
pub struct TemporaryPaths(Arc<Mutex<Vec<PathBuf>>>);

impl TemporaryPaths {
    /// Adds a file or folder, which its owner may remove earlier.
    pub fn add(&self, path: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }

    /// Removes all of them. Errors are ignored: a path may be deleted already, and the process can no longer report others.
    pub fn remove(&self) {
        for path in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
    }
}

/// Context of a run, for every command.
pub struct Context {
    /// Settings of every command.
    pub settings: Settings,
    /// Writes to the streams.
    pub printer: Printer,
    /// Progress on a terminal.
    pub progress: Box<dyn Progress>,
    /// Ends the run early.
    pub shutdown: Shutdown,
    /// Reports for CI systems.
    pub reports: Reports,
    /// The sandbox of this run, once it is started.
    pub sandbox: OnceCell<Sandbox>,
    /// What the second signal removes.
    pub temporary_paths: TemporaryPaths,
}

impl Context {
    /// Connects to the cluster of the kubeconfig. With `--sandbox` it starts a sandbox instead, in the state that the user
    /// passed, else in the state that the command needs.
    pub async fn cluster(&self, needed: SandboxState) -> error::Result<Cluster> {
        let Some(requested) = self.settings.sandbox else {
            return self.read(connect(&self.settings.connection, &self.shutdown)).await;
        };
        let state = if requested == SandboxState::Auto { needed } else { requested };
        let sandbox = self.sandbox.get_or_try_init(|| start_sandbox(state)).await.map_err(Error::Sandbox)?;
        self.temporary_paths.add(sandbox.folder());
        let connection = &self.settings.connection;
        let deadline = Deadline { limit: connection.request_timeout, shutdown: self.shutdown.clone() };
        let layers = Stack::new(Trace(connection.trace.clone()), deadline);
        let namespace = self.settings.connection.namespace.clone();
        Ok(Cluster {
            client: sandbox.client_through(&layers),
            namespace: namespace.unwrap_or_else(|| sandbox.namespace().to_owned()),
            name: "the sandbox".to_owned(),
            description: "the sandbox".to_owned(),
        })
    }

    /// The same, with the versions of the APIs that it serves.
    pub async fn discovered_cluster(&self, needed: SandboxState) -> error::Result<(Cluster, ApiVersions)> {
        let cluster = self.cluster(needed).await?;
        let api_versions = self.read(discover::discover(&cluster)).await?;
        Ok((cluster, api_versions))
    }

    /// The namespace of the run, without contact to a cluster.
    pub async fn namespace(&self) -> error::Result<String> {
        let connection = &self.settings.connection;
        match self.settings.sandbox {
            Some(_) => Ok(connection.namespace.clone().unwrap_or_else(|| "default".to_owned())),
            None => self.read(connect::namespace(connection)).await,
        }
    }

    /// Waits for reads. A signal ends them at once, because they have no effect.
    pub async fn read<T>(&self, work: impl Future<Output = Result<T, ClusterError>>) -> error::Result<T> {
        Ok(self.shutdown.race(work).await??)
    }

    /// Acquires the Lease of the cluster's namespace for `holder`, and warns where its last holder did not come to its end.
    pub async fn acquire_lease(&self, cluster: &Cluster, holder: &str) -> error::Result<Lease> {
        let acquired = lease::acquire(cluster, holder, &self.shutdown, &*self.progress).await;
        let lease = acquired.map_err(|error| match error {
            LeaseError::Cluster(error) => Error::Cluster(error),
            LeaseError::Interrupted(signal) => Error::Interrupted(signal),
        })?;
        if let Some(holder) = &lease.abandoned_by {
            self.printer.warn(&format!("a run did not come to its end: {holder}"));
        }
        Ok(lease)
    }

    /// Releases a Lease. An error where it is lost, so that the run does not report success after all.
    pub async fn release_lease(&self, lease: Lease) -> error::Result<ExitStatus> {
        match lease.release().await {
            Ok(()) => Ok(ExitStatus::Success),
            Err(ReleaseError::Lost(lost)) => Err(lost.into()),
            Err(ReleaseError::Left(reason)) => {
                let seconds = lease::DURATION.as_secs();
                self.printer.warn(&format!("the Lease is left, and runs out after {seconds} s: {reason}"));
                Ok(ExitStatus::LeftBehind)
            }
        }
    }

    /// Waits for local files, which may be pipes without a writer. A signal ends the wait at once.
    pub async fn read_files<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, UsageError> + Send + 'static,
    ) -> error::Result<T> {
        let read = self.shutdown.race(tokio::task::spawn_blocking(work)).await?;
        Ok(read.map_err(|error| Error::local_io("could not read the files", error.into()))??)
    }

    /// Warns that Istio's defaults are assumed, if the mesh's settings cannot be read.
    pub fn warn_of_unread(&self, mesh: &MeshSettings) {
        if !mesh.undecided.is_empty() {
            let planes: Vec<String> = mesh.undecided.iter().map(ToString::to_string).collect();
            self.printer.warn(&format!(
                "the namespace's control plane is not known; there are: {}; pass --istio-namespace, and --revision where its \
                 namespace has several",
                planes.join(", ")
            ));
        } else if !mesh.readable {
            self.printer.warn(&format!(
                "the mesh's settings (ConfigMap in {}) cannot be read: Istio's defaults are assumed",
                mesh.istio_namespace
            ));
        }
    }

    /// Creates the pods of this run.
    pub fn probe_runner<'a>(
        &'a self,
        cluster: &'a Cluster,
        api_versions: ApiVersions,
        options: &'a PodOptions,
    ) -> ProbeRunner<'a> {
        ProbeRunner {
            cluster,
            openshift: api_versions.openshift,
            options,
            shutdown: &self.shutdown,
            progress: &*self.progress,
        }
    }

    /// Warns of pods that could not be removed, and prints how to remove them.
    pub fn report_left_behind(&self, pods: &[String]) -> ExitStatus {
        for pod in pods {
            self.printer
                .warn(&format!("a probe pod could not be removed: {pod}; remove it with: kubectl delete {pod}"));
        }
        if pods.is_empty() { ExitStatus::Success } else { ExitStatus::LeftBehind }
    }
}

/// Starts a sandbox with the namespaces that the documentation's examples name.
async fn start_sandbox(state: SandboxState) -> anyhow::Result<Sandbox> {
    Sandbox::builder(sandbox_state(state)).with_shop().start().await
}

/// The sandbox's state for an argument; without one it accepts plaintext.
fn sandbox_state(argument: SandboxState) -> State {
    match argument {
        SandboxState::Permissive | SandboxState::Auto => State::Permissive,
        SandboxState::Strict => State::Strict,
        SandboxState::Legacy => State::Legacy,
    }
}
