//! Turns errors of the client into a message that names the object and a hint, for all users of the API.

use crate::sanitize::excerpt;
use kube::core::Status;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;

/// Longest time that a request waits in total for a server that reports when it accepts requests again.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(20);

/// A failed request: the cluster, its API or its permissions did not allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterError {
    /// What was attempted, and why it failed.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl ClusterError {
    /// An error with a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ClusterError {}

/// A response exceeds a limit of this tool. The message names the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LimitExceeded(String);

impl LimitExceeded {
    /// An error about one limit: `the response is larger than 32 MiB`.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl From<LimitExceeded> for kube::Error {
    fn from(error: LimitExceeded) -> Self {
        Self::Service(error.into())
    }
}

/// The verb and the object of a request, for messages and for the right that it needs.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    /// `get`, `list`, `watch`, `create`, `patch` or `delete`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Plural name, with a subresource after a slash: `pods/log`.
    pub resource: &'a str,
    /// Namespace; empty for the whole cluster.
    pub namespace: &'a str,
    /// Name of the object; empty for none.
    pub name: &'a str,
    /// Whether sending the request twice has the same effect as once.
    pub is_repeatable: bool,
}

impl<'a> Access<'a> {
    /// Access to a resource in a namespace; reads are repeatable.
    pub const fn new(verb: &'static str, group: &'a str, resource: &'a str, namespace: &'a str) -> Self {
        let is_repeatable = matches!(verb.as_bytes(), b"get" | b"list" | b"watch");
        Self { verb, group, resource, namespace, name: "", is_repeatable }
    }

    /// The same access as repeatable: for a write of an object whose name no other program uses.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// The same access for one object.
    #[must_use]
    pub const fn named(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// The commands that grant it.
    pub fn grant(&self) -> String {
        let (kind, scope) = if self.namespace.is_empty() {
            ("clusterrole", String::new())
        } else {
            ("role", format!(" -n {}", self.namespace))
        };
        let resource = match (self.group, self.resource.split_once('/')) {
            ("", _) => self.resource.to_owned(),
            (group, None) => format!("{}.{group}", self.resource),
            (group, Some((resource, sub))) => format!("{resource}.{group}/{sub}"),
        };
        // Server-side apply may create the object.
        let verb = if self.verb == "patch" { "create,patch" } else { self.verb };
        let name = format!("secure-traffic-{}", self.resource.replace('/', "-"));
        format!(
            "an administrator can grant it: kubectl create {kind} {name} --verb={verb} --resource={resource}{scope} \
             && kubectl create {kind}binding {name} --{kind}={name} --user=<you>{scope}; `secure-traffic rbac` prints all that is needed"
        )
    }
}

impl fmt::Display for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " in namespace {:?}", self.namespace)?;
        }
        Ok(())
    }
}

/// Explains a failed request.
pub fn explain(access: Access<'_>, error: &kube::Error) -> ClusterError {
    explain_as(&format!("could not {access}"), access, error)
}

/// Explains a failed first request, with the address of the server.
pub fn explain_server(server: &str, error: &kube::Error) -> ClusterError {
    let access = Access::new("get", "", "apis", "");
    explain_as(&format!("could not ask the API server at {server}"), access, error)
}

fn explain_as(attempted: &str, access: Access<'_>, error: &kube::Error) -> ClusterError {
    // The connection and the credentials have errors of their own.
    if let Some(own) = causes(error).find_map(|cause| cause.downcast_ref::<ClusterError>()) {
        return ClusterError { message: format!("{attempted}: {}", own.message), hint: own.hint.clone() };
    }
    let (reason, hint) = match error {
        kube::Error::Api(status) => (status_text(status), api_hint(access, status)),
        other => (root_cause(other), Some(transport_hint(other))),
    };
    ClusterError { message: format!("{attempted}: {}", excerpt(&reason)), hint }
}

