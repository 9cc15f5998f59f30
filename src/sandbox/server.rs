//! The state of the API server and the shapes of its responses. The verbs, discovery and the routing build on it.

use super::node::Node;
use super::resource::Catalogue;
use super::status::ApiStatus;
use super::store::Store;
use super::write::Writer;
use http::request::Parts;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;
use url::form_urlencoded;

/// A body of any shape: a document, or a stream of events or log lines.
pub(super) type ApiResponse = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The parts that respond to requests.
#[derive(Debug)]
pub(super) struct ApiServer {
    pub(super) store: Arc<Store>,
    pub(super) writer: Writer,
    pub(super) node: Arc<Node>,
    pub(super) catalogue: Catalogue,
}

/// A JSON document as a response.
pub(super) fn document(code: u16, value: &Value) -> ApiResponse {
    let mut response = Response::new(Full::from(value.to_string()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// A status as a response.
pub(super) fn status_response(status: &ApiStatus) -> ApiResponse {
    document(status.code, &status.to_json())
}

/// The decoded query of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(parts: &Parts) -> Self {
        Self(form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value == "true" || value == "1")
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}
