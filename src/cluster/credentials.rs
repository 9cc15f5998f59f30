//! The credentials of a user: a certificate for TLS, and the `Authorization` header of each request, which is renewed while
//! a run lasts.

use super::deadline::after_signal;
use super::error::ClusterError;
use super::exec_plugin::ExecPlugin;
use super::{http_proxy, local_file};
use crate::signal::Shutdown;
use base64::Engine as _;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::config::AuthInfo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// How often a token file is read again, as in client-go.
const FILE_PERIOD: Duration = Duration::from_mins(1);

/// How long before its expiry a token is renewed.
const MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// The credentials of the user, for requests and for TLS.
pub(super) struct Identity {
    /// The `Authorization` header.
    pub(super) credentials: Credentials,
    /// Certificate chain and key in PEM, for TLS.
    pub(super) certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// The source of the `Authorization` header.
#[derive(Clone)]
pub(super) enum Credentials {
    /// Requests have no such header.
    None,
    /// The header is the same for the whole run.
    Fixed(HeaderValue),
    /// A token in a file that another program renews.
    File(Arc<TokenFile>),
    /// A token of a plugin.
    Plugin(Arc<PluginToken>),
}

/// A token in a file.
pub(super) struct TokenFile {
    path: PathBuf,
    /// The header of the token as read last, and when.
    state: Mutex<(HeaderValue, Instant)>,
}

/// A token that a plugin prints.
pub(super) struct PluginToken {
    plugin: ExecPlugin,
    /// The header, and when the token expires; `None` if the server has refused it.
    state: Mutex<Option<(HeaderValue, Option<Timestamp>)>>,
}

impl Identity {
    /// The identity of a user of the kubeconfig, in client-go's order: `--token`, a token, a token file, a user with a
    /// password (`login` is that of the server's URL), a plugin. `cluster` is for the plugin.
    pub(super) async fn new(
        user: &AuthInfo,
        name: &str,
        token: Option<&str>,
        login: Option<(String, String)>,
        cluster: Value,
    ) -> Result<Self, ClusterError> {
        // kube gives its secrets to a serializer only.
        let fields = serde_json::to_value(user).unwrap_or_default();
        let field = |name: &str| fields[name].as_str().filter(|text| !text.is_empty());
        let certificate = certificate(&field).await?;
        if let Some(token) = token {
            // A token of the command line replaces every other credential, as in kubectl.
            return Ok(Self { credentials: Credentials::Fixed(bearer(token, "--token")?), certificate: None });
        }
        let basic = |(user, password): (String, String)| Credentials::Fixed(http_proxy::basic(&user, &password));
        let named = field("username").map(|user| (user.to_owned(), field("password").unwrap_or_default().to_owned()));
        let credentials = match (field("token"), field("tokenFile"), named.or(login)) {
            (Some(token), ..) => Credentials::Fixed(bearer(token, &format!("the token of user {name:?}"))?),
            (None, Some(path), _) => Credentials::File(Arc::new(TokenFile::open(Path::new(path)).await?)),
            (None, None, Some(login)) => basic(login),
            (None, None, None) => match (&user.exec, &user.auth_provider) {
                (Some(exec), _) => return of_plugin(ExecPlugin::new(exec, cluster)?, certificate).await,
                (None, Some(provider)) => match provider.config.get("id-token").filter(|_| provider.name == "oidc") {
                    Some(token) => Credentials::Fixed(bearer(token, "the id-token of the auth-provider")?),
                    None => return Err(unsupported_provider(&provider.name)),
                },
                (None, None) => Credentials::None,
            },
        };
        Ok(Self { credentials, certificate })
    }
}

async fn of_plugin(plugin: ExecPlugin, own: Option<(Vec<u8>, Vec<u8>)>) -> Result<Identity, ClusterError> {
    let printed = plugin.run().await?;
    let certificate = printed.certificate.map(|(chain, key)| (chain.into_bytes(), key.into_bytes())).or(own);
    let credentials = match printed.token {
        Some(token) => {
            let header = bearer(&token, "the token of the credential plugin")?;
            Credentials::Plugin(Arc::new(PluginToken { plugin, state: Mutex::new(Some((header, printed.expires))) }))
        }
        None => Credentials::None,
    };
    Ok(Identity { credentials, certificate })
}

fn unsupported_provider(name: &str) -> ClusterError {
    ClusterError::new(
        format!("the auth-provider {name:?} of the kubeconfig is not supported"),
        "use the credential plugin of the provider (users[].user.exec), which its own tool writes into the kubeconfig",
    )
}

/// The client certificate and its key, in PEM.
async fn certificate<'a>(field: &impl Fn(&str) -> Option<&'a str>) -> Result<Option<(Vec<u8>, Vec<u8>)>, ClusterError> {
    let chain = pem(field, "client-certificate").await?;
    let key = pem(field, "client-key").await?;
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some((chain, key))),
        (None, None) => Ok(None),
        (chain, _) => {
            let missing = if chain.is_none() { "client-certificate" } else { "client-key" };
            Err(ClusterError::new(
                format!("the user of the kubeconfig has no {missing}"),
                "a client certificate needs both client-certificate and client-key",
            ))
        }
    }
}

