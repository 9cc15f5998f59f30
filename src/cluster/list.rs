//! Lists objects page by page, for snapshots. Each object is converted before the next page is read, so that a namespace of
//! ten thousand pods needs the memory of one page.

use super::connect::Cluster;
use super::error::{Access, ClusterError, LimitExceeded, code, explain};
use super::request::attempt;
use kube::api::{ListParams, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::time::Duration;

/// Objects per page, as kubectl requests them.
const PAGE: u32 = 500;

/// Definitions per page: one with schemas can have a megabyte.
const PAGE_OF_DEFINITIONS: u32 = 25;

/// The size of a page: definitions are large, however many of other objects are asked for.
fn page_size(resource: Resource, page: u32) -> u32 {
    if resource.plural == "customresourcedefinitions" { page.min(PAGE_OF_DEFINITIONS) } else { page }
}

/// Most objects of one kind.
const MAX_OBJECTS: usize = 100_000;

/// Most pages of one list. A server may return pages that are smaller than requested, but not without end.
const MAX_PAGES: usize = 1000;

/// How often a list that expired while it was read (410) is read again from its beginning.
const RESTARTS: u32 = 3;

/// Pause before the first restart; each further one is twice as long.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

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

/// Which objects of a resource are listed, and how many of them in one page.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    namespace: &'a str,
    labels: &'a str,
    page: u32,
}

impl<'a> Selection<'a> {
    /// The objects of a namespace (empty: of all namespaces) that a label selector selects (empty: all of them).
    pub const fn labelled(namespace: &'a str, labels: &'a str) -> Self {
        Self { namespace, labels, page: PAGE }
    }

