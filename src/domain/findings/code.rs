//! The codes of findings: stable words, which scripts and `--ignore` name.

use std::fmt;
use std::str::FromStr;

/// What was found; `docs/findings.md` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Clients in the mesh send plaintext to a port that takes only mutual TLS (F03).
    PlaintextToStrict,
    /// A workload is STRICT below a namespace or mesh in DISABLE, which is all that auto mTLS looks at (F06, DR-25).
    StrictUnderDisable,
    /// Clients are told to send mutual TLS to pods that have no proxy to take it (F02).
    MtlsToNoProxy,
    /// Clients send mutual TLS to a port in mode DISABLE, which does not terminate it (F04).
    MtlsToDisable,
    /// Clients are told to send TLS of their own to a port that a sidecar takes (F05).
    TlsToSidecar,
    /// A headless Service has endpoints with and without a sidecar, so that clients send plaintext to all (F07).
    HeadlessMixed,
    /// The label `security.istio.io/tlsMode` of a pod does not say what the pod does (F18).
    TlsModeLabel,
    /// Ambient clients send plaintext to a STRICT sidecar that takes no HBONE (F22).
    AmbientToSidecar,
    /// STRICT is asked for, and the pods have no proxy that could enforce it (F01).
    Unprotected,
    /// A sidecar leaves a port alone: STRICT does not protect it, and clients that send mutual TLS fail there (F01, BY-1..BY-4).
    NotCaptured,
    /// The policies ask for STRICT, and a ztunnel lets plaintext in all the same (F15, AM-5).
    AmbientFailOpen,
    /// The API server, which is in no mesh, calls a Service whose port is STRICT (BY-19).
    ApiServerCall,
    /// The kubelet asks the application itself, which STRICT refuses (BY-11).
    RawProbe,
    /// Somebody has really sent plaintext in the last hours.
    PlaintextSeen,
    /// The namespace is STRICT, and a policy makes an exception for a workload or port (F24).
    ModeException,
    /// More than one policy on one level: only the oldest counts, the others are dropped whole (F14, PA-4).
    SeveralPolicies,
    /// Two policies of one level were made in the same second: which one a ztunnel obeys changes from run to run (AM-2).
    AmbientUndetermined,
    /// A policy in the root namespace has a selector, and is ignored everywhere (F13, PA-3).
    RootSelectorIgnored,
    /// An object names a revision of the control plane that no proxy of the namespace belongs to (F19).
    WrongRevision,
    /// A policy names a Service port where a target port is meant, or a rule the other way round (F09, DR-16).
    PortNumber,
    /// Policies of `authentication.istio.io` are left, which nothing obeys since Istio 1.6 (F20, LP-11).
    LegacyInert,
    /// A rule has a tls block without a mode, which means DISABLE (F08, DR-15).
    EmptyTls,
    /// A rule's host is the name of no Service: a name with a dot is taken as it is (F10, DR-1).
    HostNeverMatches,
    /// A rule is not in force, because an older one for the same host is (F11, DR-6, DR-7).
    RuleNotInForce,
    /// Clients of another namespace obey a rule of their own in the place of this namespace's (F11, DR-3).
    RuleShadowed,
    /// An entry of `portLevelSettings` has no tls, so that the rule's own does not hold for that port (F12, DR-12).
    PortEntryDropsTls,
    /// A subset that calls are routed to has another tls than its rule (F23).
    SubsetTls,
    /// Workloads without a proxy send plaintext: ports that are STRICT refuse them.
    NakedClient,
    /// Pods on their node's network can have no proxy: they send plaintext, and nothing protects them (BY-10).
    HostNetwork,
    /// Pods are half way into the ambient mesh: what holds for them cannot be told.
    NotEnrolled,
    /// An Ingress, Route or scraper calls the Service: from outside the mesh unless its pods are in it (F21, BY-18, BY-19).
    OutsideCaller,
    /// An `AuthorizationPolicy` asks who the caller is, and plaintext callers have no name.
    IdentityPolicy,
    /// The namespace has both `istio-injection` and `istio.io/rev`: the former wins.
    InjectionLabels,
    /// Policies of the root namespace cannot be read, so that an inherited mode is not known.
    RootUnreadable,
    /// A gateway's own listeners decide what it takes; no policy's mode does (DP-4).
    Gateway,
    /// DISABLE means PERMISSIVE to a ztunnel (F16).
    AmbientDisable,
    /// Ambient clients without a waypoint obey no DestinationRule (F17).
    AmbientIgnoresRules,
    /// Auto mTLS is off: clients send plaintext wherever no rule says otherwise (DR-21).
    AutoMtlsOff,
    /// Pods of Jobs have a sidecar that does not end with them.
    EndlessJob,
    /// A port of a protocol in which the server speaks first is not declared TCP: a silent client waits (BY-12).
    ServerFirst,
    /// A Service without a selector: its endpoints are kept by hand, and nothing tells whether they are in the mesh (BY-25).
    NoSelector,
    /// A Service of type ExternalName is an alias: no mode and no rule holds for it (BY-16).
    ExternalName,
    /// Something could not be read, so that findings may be missing.
    NotRead,
    /// Clients outside the mesh cannot be seen without `--prometheus`.
    ClientsUnseen,
}

