//! Whether the mesh refused plaintext at an endpoint, from what the probe observed there, for `verdict`. A refused
//! connection alone proves nothing.
//!
//! *Network evidence*: the certificate that the endpoint presents, together with the mode that the API objects ask for.
//! *Proxy evidence*: what the endpoint's proxy has loaded. One kind suffices if the other is unavailable; if both are
//! available, they must agree.

use super::effective::Effective;
use super::identity::PeerIdentity;
use super::inbound::{Bypass, InboundPath};
use super::mesh::{DataPlane, MtlsMode, socket_address};
use super::probe::{EndpointCase, EndpointObservation, Hello};
use super::proxy::{ProxyReport, Weight};
use super::reason::Reason;

/// The evidence that the mesh refused plaintext at one endpoint. If `identity` and `proxy` are both `None`, the evidence
/// is that a client in the mesh reaches the application where plaintext is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Address and target port.
    pub endpoint: String,
    /// The verified identity in the endpoint's certificate: the network evidence.
    pub identity: Option<PeerIdentity>,
    /// The proxy evidence.
    pub proxy: Option<ProxyReport>,
    /// The policy that asks for STRICT, as `namespace/name`, or `mesh default`; `None` if the mode is not known.
    pub policy: Option<String>,
    /// Why network evidence is unavailable, if it is.
    pub no_identity: Option<String>,
    /// Plaintext samples that were refused.
    pub refused: usize,
}

/// Which kinds of evidence count: `--evidence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sources {
    /// Network evidence, and proxy evidence if it is available.
    #[default]
    Auto,
    /// Network evidence only.
    Network,
    /// Proxy evidence only.
    Proxy,
}

/// The parameters of a verdict.
#[derive(Debug, Clone, Copy)]
pub struct JudgeParams<'a> {
    /// Samples expected from each endpoint, and from the Service's address.
    pub attempts: usize,
    /// Trust domain: the first part of every SPIFFE identity.
    pub trust_domain: &'a str,
    /// Which kinds of evidence count.
    pub sources: Sources,
    /// Whether, if no evidence is available, it suffices that a client in the mesh reaches the application.
    pub mesh_client_counts: bool,
}

/// How every plaintext sample was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Every connection was reset.
    Reset,
    /// At least one connection was closed without a reset, which no STRICT sidecar was observed to do.
    Closed,
}

use EvidenceResult::{Against, For, Unavailable};

/// The result of one kind of evidence.
enum EvidenceResult<T> {
    /// The mesh refused the plaintext.
    For(T),
    /// The mesh did not refuse it, or the facts contradict each other.
    Against(Reason, String),
    /// This kind of evidence is unavailable.
    Unavailable(Reason, String),
}

/// Combines both kinds of evidence. The error is the reason, with a description, why they prove nothing.
pub fn weigh(
    case: &EndpointCase,
    seen: &EndpointObservation,
    refusal: RefusalKind,
    params: JudgeParams<'_>,
) -> Result<Evidence, (Reason, String)> {
    // A close without a reset has its own reason: it was hardly the mesh, whatever else is wrong.
    let reason_for = |reason| if refusal == RefusalKind::Closed { Reason::ClosedNotReset } else { reason };
    check_proxy_in_path(case).map_err(|(reason, message)| (reason_for(reason), message))?;
    if let Some(filter) = &case.envoy_filter {
        return weigh_behind_filter(case, seen, filter, params);
    }
    let refused = seen.samples.len();
    let network = match params.sources {
        Sources::Auto | Sources::Network => network(case, seen.hello.as_ref(), refusal, params.trust_domain),
        Sources::Proxy => {
            Unavailable(Reason::ProxySilent, "--evidence proxy accepts only the proxy's configuration".to_owned())
        }
    };
    let mut no_identity = None;
    let (identity, proxy) = match (network, proxy(case, seen, refused, params.sources)) {
        (For(_), Unavailable(..)) if refusal == RefusalKind::Closed => {
            let message = "only the proxy's own word could tell that it was the mesh".to_owned();
            return Err((Reason::ClosedNotReset, message));
        }
        (For(identity), For(report)) => (Some(identity), Some(report)),
        (For(identity), Unavailable(..)) => (Some(identity), None),
        // A ztunnel closes connections as often as it resets them.
        (Unavailable(_, message), Unavailable(_, gap))
            if params.mesh_client_counts
                && (refusal == RefusalKind::Reset || case.data_plane == DataPlane::Ambient) =>
        {
            no_identity = Some(if gap.is_empty() { message } else { format!("{message}; {gap}") });
            (None, None)
        }
        (Unavailable(_, message), For(report)) => {
            no_identity = Some(message);
            (None, Some(report))
        }
        (For(identity), Against(_, message)) => {
            let message = format!("the endpoint shows the mesh's certificate ({}), but {message}", identity.spiffe);
            return Err((Reason::EvidenceDisagrees, message));
        }
        (Against(_, message), For(report)) => {
            return Err((Reason::EvidenceDisagrees, format!("{message}; but the proxy says that {report}")));
        }
        (Against(reason, message) | Unavailable(reason, message), proxy) => {
            return Err((reason_for(reason), combine_reasons(message, proxy)));
        }
    };
    let policy = deciding_policy(&case.mode);
    Ok(Evidence { endpoint: socket_address(&case.address, case.port), identity, proxy, policy, no_identity, refused })
}