/// The data of a field, else the file that it names.
async fn pem<'a>(field: &impl Fn(&str) -> Option<&'a str>, name: &str) -> Result<Option<Vec<u8>>, ClusterError> {
    let data = format!("{name}-data");
    if let Some(text) = field(&data) {
        return base64::engine::general_purpose::STANDARD.decode(text.trim()).map(Some).map_err(|_| {
            ClusterError::new(format!("{data} of the kubeconfig is not base64"), "see `kubectl config view`")
        });
    }
    let Some(path) = field(name).map(Path::new) else { return Ok(None) };
    let setting = format!("{name} of the kubeconfig");
    local_file::read(path).await.map(Some).map_err(|error| local_file::unreadable(path, &setting, &error))
}

/// The header for a token; `source` names where the token is from.
fn bearer(token: &str, source: &str) -> Result<HeaderValue, ClusterError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        ClusterError::new(
            format!("{source} cannot be sent: it contains a character that an HTTP header cannot contain"),
            "look for a line break in the token",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

impl TokenFile {
    async fn open(path: &Path) -> Result<Self, ClusterError> {
        let header = read_token(path).await?;
        Ok(Self { path: path.to_owned(), state: Mutex::new((header, Instant::now())) })
    }

    async fn header(&self) -> HeaderValue {
        let mut state = self.state.lock().await;
        if state.1.elapsed() >= FILE_PERIOD {
            // A program may delete the file after the start, so an unreadable file leaves the token as it is.
            if let Ok(header) = read_token(&self.path).await {
                state.0 = header;
            }
            state.1 = Instant::now();
        }
        state.0.clone()
    }
}

async fn read_token(path: &Path) -> Result<HeaderValue, ClusterError> {
    const SETTING: &str = "tokenFile of the kubeconfig";
    let bytes = local_file::read(path).await.map_err(|error| local_file::unreadable(path, SETTING, &error))?;
    bearer(String::from_utf8_lossy(&bytes).trim(), &format!("the token in {}", path.display()))
}

impl PluginToken {
    async fn header(&self) -> Result<HeaderValue, ClusterError> {
        let mut state = self.state.lock().await;
        if let Some((header, expires)) = &*state
            && expires.is_none_or(|time| Timestamp::now() + MARGIN < time)
        {
            return Ok(header.clone());
        }
        let printed = self.plugin.run().await?;
        let header = bearer(&printed.token.unwrap_or_default(), "the token of the credential plugin")?;
        *state = Some((header.clone(), printed.expires));
        Ok(header)
    }

    /// Discards a token that the server has refused, unless another request has renewed it.
    async fn discard(&self, refused: &HeaderValue) {
        let mut state = self.state.lock().await;
        if state.as_ref().is_some_and(|(header, _)| header == refused) {
            *state = None;
        }
    }
}

impl Credentials {
    async fn header(&self) -> Result<Option<HeaderValue>, ClusterError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(header) => Ok(Some(header.clone())),
            Self::File(file) => Ok(Some(file.header().await)),
            Self::Plugin(token) => token.header().await.map(Some),
        }
    }
}

/// A layer that adds the `Authorization` header. It is above the deadline of requests, because a plugin may ask the user.
#[derive(Clone)]
pub(super) struct Authorize {
    /// Where the header is from.
    pub(super) credentials: Credentials,
    /// Ends a plugin soon after a signal.
    pub(super) shutdown: Shutdown,
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, authorize: self.clone() }
    }
}

/// A service whose requests have the `Authorization` header.
#[derive(Clone)]
pub(super) struct Authorized<S> {
    inner: S,
    authorize: Authorize,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = futures::future::BoxFuture<'static, Result<Response<R>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let unready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unready);
        let Authorize { credentials, shutdown } = self.authorize.clone();
        Box::pin(async move {
            let header = tokio::select! {
                biased;
                header = credentials.header() => header?,
                () = after_signal(&shutdown) => {
                    return Err(ClusterError::new("the credentials were not renewed in time", "log in again").into());
                }
            };
            if let Some(header) = &header {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            }
            let answer = inner.call(request).await?;
            if let (Credentials::Plugin(token), Some(header), StatusCode::UNAUTHORIZED) =
                (&credentials, &header, answer.status())
            {
                token.discard(header).await;
            }
            Ok(answer)
        })
    }
}
