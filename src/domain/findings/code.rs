//! The codes of findings, which scripts and `--ignore` use, each with its published name and a remedy.

use std::fmt;
use std::str::FromStr;

/// Defines the enum, the list of all codes and their texts from one table, so that no code is left out.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident => $word:literal, $remedy:literal;)*) => {
        /// The kind of a finding; `docs/findings.md` explains each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub fn all() -> impl Iterator<Item = Self> {
                [$(Self::$code),*].into_iter()
            }

            /// The published name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)*
                }
            }

            /// Whether it is about callers that an exception for the port they call would serve.
            pub const fn is_served_by_exception(self) -> bool {
                matches!(
                    self,
                    Self::PlaintextToStrict
                        | Self::TlsToSidecar
                        | Self::ApiServerCall
                        | Self::PlaintextSeen
                        | Self::ClientWithoutProxy
                        | Self::BypassesSidecar
                        | Self::HostNetwork
                        | Self::OutsideCaller
                )
            }

            /// What the user can do about it.
            pub const fn remedy(self) -> &'static str {
                match self {
                    $(Self::$code => $remedy,)*
                }
            }
        }
    };
}

codes! {
    /// Clients in the mesh send plaintext to a port that accepts only mutual TLS.
    PlaintextToStrict => "plaintext-to-strict", "set the rule's tls to ISTIO_MUTUAL, or remove it if auto mTLS is on; enable-mtls does it for rules of the namespace";
    /// A workload is STRICT in a namespace or mesh in DISABLE, and auto mTLS reads only the wider mode (DR-25).
    StrictUnderDisable => "strict-under-disable", "set the namespace's mode to PERMISSIVE or STRICT, or give the Service a DestinationRule with ISTIO_MUTUAL";
    /// A rule makes clients send mutual TLS to pods without a proxy that terminates it.
    MtlsToNoProxy => "mtls-to-naked", "put the pods into the mesh, or take the tls out of the rule: auto mTLS looks at every endpoint";
    /// Clients send mutual TLS to a gateway whose listener takes none of the mesh's (DP-4).
    MtlsToGateway => "mtls-to-gateway", "take the tls out of the rule, or set the Gateway server's tls.mode to ISTIO_MUTUAL";
    /// Clients send mutual TLS to a port in mode DISABLE, which does not terminate it.
    MtlsToDisable => "mtls-to-disable", "set the port's mode to PERMISSIVE, or the rule's tls to DISABLE";
    /// A rule makes clients send their own TLS to a port of a sidecar.
    TlsToSidecar => "tls-to-sidecar", "set the rule's tls to ISTIO_MUTUAL, or, where the application serves this TLS itself, give the port an exception (enable-mtls --except SERVICE:PORT)";
    /// A headless Service has endpoints with and without a sidecar, so clients send plaintext to all of them.
    HeadlessMixed => "headless-mixed", "put every pod of the Service into the mesh, or take those without a sidecar out of it";
    /// The label `security.istio.io/tlsMode` of a pod does not match what the pod accepts.
    TlsModeLabel => "tls-mode-label", "take the label off the pod's template and let injection set it";
    /// Ambient clients send plaintext to a STRICT sidecar that does not accept HBONE.
    AmbientToSidecar => "ambient-to-sidecar", "move the server to ambient, or label its pods networking.istio.io/tunnel=http where the mesh supports it";
    /// NetworkPolicies admit callers to pods in ambient mode, and not to the port of mutual TLS (AM-9).
    HboneBlocked => "hbone-blocked", "admit TCP port 15008 from the same callers: add `{protocol: TCP, port: 15008}` to the ports of the rule, or apply the NetworkPolicy of docs/findings.md";
    /// Sidecars send no HBONE to ambient pods that take nothing else (DR-28..DR-30).
    NoHbone => "no-hbone", "let such clients call a Service with a cluster address, or move them to ambient mode; take the label security.istio.io/tlsMode off ambient pods, the tls and PASSTHROUGH out of the rule, and ISTIO_META_DISABLE_HBONE_SEND out of the clients' settings";
    /// The policies ask for STRICT, and the pods have no proxy that enforces it.
    Unprotected => "unprotected-workload", "put the pods into the mesh: label the namespace or the pods for injection, and restart pods that are older than the label";
    /// A sidecar does not capture a port: STRICT does not protect it, and mutual TLS fails there (BY-1..BY-4).
    NotCaptured => "port-not-captured", "take the port out of traffic.sidecar.istio.io/excludeInboundPorts, or name it in includeInboundPorts";
    /// The policies ask for STRICT, and a ztunnel still accepts plaintext (AM-5).
    AmbientFailOpen => "ambient-fail-open", "write the mode into the workload's policy, and give policies of a namespace or mesh no selector key at all";
    /// A `ServiceEntry` gives another name to a Service or pod of the namespace, and clients send plaintext to it (ON-1).
    UnmanagedClient => "unmanaged-client", "let clients call the Service by its own name, give its host a DestinationRule with ISTIO_MUTUAL, or make it MESH_INTERNAL with endpoints that are labelled security.istio.io/tlsMode=istio";
    /// The mesh reaches other clusters or networks, whose endpoints are neither changed nor proven (MC-1).
    OtherClusters => "other-clusters", "change and prove the namespace in each cluster, and keep PERMISSIVE or STRICT as long as others call it";
    /// The API server, which is outside the mesh, calls a Service whose port is STRICT (BY-19).
    ApiServerCall => "api-server-calls", "give the webhook's port an exception (enable-mtls --except SERVICE:PORT), or leave it out of the sidecar (excludeInboundPorts)";
    /// The kubelet's probes go to the application itself, where STRICT refuses them (BY-11).
    RawProbe => "probe-not-rewritten", "take sidecar.istio.io/rewriteAppHTTPProbers: \"false\" off, and restart the pods; for a hook, use exec where the mesh does not rewrite hooks";
    /// Prometheus reports a client that sent plaintext in the last hours.
    PlaintextSeen => "plaintext-seen", "put the client into the mesh before STRICT, or give the port an exception (enable-mtls --except SERVICE:PORT)";
    /// The namespace is STRICT, and a policy makes an exception for a workload or port.
    ModeException => "mode-exception", "take the exception out of the policy when its clients send mutual TLS";
    /// One level has more than one policy: only the oldest applies, the others are ignored (PA-4).
    SeveralPolicies => "several-policies", "keep one of them";
    /// Two policies of one level were created in the same second: it is random which one a ztunnel follows (AM-2).
    AmbientUndetermined => "ambient-undetermined", "keep one of them";
    /// A policy in the root namespace has a selector and is ignored everywhere (PA-3).
    RootSelectorIgnored => "root-selector-ignored", "move it to the namespace of the workloads";
    /// An object is labelled for a revision of the control plane that no proxy of the namespace belongs to.
    WrongRevision => "wrong-revision", "take the label istio.io/rev off the object, or set it to the revision of the proxies";
    /// A policy names a Service port instead of a target port, or a rule a target port instead of a Service port (DR-16).
    PortNumber => "wrong-port-number", "portLevelMtls takes the port of the container, portLevelSettings the port of the Service";
    /// The cluster has policies of `authentication.istio.io`, which have no effect since Istio 1.6 (LP-11).
    LegacyInert => "legacy-inert", "delete them";
    /// A rule has a tls block without a mode, which means DISABLE (DR-15).
    EmptyTls => "empty-tls", "write the mode that is meant, or take the block away";
    /// A rule's host matches no Service: a name with a dot is not completed (DR-1).
    HostNeverMatches => "host-never-matches", "write the fully qualified name: SERVICE.NAMESPACE.svc.cluster.local";
    /// A rule is not in force because an older one for the same host is (DR-6, DR-7).
    RuleNotInForce => "rule-not-in-force", "merge the rules into one";
    /// Clients of another namespace follow a rule of their own namespace instead of this namespace's (DR-3).
    RuleShadowed => "rule-shadowed", "give the other rule the same tls, or remove it";
    /// An entry of `portLevelSettings` has no tls, so the rule's own tls does not apply to that port (DR-12).
    PortEntryDropsTls => "port-entry-drops-tls", "repeat the tls in the entry";
    /// A subset that calls are routed to has another tls than its rule.
    SubsetTls => "subset-tls-differs", "make them equal, unless the pods of the subset differ";
    /// Workloads without a proxy send plaintext, which STRICT ports refuse.
    ClientWithoutProxy => "client-without-proxy", "put them into the mesh, or give the ports that they call an exception (enable-mtls --except SERVICE:PORT)";
    /// Workloads with a sidecar whose calls go past it: excluded ports or ranges, or containers that run as the proxy's user.
    BypassesSidecar => "client-bypasses-sidecar", "let the sidecar capture these calls (traffic.sidecar.istio.io annotations, the container's user), or give the ports that they call an exception (enable-mtls --except SERVICE:PORT)";
    /// Workloads whose future pods will start without a proxy: scaled to zero, suspended, or rolled out later.
    FuturePodWithoutProxy => "future-pod-unmeshed", "let their pod template be injected; without a rule for the Service auto mTLS decides for each pod";
    /// Pods on their node's network cannot have a proxy: they send plaintext, and nothing protects them (BY-10).
    HostNetwork => "host-network", "take them off the host network, or give the ports that they call an exception (enable-mtls --except SERVICE:PORT)";
    /// Pods are not fully enrolled in the ambient mesh, or not at all although labels ask for it, so that their mode is not
    /// known or not enforced (DP-6).
    NotEnrolled => "not-enrolled", "wait; a pod that stays so needs to be created anew: kubectl delete pod; see the log of the CNI agent (k8s-app=istio-cni-node) on its node";
    /// An Ingress, Route or scraper calls the Service, from outside the mesh unless its pods are in it (BY-18, BY-19).
    OutsideCaller => "outside-caller", "let the calls come in by a gateway of the mesh, or give the port an exception (enable-mtls --except SERVICE:PORT); a controller that is in the mesh must call the Service by its own name and host, not pods by address (ingress-nginx: service-upstream and upstream-vhost)";
    /// An `AuthorizationPolicy` matches the caller's identity, and plaintext callers have none.
    IdentityPolicy => "identity-without-mtls", "turn STRICT on, or check that the policy does what is meant for callers without an identity; before DISABLE, change it to match something else";
    /// The namespace has both labels `istio-injection` and `istio.io/rev`: the former takes precedence.
    InjectionLabels => "injection-labels", "keep one of the labels";
    /// Policies of the root namespace cannot be read, so an inherited mode is not known.
    RootUnreadable => "root-unreadable", "ask for permission to list them: `secure-traffic` names the verb and resource with -v";
    /// A gateway's own listeners decide what it accepts; the mode of a policy does not (DP-4).
    Gateway => "gateway", "look at its Gateway object";
    /// A ztunnel treats DISABLE as PERMISSIVE.
    AmbientDisable => "ambient-disable", "write PERMISSIVE";
    /// Ambient clients without a waypoint ignore DestinationRules.
    AmbientIgnoresRules => "ambient-ignores-rules", "nothing, unless the rule says more than tls: then the Service needs a waypoint";
    /// A waypoint serves Services (WP-2).
    Waypoint => "waypoint", "make the pods' ports STRICT, so that no caller without mutual TLS goes past the waypoint and its policies; see docs/waypoints.md";
    /// Auto mTLS is off: clients send plaintext where no rule has a tls (DR-21).
    AutoMtlsOff => "auto-mtls-off", "set enableAutoMtls in the mesh's settings, or keep a rule for every Service";
    /// Pods of Jobs have a sidecar that keeps running after the job's container has ended.
    EndlessJob => "job-never-ends", "use native sidecars (Istio 1.27, Kubernetes 1.33), or let the job end its proxy";
    /// A port of a server-first protocol is not declared TCP, so a client that waits for the server hangs (BY-12).
    ServerFirst => "server-first", "name the port tcp-..., or set its appProtocol";
    /// A Service has no selector: its endpoints are written by hand, so it is not known whether they are meshed (BY-25).
    NoSelector => "no-selector", "look at its EndpointSlices";
    /// A Service of type ExternalName is an alias: no mode and no rule applies to it (BY-16).
    ExternalName => "external-name", "write rules for the name that it stands for";
    /// The sidecar of a client does not know the Service, so that the client sends plaintext whatever the rules say (CS-1).
    ServiceNotVisible => "service-not-visible", "add the namespace to the egress of the Sidecar, or export the Service to the namespaces of its clients; where they do not call it, nothing";
    /// The namespace keeps an explicit setting that a later one of the mesh does not change (PA-8, DR-2).
    ExemptFromMesh => "exempt-from-mesh", "delete the policy or rule if the mesh's own setting shall apply";
    /// There are several control planes, and nothing shows to which one the namespace belongs (CP-1).
    ControlPlaneUndecided => "control-plane-undecided", "pass --istio-namespace, and --revision where its namespace has several";
    /// The mesh's `discoverySelectors` leave the namespace out: istiod does not read it (CP-4).
    NotDiscovered => "namespace-not-discovered", "give the namespace the labels that the discoverySelectors of the mesh ask for";
    /// An `EnvoyFilter` changes the inbound listeners of proxies, so that the computed mode is not certain (EF-1).
    EnvoyFilter => "envoy-filter", "look at what the proxies have loaded: probe with --evidence proxy; only that counts here";
    /// An operator manages the pods, and calls them by address in plaintext (OP-1).
    OperatorCalls => "operator-calls-pods", "find out which ports the operator calls, and give them an exception (portLevelMtls PERMISSIVE); a sidecar of the operator does not help where it calls pods by address";
    /// Knative's activator and autoscaler call pods by address, and are not in the mesh (OP-2).
    Knative => "knative-outside-mesh", "put the pods of knative-serving into the mesh, with mesh-pod-addressability-mode as Knative's documentation says; a revision that is scaled to zero is not proven until it runs";
    /// A canary controller shifts calls between versions at this moment, and writes the rules of its Services.
    RolloutInProgress => "rollout-in-progress", "wait until the roll-out has ended, or pause it; set tls in the controller's own resource (Flagger: spec.service.trafficPolicy.tls of the Canary), because it writes its rules anew";
    /// Ports that STRICT covers, and that no Service names: no proof requests them.
    NotAsked => "not-asked", "see who calls these ports before STRICT; `secure-traffic probe --all-ports` asks them";
    /// The probe does not reach what it would have to prove, so a switch could be neither watched nor proven.
    ProbeBlocked => "probe-blocked", "admit the probe: apply the NetworkPolicy that is printed, or that of `secure-traffic rbac enable-mtls --network-policy`; where no NetworkPolicy isolates the pods, look at the network plugin's own policies, and whether the endpoint works";
    /// Something could not be read, so findings may be missing.
    NotRead => "not-read", "ask for permission, or run it as somebody who has it";
    /// Without `--prometheus`, clients outside the mesh are not checked.
    ClientsUnseen => "clients-unseen", "pass --prometheus URL to read who has sent plaintext in the last hours";
}

impl Code {
    /// Whether it says that calls in the mesh fail, because a port does not accept what clients send.
    pub const fn is_about_failing_calls(self) -> bool {
        matches!(
            self,
            Self::PlaintextToStrict
                | Self::StrictUnderDisable
                | Self::MtlsToNoProxy
                | Self::MtlsToGateway
                | Self::MtlsToDisable
                | Self::TlsToSidecar
                | Self::HeadlessMixed
                | Self::TlsModeLabel
                | Self::AmbientToSidecar
                | Self::HboneBlocked
                | Self::NoHbone
        )
    }

    /// Whether it says that a port is not protected, and not that calls fail.
    pub const fn is_about_protection(self) -> bool {
        matches!(self, Self::Unprotected | Self::NotCaptured | Self::AmbientFailOpen | Self::NotDiscovered)
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
        Self::all().find(|code| code.as_str() == text).ok_or_else(|| {
            let known: Vec<&str> = Self::all().map(Self::as_str).collect();
            format!("{text:?} is no code of a finding; there are: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_code() {
        for code in Code::all() {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
    }
}
