//! Whether it was the mesh that refused plaintext at an endpoint. A refusal alone proves nothing.
//!
//! *Network evidence*: the certificate that the endpoint shows, together with the mode that the API's objects ask for.
//! *Proxy evidence*: what the endpoint's own proxy has loaded. Either suffices where the other cannot be had; where
//! both are there, they must agree.

use super::identity::PeerIdentity;
use super::mesh::{DataPlane, MtlsMode};
use super::probe::{EndpointCase, EndpointObservation, Hello};
use super::proxy::{ProxyReport, Weight};
use super::reason::Reason;

/// The evidence that the mesh refused, at one endpoint. Without `identity` and `proxy` it is the last resort: a client in
/// the mesh gets through where plaintext is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Address and target port.
    pub endpoint: String,
    /// The verified identity of its certificate: the network's evidence.
    pub identity: Option<PeerIdentity>,
    /// The proxy's own word.
    pub proxy: Option<ProxyReport>,
    /// The object that asks for STRICT, as `namespace/name`; none where the mode could not be read.
    pub policy: Option<String>,
    /// Plaintext samples that were refused.
    pub refused: usize,
}

/// Whose word counts: `--evidence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sources {
    /// The network's, and the proxy's where it may be asked.
    #[default]
    Auto,
    /// The network's only.
    Network,
    /// The proxy's only.
    Proxy,
}

/// What a verdict is held against.
#[derive(Debug, Clone, Copy)]
pub struct JudgeParams<'a> {
    /// Samples that each way in was to give.
    pub attempts: usize,
    /// First part of every SPIFFE identity.
    pub trust_domain: &'a str,
    /// Whose word counts.
    pub sources: Sources,
    /// Whether it suffices, where no evidence can be had, that a client in the mesh gets through.
    pub last_resort: bool,
}

/// How every plaintext sample was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Each by a reset.
    Reset,
    /// At least one by a plain close, which a STRICT sidecar was never seen to do.
    Closed,
}

/// What one kind of evidence says.
enum Side<T> {
    /// It was the mesh.
    For(T),
    /// It was not, or something does not fit.
    Against(Reason, String),
    /// This kind of evidence cannot be had.
    Absent(Reason, String),
}

/// Weighs both kinds. The error says why they prove nothing.
pub fn weigh(
    case: &EndpointCase,
    seen: &EndpointObservation,
    refusal: Refusal,
    terms: JudgeParams<'_>,
) -> Result<Evidence, (Reason, String)> {
    // A plain close has its own reason: it was hardly the mesh, whatever else does not fit.
    let named = |reason| if refusal == Refusal::Closed { Reason::ClosedNotReset } else { reason };
    check_proxy_in_path(case).map_err(|(reason, why)| (named(reason), why))?;
    let refused = seen.samples.len();
    let network = match terms.sources {
        Sources::Auto | Sources::Network => network(case, seen.hello.as_ref(), terms.trust_domain),
        Sources::Proxy => Side::Absent(Reason::ProxySilent, "only the proxy's own word was to count".to_owned()),
    };
    let (identity, proxy) = match (network, proxy(seen, refused, terms.sources)) {
        (Side::For(_), Side::Absent(..)) if refusal == Refusal::Closed => {
            let why = "only the proxy's own word could tell that it was the mesh".to_owned();
            return Err((Reason::ClosedNotReset, why));
        }
        (Side::For(identity), Side::For(word)) => (Some(identity), Some(word)),
        (Side::For(identity), Side::Absent(..)) => (Some(identity), None),
        // A ztunnel closes as often as it resets.
        (Side::Absent(..), Side::Absent(..))
            if terms.last_resort && (refusal == Refusal::Reset || case.data_plane == DataPlane::Ambient) =>
        {
            (None, None)
        }
        (Side::Absent(..), Side::For(word)) => (None, Some(word)),
        (Side::For(identity), Side::Against(_, word)) => {
            let why = format!("the endpoint shows the mesh's certificate ({}), but {word}", identity.spiffe);
            return Err((Reason::EvidenceDisagrees, why));
        }
        (Side::Against(_, why), Side::For(word)) => {
            return Err((Reason::EvidenceDisagrees, format!("{why}; but the proxy says that {word}")));
        }
        (Side::Against(reason, why) | Side::Absent(reason, why), word) => {
            return Err((named(reason), joined(why, word)));
        }
    };
    let mode = case.mode.mode;
    let policy = mode.map(|_| {
        case.mode.decided_by().map_or_else(
            || "mesh default".to_owned(),
            |step| {
                if step.namespace.is_empty() { step.name.clone() } else { format!("{}/{}", step.namespace, step.name) }
            },
        )
    });
    Ok(Evidence { endpoint: format!("{}:{}", case.address, case.port), identity, proxy, policy, refused })
}

