//! Lists objects page by page, for snapshots. Each object is converted before the next page is read, so that a namespace of
//! ten thousand pods needs the memory of one page.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain};
use super::request::attempt;
use kube::api::{ListParams, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Objects per page, as kubectl requests them.
const PAGE: u32 = 500;

/// A resource that can be listed.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
}

impl From<&crate::istio::kinds::Kind> for Resource {
    fn from(kind: &crate::istio::kinds::Kind) -> Self {
        Self { group: kind.group, version: kind.version, plural: kind.plural }
    }
}

impl Resource {
    /// A resource of the core group, version 1.
    pub const fn core(plural: &'static str) -> Self {
        Self { group: "", version: "v1", plural }
    }

    fn path(self, namespace: &str) -> String {
        let group = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let scope = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        format!("{group}/{}{scope}/{}", self.version, self.plural)
    }
}

/// The fields of an object's metadata that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Owners.
    pub owner_references: Option<Vec<Owner>>,
}

/// An owner of an object.
#[derive(Debug, Clone, Deserialize)]
pub struct Owner {
    /// Kind of the owner.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is the managing controller.
    pub controller: Option<bool>,
}

#[derive(Deserialize)]
struct Page<T> {
    metadata: PageMeta,
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(rename = "continue")]
    more: Option<String>,
}

/// Lists a namespace (empty: all namespaces), and returns what `convert` makes of each object.
pub async fn list<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    convert: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, namespace);
    Box::pin(attempt_list(cluster, resource, namespace, convert)).await.map_err(|error| explain(access, &error))
}

/// As [`list`], with `None` for the given status codes.
pub async fn list_optional<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    absent: &[u16],
    convert: impl FnMut(T) -> Option<U>,
) -> Result<Option<Vec<U>>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, namespace);
    match Box::pin(attempt_list(cluster, resource, namespace, convert)).await {
        Ok(list) => Ok(Some(list)),
        Err(error) if absent.contains(&code(&error)) => Ok(None),
        Err(error) => Err(explain(access, &error)),
    }
}

/// Result of a list that may be unavailable.
#[derive(Debug)]
pub enum Listing<U> {
    /// The objects.
    Listed(Vec<U>),
    /// The API server does not serve the kind.
    NotServed,
    /// The user may not list it.
    Forbidden,
}

/// As [`list`], without an error for a kind that is not served or may not be listed.
pub async fn list_if_allowed<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    convert: impl FnMut(T) -> Option<U>,
) -> Result<Listing<U>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, namespace);
    match Box::pin(attempt_list(cluster, resource, namespace, convert)).await {
        Ok(list) => Ok(Listing::Listed(list)),
        Err(error) if code(&error) == 404 => Ok(Listing::NotServed),
        Err(error) if code(&error) == 403 => Ok(Listing::Forbidden),
        Err(error) => Err(explain(access, &error)),
    }
}

async fn attempt_list<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    mut convert: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, kube::Error>
where
    T: DeserializeOwned,
{
    let path = resource.path(namespace);
    let access = Access::new("list", resource.group, resource.plural, namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut converted = Vec::new();
    loop {
        let mut request_page = || {
            let request = Request::new(path.as_str()).list(&params).map_err(kube::Error::BuildRequest);
            async { cluster.client.request::<Page<T>>(request?).await }
        };
        let page = match attempt(access, &mut request_page).await {
            // The list has expired while it was read: read it again in one page.
            Err(error) if code(&error) == 410 && params.continue_token.is_some() => {
                converted.clear();
                params = ListParams::default();
                continue;
            }
            other => other?,
        };
        converted.extend(page.items.into_iter().filter_map(&mut convert));
        match page.metadata.more.filter(|token| !token.is_empty()) {
            Some(token) => params = ListParams { limit: Some(PAGE), ..ListParams::default() }.continue_token(&token),
            None => return Ok(converted),
        }
    }
}