    /// The same objects in pages of this many, for objects that are so large that 500 of them exceed the limit of a page.
    #[must_use]
    pub const fn in_pages_of(self, page: u32) -> Self {
        Self { page, ..self }
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
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// API version of the owner.
    #[serde(default)]
    pub api_version: String,
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
    list_selected(cluster, resource, Selection::labelled(namespace, ""), convert).await
}

/// As [`list`], for the objects of a selection.
pub async fn list_selected<T, U>(
    cluster: &Cluster,
    resource: Resource,
    selection: Selection<'_>,
    convert: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, selection.namespace);
    let listed = Box::pin(attempt_list(cluster, resource, selection, convert)).await;
    listed.map_err(|error| explain(access, &error))
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
    match Box::pin(attempt_list(cluster, resource, Selection::labelled(namespace, ""), convert)).await {
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

impl<U> Listing<U> {
    /// The objects; none if they are unavailable. A kind that may not be listed is added to `unread`, in words.
    pub fn or_noted(self, kind: &str, unread: &mut Vec<String>) -> Vec<U> {
        match self {
            Self::Listed(list) => return list,
            Self::NotServed => {}
            Self::Forbidden => unread.push(kind.to_owned()),
        }
        Vec::new()
    }
}

/// As [`list_if_allowed`], for a kind that discovery may not have found.
pub async fn list_if_served<T, U>(
    cluster: &Cluster,
    resource: Option<Resource>,
    namespace: &str,
    convert: impl FnMut(T) -> Option<U>,
) -> Result<Listing<U>, ClusterError>
where
    T: DeserializeOwned,
{
    match resource {
        Some(resource) => list_if_allowed(cluster, resource, namespace, convert).await,
        None => Ok(Listing::NotServed),
    }
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
    list_selected_if_allowed(cluster, resource, Selection::labelled(namespace, ""), convert).await
}

/// As [`list_if_allowed`], for the objects of a selection.
pub async fn list_selected_if_allowed<T, U>(
    cluster: &Cluster,
    resource: Resource,
    selection: Selection<'_>,
    convert: impl FnMut(T) -> Option<U>,
) -> Result<Listing<U>, ClusterError>
where
    T: DeserializeOwned,
{
    let access = Access::new("list", resource.group, resource.plural, selection.namespace);
    match Box::pin(attempt_list(cluster, resource, selection, convert)).await {
        Ok(list) => Ok(Listing::Listed(list)),
        Err(error) if code(&error) == 404 => Ok(Listing::NotServed),
        Err(error) if code(&error) == 403 => Ok(Listing::Forbidden),
        Err(error) => Err(explain(access, &error)),
    }
}

async fn attempt_list<T, U>(
    cluster: &Cluster,
    resource: Resource,
    selection: Selection<'_>,
    mut convert: impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, kube::Error>
where
    T: DeserializeOwned,
{
    let Selection { namespace, labels, page } = selection;
    let mut params = ListParams::default().limit(page_size(resource, page));
    if !labels.is_empty() {
        params = params.labels(labels);
    }
    let mut pause = RESTART_PAUSE;
    for _ in 0..RESTARTS {
        match read_pages(cluster, resource, namespace, params.clone(), &mut convert).await {
            Err(error) if code(&error) == 410 => tokio::time::sleep(pause).await,
            other => return other,
        }
        pause *= 2;
    }
    read_pages(cluster, resource, namespace, params, &mut convert).await
}

/// Reads a list from its first page to its last.
async fn read_pages<T, U>(
    cluster: &Cluster,
    resource: Resource,
    namespace: &str,
    mut params: ListParams,
    convert: &mut impl FnMut(T) -> Option<U>,
) -> Result<Vec<U>, kube::Error>
where
    T: DeserializeOwned,
{
    let path = resource.path(namespace);
    let access = Access::new("list", resource.group, resource.plural, namespace);
    let (mut converted, mut objects) = (Vec::new(), 0);
    for _ in 0..MAX_PAGES {
        let mut request_page = || {
            let request = Request::new(path.as_str()).list(&params).map_err(kube::Error::BuildRequest);
            async { cluster.client.request::<Page<T>>(request?).await }
        };
        let page = attempt(access, &mut request_page).await?;
        objects += page.items.len();
        if objects > MAX_OBJECTS {
            return Err(LimitExceeded::new(format!("there are more than {MAX_OBJECTS} objects of this kind")).into());
        }
        converted.extend(page.items.into_iter().filter_map(&mut *convert));
        match page.metadata.more.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(converted),
        }
    }
    Err(LimitExceeded::new(format!("the list has more than {MAX_PAGES} pages")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A cluster that answers request number N with `page(N)`, and the number of its requests.
    fn cluster(page: impl Fn(usize) -> (u16, Value) + Send + Sync + 'static) -> (Cluster, Arc<AtomicUsize>) {
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, page) = (Arc::clone(&requests), Arc::new(page));
        let service = tower::service_fn(move |_: http::Request<Body>| {
            let (status, body) = page(counter.fetch_add(1, Ordering::Relaxed));
            async move {
                let body = Body::from(body.to_string().into_bytes());
                let status = StatusCode::from_u16(status).unwrap();
                Ok::<_, std::convert::Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        let client = kube::Client::new(service, "shop");
        (Cluster::of_test(client), requests)
    }

    async fn list_pods(cluster: &Cluster) -> Result<usize, String> {
        let listed = list(cluster, Resource::core("pods"), "shop", |pod: Value| Some(pod)).await;
        listed.map(|pods| pods.len()).map_err(|error| error.message)
    }

    fn page(objects: usize, more: &str) -> (u16, Value) {
        (200, json!({"metadata": {"continue": more}, "items": vec![json!({}); objects]}))
    }

    fn expired() -> (u16, Value) {
        (410, json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}))
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_end_is_given_up_at_its_limits() {
        let (endless, requests) = cluster(|_| page(500, "again"));
        let error = list_pods(&endless).await.unwrap_err();
        assert!(error.ends_with("there are more than 100000 objects of this kind"), "{error}");
        assert_eq!(requests.load(Ordering::Relaxed), 201);
        let (empty, requests) = cluster(|_| page(0, "again"));
        let error = list_pods(&empty).await.unwrap_err();
        assert!(error.ends_with("the list has more than 1000 pages"), "{error}");
        assert_eq!(requests.load(Ordering::Relaxed), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_expires_is_read_again_a_few_times_with_pauses() {
        let start = tokio::time::Instant::now();
        let (expiring, requests) = cluster(|number| if number % 2 == 0 { page(500, "more") } else { expired() });
        let error = list_pods(&expiring).await.unwrap_err();
        assert!(error.contains("Expired: too old"), "{error}");
        assert_eq!((requests.load(Ordering::Relaxed), start.elapsed()), (8, Duration::from_millis(3500)));
        let (recovering, _) =
            cluster(|number| if number == 1 { expired() } else { page(2, if number == 0 { "more" } else { "" }) });
        assert_eq!(list_pods(&recovering).await, Ok(2));
    }
}
