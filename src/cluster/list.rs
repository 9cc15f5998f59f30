//! Lists, page by page, of shapes that hold no more than is asked of them.
//!
//! An object is turned into what is kept of it before the next page is read, so that a namespace of ten thousand pods
//! costs the memory of a page.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain};
use super::request::attempt;
use kube::api::{ListParams, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Objects a page, as kubectl asks for them.
const PAGE: u32 = 500;

/// A resource to list: group, version and plural.
#[derive(Debug, Clone, Copy)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural, as in paths.
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

/// What is read of an object's metadata.
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
    /// Whether it keeps the object as it is.
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

/// Every object of a namespace (empty: of all), turned into what `keep` makes of it.
pub async fn list<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    keep: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, namespace);
    Box::pin(attempt_list(cluster, resource, namespace, keep)).await.map_err(|error| explain(access, &error))
}

/// The same, where some answers of the server are an answer: `None` for the given status codes.
pub async fn list_optional<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    absent: &[u16],
    keep: impl FnMut(T) -> Option<U>,
) -> Result<Option<Vec<U>>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, namespace);
    match Box::pin(attempt_list(cluster, resource, namespace, keep)).await {
        Ok(list) => Ok(Some(list)),
        Err(error) if absent.contains(&code(&error)) => Ok(None),
        Err(error) => Err(explain(access, &error)),
    }
}

/// What became of a list that is only asked for to know more.
#[derive(Debug)]
pub enum Found<U> {
    /// The objects.
    Listed(Vec<U>),
    /// The cluster has no such kind.
    NotServed,
    /// We may not read it.
    Forbidden,
}

/// The same, where neither a kind that is not there nor a missing permission is an error.
pub async fn list_if_allowed<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    keep: impl FnMut(T) -> Option<U>,
) -> Result<Found<U>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, namespace);
    match Box::pin(attempt_list(cluster, resource, namespace, keep)).await {
        Ok(list) => Ok(Found::Listed(list)),
        Err(error) if code(&error) == 404 => Ok(Found::NotServed),
        Err(error) if code(&error) == 403 => Ok(Found::Forbidden),
        Err(error) => Err(explain(access, &error)),
    }
}

async fn attempt_list<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    mut keep: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, kube::Error>
where
    T: DeserializeOwned,
{
    let path = resource.path(namespace);
    let access = Access::new("list", resource.group, resource.plural, namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut kept = Vec::new();
    loop {
        let mut ask = || {
            let request = Request::new(path.as_str()).list(&params).map_err(kube::Error::BuildRequest);
            async { cluster.client.request::<Page<T>>(request?).await }
        };
        let page = match attempt(access, &mut ask).await {
            // The list has grown old while it was read: once more, in one piece.
            Err(error) if code(&error) == 410 && params.continue_token.is_some() => {
                kept.clear();
                params = ListParams::default();
                continue;
            }
            other => other?,
        };
        kept.extend(page.items.into_iter().filter_map(&mut keep));
        match page.metadata.more.filter(|token| !token.is_empty()) {
            Some(token) => params = ListParams { limit: Some(PAGE), ..ListParams::default() }.continue_token(&token),
            None => return Ok(kept),
        }
    }
}