/// EF-1: behind an `EnvoyFilter` of the inbound listeners, only what the proxy has loaded is evidence. The policies do not
/// say what it enforces, so a certificate proves nothing together with them, and neither does a client in the mesh.
fn weigh_behind_filter(
    case: &EndpointCase,
    seen: &EndpointObservation,
    filter: &str,
    params: JudgeParams<'_>,
) -> Result<Evidence, (Reason, String)> {
    let only_proxy =
        format!("EnvoyFilter {filter} changes the inbound listeners, so that only what the proxy has loaded counts");
    let refused = seen.samples.len();
    let not_heard = match (params.sources, &seen.proxy) {
        (Sources::Network, _) => "only the network's evidence was to count".to_owned(),
        (_, None) => "the proxy was not asked".to_owned(),
        (_, Some(Err(message))) => format!("the proxy was not heard: {message}"),
        (_, Some(Ok(report))) => match report.weight(refused) {
            Weight::Supports => {
                let is_strict = case.mode.mode == Some(MtlsMode::Strict);
                return Ok(Evidence {
                    endpoint: socket_address(&case.address, case.port),
                    identity: None,
                    proxy: Some(report.clone()),
                    policy: deciding_policy(&case.mode).filter(|_| is_strict),
                    no_identity: Some(only_proxy),
                    refused,
                });
            }
            Weight::Contradicts => {
                let message = format!("the proxy says that {report} (EnvoyFilter {filter} changes its listeners)");
                return Err((Reason::ResetWithoutEvidence, message));
            }
            Weight::Silent => format!("the proxy says that {report}"),
        },
    };
    Err((Reason::EnvoyFilter, format!("{only_proxy}; {not_heard}")))
}

/// `namespace/name` of the policy that decides the mode; `None` if the mode is not known.
fn deciding_policy(effective: &Effective) -> Option<String> {
    effective.mode?;
    Some(match effective.decided_by() {
        None => "mesh default".to_owned(),
        Some(policy) if policy.namespace.is_empty() => policy.name.clone(),
        Some(policy) => format!("{}/{}", policy.namespace, policy.name),
    })
}

fn combine_reasons(network: String, proxy: EvidenceResult<ProxyReport>) -> String {
    match proxy {
        For(report) => format!("{network}; the proxy says that {report}"),
        Against(_, message) => format!("{network}; {message}"),
        Unavailable(_, message) if !message.is_empty() => format!("{network}; {message}"),
        Unavailable(..) => network,
    }
}

/// Without a proxy between the probe and the port, neither kind of evidence is valid.
fn check_proxy_in_path(case: &EndpointCase) -> Result<(), (Reason, String)> {
    let (reason, message) = match case.path {
        InboundPath::Sidecar | InboundPath::Ztunnel => return Ok(()),
        InboundPath::Pending => {
            let message = "ztunnel has not fully captured the pod, so nothing shows who refuses there";
            (Reason::ResetWithoutEvidence, message.to_owned())
        }
        InboundPath::Direct(Bypass::NoProxy | Bypass::HostNetwork) => {
            (Reason::TargetNotMeshed, "the endpoint's pod has no sidecar".to_owned())
        }
        InboundPath::Direct(Bypass::NoWorkload) => {
            (Reason::TargetNotMeshed, "the endpoint's address belongs to no pod of the namespace".to_owned())
        }
        InboundPath::Direct(Bypass::Excluded(_)) => {
            (Reason::ResetWithoutEvidence, format!("port {} is excluded from the sidecar's capture", case.port))
        }
        InboundPath::Direct(Bypass::AddressFamily) => {
            let message = format!("the sidecar does not capture the address family of {}", case.address);
            (Reason::ResetWithoutEvidence, message)
        }
        InboundPath::OwnTls => {
            let message = "the sidecar takes TLS of its own there, by a Sidecar object, in place of the policy";
            (Reason::ApplicationTls, message.to_owned())
        }
        InboundPath::Gateway => {
            (Reason::ResetWithoutEvidence, "a gateway's own listeners decide what it accepts".to_owned())
        }
        InboundPath::ProxyPort => {
            (Reason::ResetWithoutEvidence, format!("port {} is the proxy's own, which no mode covers", case.port))
        }
    };
    Err((reason, message))
}