fn status_text(status: &Status) -> String {
    match (status.reason.as_str(), status.message.as_str()) {
        ("", "") => format!("the server answered {}", status.code),
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn api_hint(access: Access<'_>, status: &Status) -> Option<String> {
    match status.code {
        401 => Some("the credentials were refused: log in again (oc login, or refresh your kubeconfig)".to_owned()),
        403 if access.resource == "apis" => Some(
            "this account may not even discover the API: an administrator can bind it to the clusterrole \
             system:discovery"
                .to_owned(),
        ),
        403 if status.message.contains(" cannot ") => Some(access.grant()),
        404 if access.resource == "namespaces" => Some("see `kubectl get namespaces`, and name one with -n".to_owned()),
        429 if retry_after(status).is_some_and(|time| time > MAX_RETRY_AFTER) => Some(format!(
            "the API server throttles: try again in {} s",
            retry_after(status).unwrap_or_default().as_secs()
        )),
        429 | 503 | 504 => Some("the API server is busy or not ready: try again in a moment".to_owned()),
        _ => None,
    }
}

fn transport_hint(error: &kube::Error) -> String {
    if causes(error).any(<dyn std::error::Error + 'static>::is::<LimitExceeded>) {
        return "this tool reads no more of a server: check that the address is that of an API server, or narrow the command \
                to one namespace (-n)"
            .to_owned();
    }
    if is_timeout(error) {
        return "the API server is slow or stalls: raise --request-timeout, or check the way to it".to_owned();
    }
    if is_broken_off(error) {
        return "the way to the API server is bad: a proxy or load balancer in between may cut connections; try again"
            .to_owned();
    }
    if is_other_than_json(error) {
        return "check the address: a login page or a proxy may have answered in place of the API server".to_owned();
    }
    if causes(error).any(|cause| cause.to_string().contains(NOT_TLS)) {
        return "check the address: a server without TLS has one that begins with http://".to_owned();
    }
    if root_cause(error).to_lowercase().contains("certificate") {
        return "check --certificate-authority and --tls-server-name against the server's certificate".to_owned();
    }
    "check that the API server of this context is up (`kubectl cluster-info`); --context chooses another, and \
     --sandbox needs none"
        .to_owned()
}

/// The sources of an error. `std::io::Error::source` skips the error that it wraps; this does not.
fn causes(error: &kube::Error) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(error.source(), |error| source_of(*error))
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

fn source_of(error: Cause<'_>) -> Option<Cause<'_>> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// Whether the request or its connection ran into the deadline.
pub fn is_timeout(error: &kube::Error) -> bool {
    causes(error).any(|cause| cause.is::<tower::timeout::error::Elapsed>() || cause.is::<tokio::time::error::Elapsed>())
}

/// Whether the connection broke during the request, which the server may have received.
pub fn is_broken_off(error: &kube::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    causes(error).any(|cause| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        matches!(kind, Some(ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof))
            || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
    })
}

/// Whether a write with this error may have taken effect nevertheless: its response is missing or incomplete, or the server
/// gave up waiting for it.
pub fn is_unanswered(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 504 || (status.code >= 500 && status.message.contains("timed out")),
        kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// How rustls calls an answer without TLS.
const NOT_TLS: &str = "InvalidContentType";

/// Whether the answer is no JSON at all, as the page of a login or of a proxy. One of another shape is JSON.
fn is_other_than_json(error: &kube::Error) -> bool {
    matches!(error, kube::Error::SerdeError(error) if error.is_syntax())
}

/// The innermost cause, which names what the user can change.
fn root_cause(error: &kube::Error) -> String {
    if is_timeout(error) {
        return "no answer within the request's deadline".to_owned();
    }
    let is_cut = |error: &std::io::Error| error.kind() == std::io::ErrorKind::UnexpectedEof;
    if causes(error).any(|cause| cause.downcast_ref().is_some_and(is_cut)) {
        return "the connection was closed before the answer was whole".to_owned();
    }
    if is_other_than_json(error) {
        return "its answer is not JSON".to_owned();
    }
    let last = causes(error).last();
    // A proxy in between may answer with an HTML page; its beginning is enough.
    let text = last.map_or_else(|| error.to_string(), ToString::to_string);
    if text.contains(NOT_TLS) {
        return "it does not speak TLS".to_owned();
    }
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{} …", text[..end].trim_end()),
        None => text,
    }
}

/// The time after which the server accepts the request again, as it reports.
pub fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// The HTTP status code of an API error; 0 for any other error.
pub fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// Whether an object of this name exists already. A 409 with another reason, such as the `Conflict` of a `ResourceQuota`,
/// says nothing about the object.
pub fn is_already_there(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "AlreadyExists")
}

/// Whether the server did not create the object because another request was faster, as a `ResourceQuota` answers.
pub fn is_creation_conflict(access: Access<'_>, error: &kube::Error) -> bool {
    access.verb == "create" && code(error) == 409 && !is_already_there(error)
}