fn joined(why: String, word: Side<ProxyReport>) -> String {
    match word {
        Side::For(word) => format!("{why}; the proxy says that {word}"),
        Side::Against(_, word) => format!("{why}; {word}"),
        Side::Absent(_, word) if !word.is_empty() => format!("{why}; {word}"),
        Side::Absent(..) => why,
    }
}

/// Where no proxy stands between us and the port, neither kind of evidence means anything.
fn check_proxy_in_path(case: &EndpointCase) -> Result<(), (Reason, String)> {
    if case.data_plane == DataPlane::None {
        return Err((Reason::TargetNotMeshed, "the endpoint's pod has no sidecar".to_owned()));
    }
    if !case.captured {
        let why = format!("port {} is excluded from the sidecar's capture", case.port);
        return Err((Reason::ResetWithoutEvidence, why));
    }
    Ok(())
}

fn proxy(seen: &EndpointObservation, refused: usize, sources: Sources) -> Side<ProxyReport> {
    match &seen.proxy {
        Some(Err(why)) if sources == Sources::Proxy => {
            Side::Absent(Reason::ResetWithoutEvidence, format!("the proxy was not heard: {why}"))
        }
        // Elsewhere nobody asked for its word: that it may not be had is no news.
        None | Some(Err(_)) => Side::Absent(Reason::ResetWithoutEvidence, String::new()),
        Some(Ok(word)) => match word.worth(refused) {
            Weight::Supports => Side::For(word.clone()),
            Weight::Contradicts => Side::Against(Reason::ResetWithoutEvidence, format!("the proxy says that {word}")),
            Weight::Silent => Side::Absent(Reason::ResetWithoutEvidence, format!("the proxy says that {word}")),
        },
    }
}

fn network(case: &EndpointCase, hello: Option<&Hello>, trust_domain: &str) -> Side<PeerIdentity> {
    if matches!(case.data_plane, DataPlane::Ambient | DataPlane::Pending) {
        return match case.mode.mode {
            None | Some(MtlsMode::Strict) => {
                let why = "the pod is captured by ztunnel, whose refusal looks like a dead application's from outside";
                Side::Absent(Reason::ResetWithoutEvidence, why.to_owned())
            }
            Some(mode) => Side::Against(Reason::ResetWithoutEvidence, not_by_the_mesh(mode)),
        };
    }
    let shown = certificate(case, hello, trust_domain);
    match (case.mode.mode, shown) {
        (Some(MtlsMode::Strict), shown) => shown,
        (Some(mode), Side::For(_)) => {
            let why = format!("the endpoint answers a TLS hello like STRICT, but the mode that applies is {mode}");
            Side::Against(Reason::EvidenceDisagrees, why)
        }
        (Some(mode), _) => Side::Against(Reason::ResetWithoutEvidence, not_by_the_mesh(mode)),
        (None, Side::Against(reason, why)) => Side::Against(reason, why),
        (None, _) => Side::Absent(Reason::ModeUnknown, "policies of the root namespace cannot be read".to_owned()),
    }
}

fn not_by_the_mesh(mode: MtlsMode) -> String {
    format!("the mode that applies is {mode}, so it was not the mesh that reset")
}

/// What the endpoint's answer to an ordinary TLS hello shows, whatever the mode.
fn certificate(case: &EndpointCase, hello: Option<&Hello>, trust_domain: &str) -> Side<PeerIdentity> {
    let Some(hello) = hello else {
        return Side::Absent(Reason::LostOutput, "the record of the TLS hello did not arrive".to_owned());
    };
    let identity = match &hello.identity {
        Some(Ok(identity)) => identity,
        Some(Err(why)) => return Side::Against(Reason::ApplicationTls, format!("the certificate {why}")),
        None if hello.chain.is_empty() => {
            let why = "the mode that applies is STRICT, but the endpoint answers a TLS hello with no certificate";
            return Side::Against(Reason::ResetWithoutEvidence, why.to_owned());
        }
        None => {
            let why = "the mesh root (ConfigMap istio-ca-root-cert) cannot be read, so the certificate proves nothing";
            return Side::Absent(Reason::MeshRootUnknown, why.to_owned());
        }
    };
    let own = case.identity.as_ref().map(|path| format!("spiffe://{trust_domain}{path}"));
    if own.as_ref() != Some(&identity.spiffe) {
        let expected = own.unwrap_or_else(|| "unknown".to_owned());
        let why = format!("the certificate is {}, the pod's own identity is {expected}", identity.spiffe);
        return Side::Against(Reason::ApplicationTls, why);
    }
    if !hello.certificate_requested {
        let why = "the mesh's certificate was shown, but no client certificate was asked for";
        return Side::Against(Reason::EvidenceDisagrees, why.to_owned());
    }
    Side::For(identity.clone())
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