fn proxy(
    case: &EndpointCase,
    seen: &EndpointObservation,
    refused: usize,
    sources: Sources,
) -> EvidenceResult<ProxyReport> {
    match &seen.proxy {
        // At a ztunnel there is no network evidence beside it.
        Some(Err(message)) if sources == Sources::Proxy || case.data_plane == DataPlane::Ambient => {
            Unavailable(Reason::ResetWithoutEvidence, format!("the proxy was not heard: {message}"))
        }
        // Otherwise proxy evidence is optional, so its absence is not reported.
        None | Some(Err(_)) => Unavailable(Reason::ResetWithoutEvidence, String::new()),
        Some(Ok(report)) => match report.weight(refused) {
            Weight::Supports => For(report.clone()),
            Weight::Contradicts => Against(Reason::ResetWithoutEvidence, format!("the proxy says that {report}")),
            Weight::Silent => Unavailable(Reason::ResetWithoutEvidence, format!("the proxy says that {report}")),
        },
    }
}

fn network(
    case: &EndpointCase,
    hello: Option<&Hello>,
    refusal: RefusalKind,
    trust_domain: &str,
) -> EvidenceResult<PeerIdentity> {
    if matches!(case.data_plane, DataPlane::Ambient | DataPlane::Pending) {
        return match case.mode.mode {
            None | Some(MtlsMode::Strict) => {
                let message =
                    "the pod is captured by ztunnel, whose refusal looks like a dead application's from outside";
                Unavailable(Reason::ResetWithoutEvidence, message.to_owned())
            }
            Some(mode) => Against(Reason::ResetWithoutEvidence, not_by_the_mesh(mode, RefusalKind::Reset)),
        };
    }
    let certificate = certificate(case, hello, trust_domain);
    match (case.mode.mode, certificate) {
        (Some(MtlsMode::Strict), result) => result,
        (Some(mode), For(_)) => {
            let message = format!(
                "the endpoint answers a TLS hello like STRICT, but the mode that applies is {mode}: a change may not be in \
                 force yet"
            );
            Against(Reason::EvidenceDisagrees, message)
        }
        (Some(mode), _) => Against(Reason::ResetWithoutEvidence, not_by_the_mesh(mode, refusal)),
        (None, Against(reason, message)) => Against(reason, message),
        (None, _) => Unavailable(Reason::ModeUnknown, "policies of the root namespace cannot be read".to_owned()),
    }
}

fn not_by_the_mesh(mode: MtlsMode, refusal: RefusalKind) -> String {
    match refusal {
        RefusalKind::Reset => format!(
            "the mode that applies is {mode}, under which the mesh does not reset: a change may not be in force yet, or \
             something else reset"
        ),
        RefusalKind::Closed => format!(
            "the mode that applies is {mode}, and a connection that is closed without a reset was closed by the \
             application or by an authorization policy"
        ),
    }
}

/// What the endpoint's answer to an ordinary TLS hello proves, regardless of the mode.
fn certificate(case: &EndpointCase, hello: Option<&Hello>, trust_domain: &str) -> EvidenceResult<PeerIdentity> {
    let Some(hello) = hello else {
        return Unavailable(Reason::LostOutput, "the record of the TLS hello did not arrive".to_owned());
    };
    let identity = match &hello.identity {
        Some(Ok(identity)) => identity,
        Some(Err(message)) => {
            return Against(Reason::ApplicationTls, format!("the certificate {message}"));
        }
        None if hello.chain.is_empty() && hello.certificate_shown && hello.certificate_requested => {
            let message = "the endpoint shows a certificate and asks for the client's, but ends the TLS handshake before \
                           curl reports the certificate, as servers of TLS 1.2 do";
            return Unavailable(Reason::ResetWithoutEvidence, message.to_owned());
        }
        None if hello.chain.is_empty() => {
            let message = "the mode that applies is STRICT, but the endpoint answers a TLS hello with no certificate";
            return Against(Reason::ResetWithoutEvidence, message.to_owned());
        }
        None => {
            let message =
                "the mesh root (ConfigMap istio-ca-root-cert) cannot be read, so the certificate proves nothing";
            return Unavailable(Reason::MeshRootUnknown, message.to_owned());
        }
    };
    let expected = case.identity.as_ref().map(|path| format!("spiffe://{trust_domain}{path}"));
    if expected.as_ref() != Some(&identity.spiffe) {
        let expected = expected.unwrap_or_else(|| "unknown".to_owned());
        let message = format!("the certificate is {}, the pod's own identity is {expected}", identity.spiffe);
        return Against(Reason::ApplicationTls, message);
    }
    if !hello.certificate_requested {
        let message = "the mesh's certificate was shown, but no client certificate was asked for";
        return Against(Reason::EvidenceDisagrees, message.to_owned());
    }
    For(identity.clone())
}

#[cfg(test)]
mod tests;
