//! `version`: prints the versions of this tool, the API server and Istio, as far as they can be read. What cannot be read
//! is no error.

use super::Context;
use super::output::render;
use crate::cli::values::{OutputFormat, SandboxState};
use crate::cluster::connect::Cluster;
use crate::cluster::connection::Connection;
use crate::cluster::{discover, snapshot};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::version::{ClusterVersions, VersionReport};

/// Runs the command.
pub async fn run(context: &Context, output: OutputFormat) -> error::Result<ExitStatus> {
    let cluster = match context.cluster(SandboxState::Permissive).await {
        Ok(cluster) => Some(read(context, &cluster).await?),
        Err(Error::Cluster(error)) if !names_a_cluster(context) => {
            context.printer.say(&format!("no cluster: {}", error.message));
            None
        }
        Err(error) => return Err(error),
    };
    let report = VersionReport::new(cluster);
    context.printer.result(&render(&report, output, VersionReport::text)?)?;
    Ok(ExitStatus::Success)
}

/// Whether the user asks for a cluster, so that it is an error if there is none. `-n` alone does not.
fn names_a_cluster(context: &Context) -> bool {
    let connection = &context.settings.connection;
    Connection { namespace: None, ..connection.clone() }.names_a_cluster()
}

/// Reads the versions of a cluster. A server that does not answer is not asked twice.
async fn read(context: &Context, cluster: &Cluster) -> error::Result<ClusterVersions> {
    let mut versions =
        ClusterVersions { cluster: cluster.name.clone(), kubernetes_version: None, control_planes: None };
    match context.shutdown.race(discover::kubernetes_version(cluster)).await? {
        Ok(version) => versions.kubernetes_version = Some(version),
        Err(error) => {
            context.printer.warn(&error.message);
            return Ok(versions);
        }
    }
    match context.shutdown.race(snapshot::istio_versions(cluster, &context.settings.mesh)).await? {
        Ok(planes) => versions.control_planes = Some(planes.into_iter().map(Into::into).collect()),
        Err(error) => context.printer.warn(&error.message),
    }
    Ok(versions)
}