/// Every code with its word and what to do about it.
const TABLE: [(Code, &str, &str); 44] = [
    (
        Code::PlaintextToStrict,
        "plaintext-to-strict",
        "set the rule's tls to ISTIO_MUTUAL, or take it away where auto mTLS is on; enable-mtls does it for rules of the namespace",
    ),
    (
        Code::StrictUnderDisable,
        "strict-under-disable",
        "set the namespace's mode to PERMISSIVE or STRICT, or give the Service a DestinationRule with ISTIO_MUTUAL",
    ),
    (
        Code::MtlsToNoProxy,
        "mtls-to-naked",
        "put the pods into the mesh, or take the tls out of the rule: auto mTLS looks at every endpoint",
    ),
    (Code::MtlsToDisable, "mtls-to-disable", "set the port's mode to PERMISSIVE, or the rule's tls to DISABLE"),
    (
        Code::TlsToSidecar,
        "tls-to-sidecar",
        "set the rule's tls to ISTIO_MUTUAL; SIMPLE and MUTUAL are for servers outside the mesh",
    ),
    (
        Code::HeadlessMixed,
        "headless-mixed",
        "put every pod of the Service into the mesh, or take those without a sidecar out of it",
    ),
    (Code::TlsModeLabel, "tls-mode-label", "take the label off the pod's template and let injection set it"),
    (
        Code::AmbientToSidecar,
        "ambient-to-sidecar",
        "move the server to ambient, or label its pods networking.istio.io/tunnel=http where the mesh supports it",
    ),
    (
        Code::Unprotected,
        "unprotected-workload",
        "put the pods into the mesh: label the namespace or the pods for injection, and restart pods that are older than the label",
    ),
    (
        Code::NotCaptured,
        "port-not-captured",
        "take the port out of traffic.sidecar.istio.io/excludeInboundPorts, or name it in includeInboundPorts",
    ),
    (
        Code::AmbientFailOpen,
        "ambient-fail-open",
        "write the mode into the workload's policy, and give policies of a namespace or mesh no selector key at all",
    ),
    (
        Code::ApiServerCall,
        "api-server-calls",
        "give the webhook's port an exception: portLevelMtls PERMISSIVE, or excludeInboundPorts",
    ),
    (
        Code::RawProbe,
        "probe-not-rewritten",
        "take sidecar.istio.io/rewriteAppHTTPProbers: \"false\" off, and restart the pods",
    ),
    (
        Code::PlaintextSeen,
        "plaintext-seen",
        "put the client into the mesh, or give the port an exception, before STRICT",
    ),
    (Code::ModeException, "mode-exception", "take the exception out of the policy when its clients send mutual TLS"),
    (Code::SeveralPolicies, "several-policies", "keep one of them"),
    (Code::AmbientUndetermined, "ambient-undetermined", "keep one of them"),
    (Code::RootSelectorIgnored, "root-selector-ignored", "move it to the namespace of the workloads"),
    (
        Code::WrongRevision,
        "wrong-revision",
        "take the label istio.io/rev off the object, or set it to the revision of the proxies",
    ),
    (
        Code::PortNumber,
        "wrong-port-number",
        "portLevelMtls takes the port of the container, portLevelSettings the port of the Service",
    ),
    (Code::LegacyInert, "legacy-inert", "delete them"),
    (Code::EmptyTls, "empty-tls", "write the mode that is meant, or take the block away"),
    (
        Code::HostNeverMatches,
        "host-never-matches",
        "write the fully qualified name: SERVICE.NAMESPACE.svc.cluster.local",
    ),
    (Code::RuleNotInForce, "rule-not-in-force", "merge the rules into one"),
    (Code::RuleShadowed, "rule-shadowed", "make the other rule say the same, or take it away"),
    (Code::PortEntryDropsTls, "port-entry-drops-tls", "repeat the tls in the entry"),
    (Code::SubsetTls, "subset-tls-differs", "make them equal, unless the pods of the subset differ"),
    (
        Code::NakedClient,
        "client-without-proxy",
        "put them into the mesh, or give the ports that they call an exception",
    ),
    (
        Code::HostNetwork,
        "host-network",
        "take them off the host network, or give the ports that they call an exception",
    ),
    (Code::NotEnrolled, "not-enrolled", "wait, or look at the node's CNI agent"),
    (Code::OutsideCaller, "outside-caller", "put the caller into the mesh, or let it come in by a gateway of the mesh"),
    (
        Code::IdentityPolicy,
        "identity-without-mtls",
        "turn STRICT on, or see that the policy denies callers without a name",
    ),
    (Code::InjectionLabels, "injection-labels", "keep one of the labels"),
    (
        Code::RootUnreadable,
        "root-unreadable",
        "ask for permission to list them: `secure-traffic` names the verb and resource with -v",
    ),
    (Code::Gateway, "gateway", "look at its Gateway object"),
    (Code::AmbientDisable, "ambient-disable", "write PERMISSIVE"),
    (
        Code::AmbientIgnoresRules,
        "ambient-ignores-rules",
        "nothing, unless the rule says more than tls: then the Service needs a waypoint",
    ),
    (Code::AutoMtlsOff, "auto-mtls-off", "set enableAutoMtls in the mesh's settings, or keep a rule for every Service"),
    (
        Code::EndlessJob,
        "job-never-ends",
        "use native sidecars (Istio 1.27, Kubernetes 1.33), or let the job end its proxy",
    ),
    (Code::ServerFirst, "server-first", "name the port tcp-..., or set its appProtocol"),
    (Code::NoSelector, "no-selector", "look at its EndpointSlices"),
    (Code::ExternalName, "external-name", "write rules for the name that it stands for"),
    (Code::NotRead, "not-read", "ask for permission, or run it as somebody who has it"),
    (Code::ClientsUnseen, "clients-unseen", "say --prometheus URL to ask who has sent plaintext in the last hours"),
];

impl Code {
    /// Every code, in the order of the documentation.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(code, ..)| *code)
    }

    /// The table has a row for each, in the order of the enum (a test holds it to that).
    fn row(self) -> &'static (Self, &'static str, &'static str) {
        &TABLE[self as usize]
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        self.row().2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Code {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || TABLE.iter().map(|(_, word, _)| *word).collect::<Vec<_>>().join(", ");
        Self::all()
            .find(|code| code.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no code of a finding; there are: {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_row_and_word() {
        for (index, (code, word, remedy)) in TABLE.iter().enumerate() {
            assert_eq!(*code as usize, index, "{word}");
            assert_eq!(word.parse(), Ok(*code));
            assert!(!remedy.is_empty());
        }
    }
}
