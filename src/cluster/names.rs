//! Names for completion in a shell, from the kubeconfig and from the cluster. No credential plugin is run, because it could
//! ask for a password or open a browser.

use super::connect::{Cluster, connect};
use super::connection::Connection;
use super::journal;
use super::kubeconfig;
use crate::signal::Shutdown;
use http::Request;
use http::header::ACCEPT;
use kube::Client;
use kube::core::Request as ListRequest;
use kube::core::params::ListParams;
use serde::Deserialize;
use serde_json::Value;

/// The lists of a kubeconfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries {
    /// `contexts`.
    Contexts,
    /// `clusters`.
    Clusters,
    /// `users`.
    Users,
}

/// A table with a row for each object, as `kubectl get` requests it. Without the objects, a row is about 150 bytes long.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    #[serde(default)]
    column_definitions: Vec<Column>,
    #[serde(default)]
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<Value>,
}

/// The names of the entries in one list of the kubeconfig; none if it cannot be read.
pub async fn entries(connection: &Connection, list: Entries) -> Vec<String> {
    let Ok(Some(config)) = kubeconfig::read(connection).await else { return Vec::new() };
    match list {
        Entries::Contexts => config.contexts.into_iter().map(|entry| entry.name).collect(),
        Entries::Clusters => config.clusters.into_iter().map(|entry| entry.name).collect(),
        Entries::Users => config.auth_infos.into_iter().map(|entry| entry.name).collect(),
    }
}

/// The names of the namespaces; `None` if the cluster cannot be asked.
pub async fn namespaces(connection: &Connection) -> Option<Vec<String>> {
    let cluster = cluster(connection).await?;
    Some(rows(&cluster.client, "/api/v1/namespaces", None).await?.into_iter().map(|(name, _)| name).collect())
}

/// The names of the Services in the namespace, each with its TCP ports.
pub async fn services(connection: &Connection) -> Option<Vec<(String, Vec<u16>)>> {
    let cluster = cluster(connection).await?;
    let rows = rows(&cluster.client, &format!("/api/v1/namespaces/{}/services", cluster.namespace), None).await?;
    Some(rows.into_iter().map(|(name, ports)| (name, tcp_ports(&ports))).collect())
}

/// The identifiers of the runs that `--restore=RUN` can undo.
pub async fn runs(connection: &Connection) -> Option<Vec<String>> {
    let cluster = cluster(connection).await?;
    let path = format!("/api/v1/namespaces/{}/configmaps", cluster.namespace);
    let rows = rows(&cluster.client, &path, Some(journal::LABELS)).await?;
    let mut runs: Vec<String> = rows.iter().filter_map(|(name, _)| journal::run_of(name).map(str::to_owned)).collect();
    runs.sort();
    runs.dedup();
    Some(runs)
}

/// `None` where a credential plugin would have to be run.
async fn cluster(connection: &Connection) -> Option<Cluster> {
    let selected = kubeconfig::load(connection).await.ok()?;
    let needs_plugin =
        selected.is_some_and(|selected| selected.user.exec.is_some() || selected.user.auth_provider.is_some());
    if needs_plugin && connection.token.is_none() {
        return None;
    }
    connect(connection, &Shutdown::never()).await.ok()
}

/// The name and the ports, which only Services have, of each object. The API server answers from its cache.
async fn rows(client: &Client, path: &str, labels: Option<&str>) -> Option<Vec<(String, String)>> {
    let params = ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default() };
    let request = ListRequest::new(path).list(&params.match_any()).ok()?;
    let (mut head, body) = request.into_parts();
    head.uri = format!("{}&includeObject=None", head.uri).parse().ok()?;
    head.headers.insert(ACCEPT, TABLE.parse().ok()?);
    let table: Table = client.request(Request::from_parts(head, body)).await.ok()?;
    let column = |name: &str| table.column_definitions.iter().position(|column| column.name.eq_ignore_ascii_case(name));
    let (name, ports) = (column("Name")?, column("Port(s)"));
    let text = |row: &Row, index: usize| row.cells.get(index).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(
        table
            .rows
            .iter()
            .map(|row| (text(row, name), ports.map_or_else(String::new, |ports| text(row, ports))))
            .collect(),
    )
}

/// The TCP ports in kubectl's column: `80/TCP,443:30443/TCP,53/UDP`.
fn tcp_ports(cell: &str) -> Vec<u16> {
    let ports = cell.split(',').filter_map(|port| port.trim().strip_suffix("/TCP"));
    ports.filter_map(|port| port.split(':').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_column_of_kubectl() {
        for (cell, ports) in [
            ("8080/TCP", vec![8080]),
            ("80:31080/TCP,443/TCP,53/UDP,9000/SCTP", vec![80, 443]),
            ("<none>", vec![]),
            ("", vec![]),
            ("99999/TCP,x/TCP", vec![]),
        ] {
            assert_eq!(tcp_ports(cell), ports, "{cell:?}");
        }
    }
}
